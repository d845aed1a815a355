import { h } from '../dom.js';
import { get, path, query } from '../api.js';
import { bytes, count, rate } from '../format.js';
import { poll } from '../live.js';
import { button, dialog, empty, field, form, pager, table } from '../parts.js';
import { projectHead } from './project.js';
import { projectLink, projectOf } from './projects.js';

const pageSize = 100;

// Rates tells how many messages a second a channel got between two looks at it.
class Rates {
  #seen = new Map();

  // note remembers the head of a channel and returns its rate, null at first.
  note(channel, now) {
    const before = this.#seen.get(channel.name);
    if (before && now - before.at < 500) return before.rate;
    const found = before ? (channel.offset - before.offset) / ((now - before.at) / 1000) : null;
    this.#seen.set(channel.name, { offset: channel.offset, at: now, rate: found });
    return found;
  }

  keep(names) {
    for (const name of this.#seen.keys()) if (!names.has(name)) this.#seen.delete(name);
  }
}

function openChannel(id) {
  return dialog('Open a channel', (settle) => {
    const name = field('Channel', h('input', { class: 'mono', autocomplete: 'off', spellcheck: false, placeholder: 'news', data: { first: '' } }),
      { hint: 'A channel need not exist: it begins with its first subscriber or message.' });
    return form([name.node], {
      submit: 'Open', cancel: () => settle(undefined),
      async work() {
        if (!name.input.value) return name.say('A channel needs a name.');
        settle(true);
        location.hash = projectLink(id, 'channels', name.input.value);
      },
    });
  });
}

export default function channelsPage({ project: id, signal }) {
  const here = projectLink(id, 'channels');
  const head = projectHead(id, here);
  const rates = new Rates();
  const prefix = h('input', { type: 'search', placeholder: 'Name begins with…', 'aria-label': 'Name begins with', autocomplete: 'off', spellcheck: false });
  const active = h('input', { type: 'checkbox' });
  const pages = pager(() => again());
  const open = () => openChannel(id);
  const list = table([
    { label: 'Channel', class: 'mono strong lead', text: (c) => c.name, link: (c) => projectLink(id, 'channels', c.name) },
    { label: 'Subscribers', class: 'number', text: (c) => count(c.subscribers), node: (c) => c.subscribers ? h('span', { class: 'live-number' }, count(c.subscribers)) : '0' },
    { label: 'Members', class: 'number', text: (c) => count(c.members ?? 0) },
    { label: 'Messages/s', class: 'number', text: (c) => rate(c.rate) },
    { label: 'Head offset', class: 'number', text: (c) => count(c.offset) },
    { label: 'Retained', class: 'number', text: (c) => count(Math.max(0, c.offset + 1 - c.earliest)) },
    { label: 'Size', class: 'number quiet minor', text: (c) => bytes(c.bytes) },
  ], {
    key: (c) => c.name, href: true,
    none: empty('No channel here', 'A channel begins with its first subscriber or message. Open one to watch it and publish to it.', button('Open a channel', open, { kind: 'primary' })),
  });
  const again = poll(signal, 2000, async () => {
    const asked = { prefix: prefix.value, active: active.checked ? 'true' : '', limit: pageSize, cursor: pages.cursor() };
    const answer = await get(query(path('projects', id, 'channels'), asked), signal);
    if (signal.aborted) return;
    const now = performance.now();
    rates.keep(new Set(answer.channels.map((c) => c.name)));
    list.show(answer.channels.map((c) => ({ ...c, rate: rates.note(c, now) })));
    pages.show(answer.next, answer.channels.length ? `${count(answer.channels.length)} channels on this page` : '');
  });
  poll(signal, 10_000, async () => head.update(await projectOf(id, signal)));
  const restart = () => { pages.reset(); again(); };
  prefix.addEventListener('input', restart);
  active.addEventListener('change', restart);
  return [head.node,
    h('div', { class: 'toolbar' }, prefix, h('label', { class: 'check inline' }, active, h('span', {}, 'With subscribers or members only')),
      h('span', { class: 'grow' }), button('Open a channel', open, { iconName: 'plus' })),
    h('section', { class: 'card flush' }, list.node), pages.node];
}
