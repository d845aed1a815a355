import { h } from '../dom.js';
import { all, get, query } from '../api.js';
import { moment } from '../format.js';
import { poll } from '../live.js';
import { badge, button, copyButton, dialog, empty, heading, pager, table } from '../parts.js';

// leaves lists the values of a JSON value by their places, such as rules[0].pattern.
function leaves(value, place = '', found = new Map()) {
  if (value === null || typeof value !== 'object' || Object.keys(value).length === 0) {
    if (value !== undefined) found.set(place || 'value', typeof value === 'string' ? value : JSON.stringify(value));
    return found;
  }
  for (const [name, child] of Object.entries(value)) {
    leaves(child, Array.isArray(value) ? `${place}[${name}]` : place ? `${place}.${name}` : name, found);
  }
  return found;
}

// changes shows what a record changed, field by field.
function changes(record) {
  const before = leaves(record.before ?? undefined);
  const after = leaves(record.after ?? undefined);
  const places = [...new Set([...before.keys(), ...after.keys()])];
  if (places.length === 0) return h('p', { class: 'hint' }, 'It changed nothing in the state.');
  const cell = (text) => h('td', { class: 'mono' }, text ?? h('span', { class: 'quiet' }, '–'));
  const row = (place) => h('tr', { class: before.get(place) === after.get(place) ? 'same' : '' }, h('th', { scope: 'row', class: 'mono' }, place), cell(before.get(place)), cell(after.get(place)));
  return h('table', { class: 'changes' },
    h('thead', {}, h('tr', {}, ['Field', 'Before', 'After'].map((label) => h('th', { scope: 'col' }, label)))),
    h('tbody', {}, places.map(row)));
}

function showRecord(record, name) {
  const line = (label, text) => h('div', {}, h('dt', {}, label), h('dd', {}, text));
  const whole = JSON.stringify(record, null, 2);
  return dialog(record.action, () => h('div', { class: 'stack' },
    h('dl', { class: 'facts column' }, line('When', moment(record.at)), line('Who', `${record.by.name || record.by.id || 'a node'}${record.by.via ? ` by ${record.by.via}` : ''}`),
      line('From', record.by.address || 'the node itself'), line('What', name ? `${name} (${record.target})` : record.target || '–')),
    h('div', { class: 'table-box', tabIndex: 0, role: 'region', 'aria-label': 'Changes' }, changes(record)),
    h('div', { class: 'row end' }, copyButton(whole, 'Copy as JSON', 'the record'))), { wide: true });
}

// targetNames knows what the ids in the audit are called.
async function targetNames(signal) {
  const projects = await all('/projects', 'projects', 1000, signal);
  return new Map(projects.flatMap((p) => [[p.id, p.name], ...p.keys.map((k) => [k.id, `${p.name}: ${k.name} (${k.kind} key)`])]));
}

const who = (r) => r.by.name || r.by.id || 'node';

export default function auditPage({ signal }) {
  let names = new Map();
  poll(signal, 15_000, async () => { names = await targetNames(signal); });
  const pages = pager(() => again());
  const list = table([
    { label: '#', class: 'number quiet minor', text: (r) => r.seq },
    { label: 'Time', class: 'quiet', text: (r) => moment(r.at) },
    { label: 'Who', class: 'strong', text: (r) => [who(r), r.by.address].join(), node: (r) => h('span', { class: 'from' }, who(r), r.by.address && h('span', { class: 'hint mono' }, r.by.address)) },
    { label: 'Through', text: (r) => r.by.via, node: (r) => badge(r.by.via) },
    { label: 'Action', class: 'mono lead', text: (r) => r.action },
    { label: 'Target', class: 'wrap wide', text: (r) => [names.get(r.target), r.target].join(), node: (r) => names.has(r.target) ? h('span', { class: 'from' }, names.get(r.target), h('span', { class: 'hint mono' }, r.target)) : h('span', { class: 'mono' }, r.target) },
    { label: '', class: 'actions', text: () => 'x', node: (r) => h('div', { class: 'row end' }, button('Details', () => showRecord(r, names.get(r.target)), { small: true })) },
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
