import { h } from '../dom.js';
import { get, query } from '../api.js';
import { moment } from '../format.js';
import { poll } from '../live.js';
import { badge, button, dialog, empty, heading, pager, table } from '../parts.js';

const pretty = (value) => value === null || value === undefined || value === '' ? '–' : JSON.stringify(value, null, 2);

function showRecord(record) {
  const line = (label, text) => h('div', { class: 'field' }, h('span', { class: 'label' }, label), h('span', {}, text));
  return dialog(record.action, () => h('div', { class: 'stack' },
    h('div', { class: 'columns' }, line('When', moment(record.at)), line('Who', `${record.by.name || record.by.id} from ${record.by.address || 'the node itself'}`), line('What', record.target)),
    h('div', { class: 'columns' },
      h('div', { class: 'field' }, h('span', { class: 'label' }, 'Before'), h('pre', { class: 'code' }, pretty(record.before))),
      h('div', { class: 'field' }, h('span', { class: 'label' }, 'After'), h('pre', { class: 'code' }, pretty(record.after))))), { wide: true });
}

export default function auditPage({ signal }) {
  const pages = pager(() => again());
  const list = table([
    { label: '#', class: 'number quiet minor', text: (r) => r.seq },
    { label: 'Time', class: 'quiet', text: (r) => moment(r.at) },
    { label: 'Who', class: 'strong', text: (r) => r.by.name || r.by.id || 'node' },
    { label: 'Through', text: (r) => r.by.via, node: (r) => badge(r.by.via) },
    { label: 'Action', class: 'mono lead', text: (r) => r.action },
    { label: 'Target', class: 'mono wrap wide', text: (r) => r.target },
    { label: 'Address', class: 'mono quiet', text: (r) => r.by.address || '–' },
    { label: '', class: 'actions', text: () => 'x', node: (r) => h('div', { class: 'row end' }, button('Details', () => showRecord(r), { small: true })) },
  ], { key: (r) => r.seq, none: empty('No change yet', 'Every change of projects, keys, tokens and settings is recorded here, with who made it.') });
  const again = poll(signal, 3000, async () => {
    const answer = await get(query('/audit', { limit: 50, cursor: pages.cursor() }), signal);
    if (signal.aborted) return;
    list.show(answer.audit);
    pages.show(answer.next, '');
  });
  return [heading('Audit log', { hint: 'Who changed what. The last 10,000 changes are kept, on every node alike.' }),
    h('section', { class: 'card flush' }, list.node), pages.node];
}
