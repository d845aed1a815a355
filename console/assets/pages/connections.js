import { h, fill } from '../dom.js';
import { all, del, get, path, query } from '../api.js';
import { ago, count, moment, plural, span } from '../format.js';
import { poll } from '../live.js';
import { badge, button, confirm, empty, heading, kindBadge, pager, table, toast } from '../parts.js';
import { may } from '../session.js';
import { projectHead } from './project.js';
import { projectLink, projectOf } from './projects.js';

const pageSize = 100;
const transports = { ws: 'WebSocket', sse: 'Server-Sent Events', poll: 'long poll' };

// keyNames knows the names of all keys, to show instead of their ids.
export async function keyNames(project, signal) {
  const projects = project ? [await projectOf(project, signal)] : await all('/projects', 'projects', 1000, signal);
  return new Map(projects.flatMap((p) => p.keys.map((k) => [k.id, { ...k, project: p }])));
}

// keyFilter is a choice of one key or all of them.
export function keyFilter(chosen, onchange) {
  const node = h('select', { 'aria-label': 'Key', onchange });
  const option = (value, text) => h('option', { value, selected: value === chosen }, text);
  fill(node, option('', 'All keys'), chosen && option(chosen, chosen));
  let shown = '';
  return {
    node,
    value: () => node.value,
    show(keys, many) {
      const texts = [...keys.values()].map((k) => [k.id, many ? `${k.project.name}: ${k.name} (${k.kind})` : `${k.name} (${k.kind})`]);
      if (JSON.stringify(texts) === shown) return;
      shown = JSON.stringify(texts);
      chosen = node.value || chosen;
      fill(node, option('', 'All keys'), !keys.has(chosen) && chosen && option(chosen, chosen), texts.map(([id, text]) => option(id, text)));
    },
  };
}

export default function connectionsPage({ project, search, signal }) {
  const here = project ? projectLink(project, 'connections') : '#/connections';
  const head = project && projectHead(project, here);
  let keys = new Map();
  let projects = new Map();
  const pages = pager(() => again());
  const filter = keyFilter(search.get('key') ?? '', () => { pages.reset(); again(); });
  const name = (id) => keys.get(id)?.name ?? id;
  const how = (c) => [transports[c.transport], c.sdk].filter(Boolean).join(', ');

  async function disconnect(connection) {
    const done = await confirm('Disconnect a client', {
      text: `The connection from ${connection.address} on ${connection.node} is closed. The client may connect again: to keep it out, revoke its key.`,
      action: 'Disconnect', work: () => del(path('connections', connection.id)),
    });
    if (!done) return;
    toast('Disconnected.');
    again();
  }

  const list = table([
    { label: 'Address', class: 'strong lead', text: (c) => [c.address, how(c)].join(), node: (c) => h('span', { class: 'from' }, h('span', { class: 'mono' }, c.address), h('span', { class: 'hint' }, how(c))), title: (c) => c.id },
    ...(project ? [] : [{ label: 'Project', class: 'wrap slim', text: (c) => projects.get(c.project) ?? c.project, link: (c) => projectLink(c.project) }]),
    {
      label: 'Key', class: 'wrap slim', text: (c) => [name(c.keyId), c.kind, c.sub, keys.get(c.keyId)?.expiresAt].join(),
      node: (c) => h('span', { class: 'row' }, c.kind === 'console' ? '' : name(c.keyId), kindBadge(c.kind), c.sub ? h('span', { class: 'hint' }, c.sub) : null, keys.get(c.keyId)?.expiresAt ? badge('ending', 'warn') : null),
    },
    { label: 'Origin', class: 'wrap wide', text: (c) => c.origin || 'none' },
    { label: 'Node', text: (c) => c.node },
    { label: 'Since', class: 'quiet', text: (c) => ago(c.since), title: (c) => moment(c.since) },
    {
      label: 'Channels', class: 'wrap wide', text: (c) => c.channels.length > 3 ? `${c.channels.slice(0, 3).join(', ')} and ${c.channels.length - 3} more` : c.channels.join(', ') || 'none',
      title: (c) => c.channels.slice(0, 50).join('\n'),
    },
    { label: 'State', text: (c) => c.state + c.behind, node: (c) => c.state === 'live' ? badge('live', 'good') : badge(`${count(c.behind)} behind`, 'warn') },
    ...(may('operator') ? [{ label: '', class: 'actions', text: () => 'x', node: (c) => h('div', { class: 'row end' }, button('Disconnect', () => disconnect(c), { small: true })) }] : []),
  ], { key: (c) => c.id, none: empty('Nobody is connected', 'Clients appear here as soon as they have authenticated. Those that were refused are under Refusals.', h('a', { class: 'btn', href: project ? projectLink(project, 'refusals') : '#/refusals' }, 'Refusals')) });

  const again = poll(signal, 2000, async () => {
    const answer = await get(query('/connections', { project, key: filter.value(), limit: pageSize, cursor: pages.cursor() }), signal);
    if (signal.aborted) return;
    if (answer.connections.some((c) => c.kind === 'console' ? !projects.has(c.project) : !keys.has(c.keyId))) await names();
    list.show(answer.connections);
    pages.show(answer.next, answer.connections.length ? `${plural(answer.connections.length, 'connection')} on this page` : '');
  });
  async function names() {
    keys = await keyNames(project, signal);
    projects = new Map([...keys.values()].map((k) => [k.project.id, k.project.name]));
    filter.show(keys, !project);
    if (head && keys.size) head.update([...keys.values()][0].project);
  }
  poll(signal, 10_000, names);
  return [head ? head.node : heading('Connections', { hint: 'Who is connected now, on all nodes.' }),
    h('div', { class: 'toolbar' }, filter.node), h('section', { class: 'card flush' }, list.node), pages.node];
}
