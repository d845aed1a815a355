import { h, fill } from '../dom.js';
import { get, query } from '../api.js';
import { ago, clock, count, moment, plural } from '../format.js';
import { poll } from '../live.js';
import { badge, button, empty, heading, kindBadge, pager, table } from '../parts.js';
import { keyFilter, keyNames } from './connections.js';
import { projectHead } from './project.js';
import { projectLink } from './projects.js';

const pageSize = 100;
const codes = ['invalid_key', 'key_revoked', 'origin_not_allowed', 'token_invalid', 'token_expired', 'auth_required', 'auth_timeout', 'rate_limited',
  'unavailable', 'forbidden', 'invalid_message', 'invalid_channel', 'message_too_large', 'too_many_channels', 'request_timeout', 'unknown_type', 'internal'];

// kindOf tells the kind of a credential that was refused, by what is known of it.
const kindOf = (keys, id, prefix) => keys.get(id)?.kind ?? (prefix?.startsWith('pk_') ? 'public' : prefix?.startsWith('sk_') ? 'server' : '');

export default function refusalsPage({ project, search, signal }) {
  const here = project ? projectLink(project, 'refusals') : '#/refusals';
  const head = project && projectHead(project, here);
  let keys = new Map();
  let names = new Map();
  const pages = pager(() => again());
  const restart = () => { pages.reset(); again(); };
  const filter = keyFilter(search.get('key') ?? '', restart);
  const code = h('select', { 'aria-label': 'Code', onchange: restart }, h('option', { value: '' }, 'All codes'), codes.map((c) => h('option', { value: c }, c)));
  const named = (r) => names.get(r.project) ?? r.project;
  const ofProject = project ? [] : [{ label: 'Project', class: 'wrap', text: (r) => named(r) || '–', node: (r) => r.project ? h('a', { href: projectLink(r.project, 'refusals') }, named(r)) : '–' }];
  const nothing = () => empty('Nothing was refused', 'Each refused connection, publish and subscription appears here with the rule that refused it. Every node remembers its last 1,000.');
  const keyNode = (id, prefix) => h('span', { class: 'row' }, keys.get(id)?.name ?? (prefix ? h('code', {}, prefix + '…') : '–'), kindBadge(kindOf(keys, id, prefix)));

  const rules = table([
    { label: 'Times', class: 'number', text: (r) => count(r.count) },
    {
      label: 'Rule', class: 'why wrap lead', text: (r) => [r.reason, r.latest.detail, ...r.channels].join(),
      node: (r) => h('span', { class: 'from' }, h('strong', {}, r.reason), h('span', {}, badge(r.code, 'bad')), r.latest.detail && r.latest.detail !== r.reason ? h('span', { class: 'hint' }, r.latest.detail) : null,
        r.channels.length > 1 ? h('span', { class: 'hint' }, `channels ${r.channels.join(', ')}${r.channels.length === 5 ? ', …' : ''}`) : null),
    },
    ...ofProject,
    { label: 'Keys', class: 'wrap', text: (r) => r.keys.map((k) => keys.get(k)?.name ?? k).join() + r.keys.length, node: (r) => r.keys.length ? r.keys.map((k) => keyNode(k, keys.has(k) ? '' : k)) : '–' },
    { label: 'From', class: 'wrap wide', text: (r) => [r.addresses, ...r.origins].join(), node: (r) => h('span', { class: 'from' }, plural(r.addresses, 'address', 'addresses'), r.origins.map((o) => h('span', { class: 'hint' }, o))) },
    { label: 'Last', class: 'quiet', text: (r) => ago(r.latest.at), title: (r) => `${moment(r.first)} to ${moment(r.latest.at)}` },
    { label: '', class: 'actions', text: (r) => r.code, node: (r) => h('div', { class: 'row end' }, button('Show', () => { code.value = r.code; choose('One by one'); }, { small: true })) },
  ], { key: (r) => [r.project, r.code, r.reason].join('\n'), none: nothing() });

  const list = table([
    { label: 'Time', class: 'mono quiet', text: (r) => clock(r.at).slice(0, 8), title: (r) => moment(r.at) },
    { label: 'Code', text: (r) => r.code, node: (r) => badge(r.code, 'bad') },
    { label: 'Why', class: 'strong why lead', text: (r) => r.detail || r.reason },
    ...ofProject,
    { label: 'From', class: 'wrap wide', text: (r) => [r.address, r.origin].join(' '), node: (r) => h('span', { class: 'from' }, h('span', { class: 'mono' }, r.address), r.origin && h('span', { class: 'hint' }, r.origin)) },
    { label: 'Key', class: 'wrap', text: (r) => [keys.get(r.keyId)?.name, r.keyPrefix].join(), node: (r) => keyNode(r.keyId, r.keyPrefix) },
    { label: 'What', class: 'wrap', text: (r) => [r.action, r.channel].filter(Boolean).join(' ') || r.via },
    { label: 'Node', class: 'quiet minor', text: (r) => r.node },
  ], { key: (r) => [r.node, r.at, r.seq, r.address, r.code, r.channel].join(), none: nothing() });

  let view = 'By rule';
  const box = h('section', { class: 'card flush' });
  const total = h('span', { class: 'hint' });
  const choices = h('div', { class: 'segments', role: 'tablist', 'aria-label': 'Refusals' },
    ['By rule', 'One by one'].map((name) => h('button', { type: 'button', role: 'tab', onclick: () => choose(name) }, name)));
  function choose(name) {
    view = name;
    fill(box, name === 'By rule' ? rules.node : list.node);
    code.hidden = name === 'By rule';
    pages.node.hidden = name === 'By rule';
    total.hidden = name !== 'By rule';
    for (const tab of choices.children) tab.setAttribute('aria-selected', String(tab.textContent === name));
    restart();
  }

  const again = poll(signal, 3000, async () => {
    if (view === 'By rule') {
      const answer = await get(query('/refusals/rules', { project, key: filter.value() }), signal);
      if (signal.aborted) return;
      rules.show(answer.rules);
      total.textContent = answer.refusals ? `${plural(answer.rules.length, 'rule')} refused ${plural(answer.refusals, 'time')}, of what the nodes remember` : '';
      return;
    }
    const answer = await get(query('/refusals', { project, key: filter.value(), code: code.value, limit: pageSize, cursor: pages.cursor() }), signal);
    if (signal.aborted) return;
    list.show(answer.refusals);
    pages.show(answer.next, '');
  });
  choose(view);
  poll(signal, 10_000, async () => {
    keys = await keyNames(project, signal);
    names = new Map([...keys.values()].map((k) => [k.project.id, k.project.name]));
    filter.show(keys, !project);
    again();
    if (head && keys.size) head.update([...keys.values()][0].project);
  });
  return [head ? head.node : heading('Refusals', { hint: 'What was refused, by which rule, on all nodes.' }),
    h('div', { class: 'toolbar' }, choices, filter.node, code, total), box, pages.node];
}
