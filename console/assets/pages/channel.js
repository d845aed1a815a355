import { h, fill, setText } from '../dom.js';
import { get, messages, path, post, purge, query } from '../api.js';
import { clock, count, moment, plural, rate } from '../format.js';
import { icon } from '../icons.js';
import { poll } from '../live.js';
import { badge, busy, button, card, confirm, empty, heading, table, toast } from '../parts.js';
import { may } from '../session.js';
import { tail } from '../tail.js';
import { projectLink, projectOf } from './projects.js';

const shownMost = 500; // messages of the tail that are kept in the page
const pageSize = 50;

// messageRow shows one message; a click unfolds it.
function messageRow({ offset, timestamp, data, replay }, fresh) {
  const text = JSON.stringify(data);
  const body = h('span', { class: 'message-data mono' }, text);
  const node = h('li', { class: fresh ? 'message fresh' : 'message' },
    h('button', {
      type: 'button', class: 'message-line', 'aria-expanded': 'false',
      onclick: () => {
        const unfolded = node.classList.toggle('unfolded');
        node.firstChild.setAttribute('aria-expanded', String(unfolded));
        body.textContent = unfolded ? JSON.stringify(data, null, 2) : text;
      },
    }, h('span', { class: 'message-offset mono' }, offset ? `#${count(offset)}` : 'memory'),
    h('time', { class: 'message-time mono', title: moment(timestamp) }, clock(timestamp)), body,
    replay && h('span', { class: 'message-tag' }, badge('replayed'))));
  node.text = text.toLowerCase();
  return node;
}

// liveTail shows frames as they pass; it can be held and filtered.
function liveTail(project, channel, signal) {
  const list = h('ul', { class: 'messages', 'aria-label': 'Messages', tabIndex: 0 });
  const filter = h('input', { type: 'search', placeholder: 'Filter by text…', 'aria-label': 'Filter messages by text', autocomplete: 'off', spellcheck: false });
  const status = h('span', { class: 'row', role: 'status' });
  const waiting = empty('Waiting for messages', 'What is published to this channel appears here the moment that it is committed.');
  const held = [];
  let paused = false;

  const wanted = (row) => !filter.value || row.text.includes(filter.value.toLowerCase());
  function append(frame) {
    const row = frame.type === 'gap'
      ? h('li', { class: 'message-gap' }, `Messages ${count(frame.from)} to ${count(frame.to)} are no longer retained.`)
      : messageRow(frame, !frame.replay);
    row.text ??= '';
    row.hidden = !wanted(row);
    list.prepend(row);
    while (list.children.length > shownMost) list.lastChild.remove();
    waiting.hidden = true;
  }
  const hold = h('button', { type: 'button', class: 'btn small', onclick: () => {
    paused = !paused;
    if (!paused) held.splice(0).forEach(append);
    label();
  } });
  const label = () => fill(hold, icon(paused ? 'play' : 'pause'), h('span', {}, paused ? (held.length ? `Resume (${count(held.length)} new)` : 'Resume') : 'Pause'));
  const clear = button('Clear', () => { list.replaceChildren(); waiting.hidden = false; }, { small: true });
  filter.addEventListener('input', () => { for (const row of list.children) row.hidden = !wanted(row); });
  label();
  tail(project, channel, 50, {
    signal,
    tell(frame) {
      if (!paused) return append(frame);
      held.push(frame);
      if (held.length > shownMost) held.shift();
      label();
    },
    state(now, reason) {
      fill(status, now === 'live' ? badge('live', 'good') : now === 'connecting' ? badge('connecting') : [badge('waiting', 'warn'), h('span', { class: 'hint' }, reason)]);
    },
  });
  return h('div', { class: 'stack tight' }, h('div', { class: 'toolbar' }, status, filter, h('span', { class: 'grow' }), hold, clear), list, waiting);
}

// retained pages through what the channel still holds, newest first.
function retained(project, channel, signal) {
  const list = h('ul', { class: 'messages', 'aria-label': 'Retained messages' });
  const none = empty('Nothing retained', 'Messages appear here until the channel rule drops them.');
  const label = h('span', { class: 'hint' });
  let end = Infinity; // the newest offset of the page
  let bounds = { offset: 0, earliest: 1 };
  async function load() {
    const most = Math.min(end, bounds.offset || Infinity);
    const after = Number.isFinite(most) ? Math.max(0, most - pageSize) : 0;
    const page = await get(messages(project, channel, { after, limit: pageSize }), signal);
    bounds = page;
    if (!Number.isFinite(most) && page.offset > pageSize) return load();
    const shown = page.messages.filter((m) => m.offset <= most).reverse();
    fill(list, shown.map((m) => messageRow(m)));
    none.hidden = shown.length > 0;
    const kept = page.offset + 1 - page.earliest;
    setText(label, kept > 0 ? `${plural(kept, 'message')} retained, from #${count(page.earliest)} to #${count(page.offset)}` : '');
    newer.disabled = end === Infinity;
    older.disabled = after < page.earliest;
  }
  const move = (work) => () => { work(); load().catch((error) => toast(error.message, 'bad')); };
  const older = button('Older', move(() => { end = Math.min(end, bounds.offset) - pageSize; }), { small: true });
  const newer = button('Newer', move(() => { end = end + pageSize >= bounds.offset ? Infinity : end + pageSize; }), { small: true });
  const newest = button('Newest', move(() => { end = Infinity; bounds = { offset: 0, earliest: 1 }; }), { small: true });
  move(() => {})();
  return h('div', { class: 'stack tight' }, h('div', { class: 'toolbar' }, label, h('span', { class: 'grow' }), newest, newer, older), list, none);
}

// membersView shows who is in the channel, live.
function membersView(project, channel, signal) {
  const status = h('span', { class: 'row', role: 'status' });
  const known = new Map();
  const list = table([
    { label: 'Member', class: 'mono strong lead', text: (m) => m.id },
    { label: 'Since', text: (m) => moment(m.since) },
    { label: 'Connections', class: 'number', text: (m) => (m.connections ? count(m.connections) : 'may come back') },
    { label: 'Data', class: 'mono quiet', text: (m) => JSON.stringify(m.data) },
  ], { key: (m) => m.id, none: empty('Nobody here', 'Who enters this channel appears here at once.') });
  tail(project, channel, 0, {
    signal, members: true,
    state: (name, reason) => fill(status, badge(name === 'live' ? 'live' : 'waiting'), reason ?? ''),
    tell: (frame) => {
      if (frame.type === 'occupancy' || frame.sync?.part === 1) known.clear();
      for (const m of [...(Array.isArray(frame.members) ? frame.members : []), ...(frame.entered ?? []), ...(frame.updated ?? [])]) known.set(m.id, m);
      for (const { id } of frame.left ?? []) known.delete(id);
      list.show([...known.values()].slice(0, shownMost));
      const many = frame.type === 'occupancy';
      fill(status, badge('live'), many ? `${plural(frame.members, 'member')}: too many to name them` : plural(frame.count, 'member'));
    },
  });
  return h('div', { class: 'stack tight' }, h('div', { class: 'toolbar' }, status), list.node);
}

// publishCard sends a message as the operator.
function publishCard(project, channel) {
  const text = h('textarea', { class: 'mono', rows: 5, spellcheck: false, value: '{"text": "hello"}', 'aria-label': 'Message as JSON' });
  const problem = h('p', { class: 'problem', role: 'alert' });
  const send = h('button', { type: 'submit', class: 'btn primary', disabled: !may('operator') }, 'Publish');
  const node = h('form', {
    class: 'stack tight', noValidate: true,
    onsubmit: (event) => {
      event.preventDefault();
      let message;
      try {
        message = JSON.parse(text.value);
      } catch {
        setText(problem, 'Not JSON. A text needs quotes: "hello".');
        return;
      }
      setText(problem, '');
      busy(send, async () => {
        const done = await post(messages(project, channel), { message });
        toast(done.offset ? `Published as #${count(done.offset)}.` : 'Published.');
      });
    },
  }, text, problem, h('div', { class: 'row between' }, h('span', { class: may('operator') ? 'hint keys' : 'hint' }, may('operator') ? 'Ctrl + Enter publishes' : 'Only operators and owners may publish.'), send));
  text.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) node.requestSubmit();
  });
  return card('Publish', {}, node);
}

// factsCard shows the figures of a channel as they are now.
function factsCard(project, channel, signal) {
  const facts = ['Subscribers', 'Members', 'Messages/s', 'Head offset', 'Retained'].map((label) => {
    const value = h('dd', {}, '–');
    return { value, node: h('div', {}, h('dt', {}, label), value) };
  });
  let before = null;
  poll(signal, 2000, async () => {
    const { channels } = await get(query(path('projects', project, 'channels'), { prefix: channel, limit: 1 }), signal);
    const found = channels[0]?.name === channel ? channels[0] : { offset: 0, earliest: 1, subscribers: 0, members: 0 };
    const now = performance.now();
    const perSecond = before ? (found.offset - before.offset) / ((now - before.at) / 1000) : null;
    before = { offset: found.offset, at: now };
    [count(found.subscribers), count(found.members ?? 0), rate(perSecond), count(found.offset), count(Math.max(0, found.offset + 1 - found.earliest))]
      .forEach((text, i) => setText(facts[i].value, text));
  });
  return h('dl', { class: 'facts' }, facts.map((f) => f.node));
}

async function askToPurge(project, channel, reload) {
  let purged;
  const done = await confirm(`Purge ${channel}`, {
    text: 'All retained messages of the channel go. Offsets go on where they are, and subscribers stay.',
    action: 'Purge channel', work: async () => { purged = await purge(project, channel); },
  });
  if (!done) return;
  toast(`Purged ${purged.channel}: ${plural(purged.purged, 'message')}.`);
  reload();
}

export default function channelPage({ project, channel, signal }) {
  const crumb = ['…', projectLink(project)];
  const view = h('div', {});
  const views = { Live: liveTail, Retained: retained, Members: membersView };
  const names = Object.keys(views);
  let life = new AbortController();
  signal.addEventListener('abort', () => life.abort());
  function show(name) {
    life.abort();
    life = new AbortController();
    fill(view, views[name](project, channel, life.signal));
    for (const tab of choices.children) tab.setAttribute('aria-selected', String(tab.textContent === name));
  }
  const choices = h('div', { class: 'segments', role: 'tablist', 'aria-label': 'Messages' },
    names.map((name) => h('button', { type: 'button', role: 'tab', onclick: () => show(name) }, name)));
  show('Live');
  const head = heading(h('span', { class: 'mono' }, channel), {
    crumbs: [['Projects', '#/projects'], crumb, ['Channels', projectLink(project, 'channels')]],
    actions: may('operator') && button('Purge', () => askToPurge(project, channel, () => show('Retained')), { kind: 'danger', small: true }),
  });
  projectOf(project, signal).then((p) => setText(head.querySelectorAll('.crumbs a')[1], p.name),
    (error) => signal.aborted || toast(error.message, 'bad'));
  return [head, factsCard(project, channel, signal),
    h('div', { class: 'split' },
      h('section', { class: 'card' }, h('div', { class: 'card-body' }, choices, view)),
      publishCard(project, channel))];
}
