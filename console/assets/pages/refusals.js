import { h } from '../dom.js';
import { get, query } from '../api.js';
import { clock, moment } from '../format.js';
import { poll } from '../live.js';
import { badge, empty, heading, pager, table } from '../parts.js';
import { keyFilter, keyNames } from './connections.js';
import { projectHead } from './project.js';
import { projectLink } from './projects.js';

const pageSize = 100;
const codes = ['invalid_key', 'key_revoked', 'origin_not_allowed', 'token_invalid', 'token_expired', 'auth_required', 'auth_timeout', 'rate_limited',
  'unavailable', 'forbidden', 'invalid_message', 'invalid_channel', 'message_too_large', 'too_many_channels', 'request_timeout', 'unknown_type', 'internal'];

export default function refusalsPage({ project, search, signal }) {
  const here = project ? projectLink(project, 'refusals') : '#/refusals';
  const head = project && projectHead(project, here);
  let keys = new Map();
  const pages = pager(() => again());
  const restart = () => { pages.reset(); again(); };
  const filter = keyFilter(search.get('key') ?? '', restart);
  const code = h('select', { 'aria-label': 'Code', onchange: restart }, h('option', { value: '' }, 'All codes'), codes.map((c) => h('option', { value: c }, c)));
  const list = table([
    { label: 'Time', class: 'mono quiet', text: (r) => clock(r.at).slice(0, 8), title: (r) => moment(r.at) },
    { label: 'Code', text: (r) => r.code, node: (r) => badge(r.code, 'bad') },
    { label: 'Why', class: 'strong why lead', text: (r) => r.detail || r.reason },
    { label: 'From', class: 'wrap wide', text: (r) => [r.address, r.origin].join(' '), node: (r) => h('span', { class: 'from' }, h('span', { class: 'mono' }, r.address), r.origin && h('span', { class: 'hint' }, r.origin)) },
    { label: 'Key', text: (r) => keys.get(r.keyId)?.name ?? r.keyPrefix ?? '', node: (r) => keys.get(r.keyId)?.name ?? (r.keyPrefix ? h('code', {}, r.keyPrefix + '…') : '–') },
    { label: 'What', class: 'wrap', text: (r) => [r.action, r.channel].filter(Boolean).join(' ') || r.via },
    { label: 'Node', class: 'quiet', text: (r) => r.node },
  ], { key: (r) => [r.node, r.at, r.seq, r.address, r.code, r.channel].join(), none: empty('Nothing was refused', 'Each refused connection, publish and subscription appears here with the rule that refused it. Every node remembers its last 1,000.') });
  const again = poll(signal, 2000, async () => {
    const answer = await get(query('/refusals', { project, key: filter.value(), code: code.value, limit: pageSize, cursor: pages.cursor() }), signal);
    if (signal.aborted) return;
    list.show(answer.refusals);
    pages.show(answer.next, '');
  });
  poll(signal, 10_000, async () => {
    keys = await keyNames(project, signal);
    filter.show(keys, !project);
    if (head && keys.size) head.update([...keys.values()][0].project);
  });
  return [head ? head.node : heading('Refusals', { hint: 'What was refused, by which rule, on all nodes. Newest first.' }),
    h('div', { class: 'toolbar' }, filter.node, code), h('section', { class: 'card flush' }, list.node), pages.node];
}
