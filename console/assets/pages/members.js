import { h } from '../dom.js';
import { del, get, query } from '../api.js';
import { count, span } from '../format.js';
import { poll } from '../live.js';
import { badge, button, confirm, copyButton, table, toast } from '../parts.js';
import { may } from '../session.js';
import { clusterHead } from './cluster.js';

const role = (m) => (m.leader ? 'leader' : m.voter ? 'voter' : 'non-voter');

async function remove(member, again) {
  const done = await confirm(`Remove ${member.name}`, {
    text: `${member.name} leaves the cluster for good. Do this when its machine is lost: the others then need one node less to agree. A node that only restarts needs nothing. It is refused where it would cost the majority.`,
    action: 'Remove node', typed: member.name, work: () => del(query('/members', { name: member.name })),
  });
  if (!done) return;
  toast(`${member.name} is removed.`);
  again();
}

export default function membersPage({ signal }) {
  let self = '';
  const list = table([
    { label: 'Node', class: 'strong lead', text: (m) => m.name + (m.name === self), node: (m) => h('span', { class: 'row' }, m.name, m.name === self && badge('this one')), title: (m) => m.id },
    { label: 'State', text: (m) => [m.state, role(m)].join(), node: (m) => h('span', { class: 'row' }, badge(m.state, m.state === 'alive' ? 'good' : 'bad'), badge(role(m), role(m) === 'leader' ? 'accent' : '')) },
    { label: 'Clients reach it at', class: 'mono wrap wide', text: (m) => m.publicUrl || '–' },
    { label: 'Peers reach it at', class: 'mono quiet wide wrap', text: (m) => m.peerAddr || '–' },
    { label: 'Up for', class: 'quiet', text: (m) => m.state === 'alive' && m.startedAt ? span(Date.now() - m.startedAt) : '–' },
    { label: 'Clock', class: 'quiet', text: (m) => m.clockOffsetMs === null ? '–' : `${m.clockOffsetMs > 0 ? '+' : ''}${count(m.clockOffsetMs)} ms` },
    { label: 'Version', class: 'quiet wrap', text: (m) => m.version || '–', title: (m) => `feature level ${m.featureLevel}` },
    ...(may('owner') ? [{ label: '', class: 'actions', text: (m) => String(m.name === self), node: (m) => m.name === self ? '' : h('div', { class: 'row end' }, button('Remove', () => remove(m, again), { small: true, kind: 'danger' })) }] : []),
  ], { key: (m) => m.id });
  const again = poll(signal, 2000, async () => {
    const status = await get('/status', signal);
    if (signal.aborted) return;
    self = status.node;
    list.show(status.members);
  });
  const line = 'APTLYD_CLUSTER_SECRET=… aptlyd serve --data-dir DIR --node-name NAME --join HOST:PORT';
  return [clusterHead('members'), h('div', { class: 'stack wide' },
    h('section', { class: 'card flush' }, list.node),
    h('section', { class: 'card' }, h('div', { class: 'card-body' },
      h('p', {}, 'A node joins by itself when it is started with the address of another one, and catches up before it takes clients:'),
      h('span', { class: 'secret boxed' }, h('code', {}, line), copyButton(line, 'Copy', 'the command')),
      !may('owner') && h('p', { class: 'hint' }, 'Only owners may remove nodes.'))))];
}
