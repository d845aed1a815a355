import { h, fill, setText } from '../dom.js';
import { get } from '../api.js';
import { chart } from '../chart.js';
import { bytes, compact, count, inStep, millis, rate, span } from '../format.js';
import { icon } from '../icons.js';
import { poll } from '../live.js';
import { badge, card, heading, table, tabs } from '../parts.js';
import { nodeMap } from '../nodemap.js';

// advice says what the state of the cluster means, and what to do.
function advice(status) {
  const down = status.members.filter((m) => m.state !== 'alive');
  const voters = status.members.filter((m) => m.voter);
  const needed = Math.floor(voters.length / 2) + 1;
  const up = voters.filter((m) => m.state === 'alive').length;
  if (!status.leader) {
    return ['bad', 'There is no leader: nothing can be published or changed now',
      `An election takes a second or two. If this stays, fewer than ${needed} of ${voters.length} voters are up or can reach each other: start the nodes that are down, and check the peer port between them.`];
  }
  if (down.length === 0) return null;
  const names = down.map((m) => m.name).join(' and ');
  const left = up - needed;
  return ['warn', `${names} ${down.length === 1 ? 'does' : 'do'} not answer`,
    `The others go on, and nothing that was acknowledged is lost. Start ${names} again with the same command line: it catches up by itself. `
    + (left > 0 ? `${left} more ${left === 1 ? 'voter' : 'voters'} may fail before publishing stops. ` : 'If one more voter fails, publishing stops. ')
    + `If the machine is gone for good, start a new node with its name, or take it out with "aptlyd cluster remove ${down[0].name}".`];
}

const charts = (signal) => [
  chart('Connections', [['connections', '', '--accent']], compact, signal),
  chart('Publishes a second', [['publishes', '', '--accent']], rate, signal),
  chart('Deliveries a second', [['deliveries', '', '--accent']], rate, signal),
  chart('Publish latency', [['latencyP50', 'p50', '--accent'], ['latencyP99', 'p99', '--alert']], millis, signal),
  chart('Bytes to clients a second', [['bytesOut', '', '--accent']], bytes, signal),
  chart('Refusals a second', [['refusals', '', '--alert']], rate, signal),
];

const places = [['Overview', '#/cluster'], ['Members', '#/cluster/members'], ['Settings', '#/cluster/settings'], ['Doctor', '#/cluster/doctor'], ['Backup', '#/cluster/backup']];

// clusterHead begins each page about the cluster.
export const clusterHead = (place) =>
  [heading('Cluster', { hint: 'The nodes as this one sees them.' }), tabs('Cluster', places, place ? `#/cluster/${place}` : '#/cluster')];

export default function clusterPage({ signal }) {
  const map = nodeMap();
  const notice = h('div', { role: 'status' });
  const facts = ['Leader', 'Term', 'Log index', 'Connections', 'Version'].map((label) => {
    const value = h('dd', {}, '–');
    return { value, node: h('div', {}, h('dt', {}, label), value) };
  });
  let head = 0;
  let leader = '';
  const leads = (m) => m.leader && m.name === leader;
  const nodes = table([
    { label: 'Node', class: 'strong lead', text: (m) => m.name, title: (m) => m.id },
    { label: 'State', text: (m) => m.state, node: (m) => badge(m.state, m.state === 'alive' ? 'good' : 'bad') },
    { label: 'Role', text: (m) => leads(m) ? 'leader' : m.voter ? 'voter' : 'non-voter', node: (m) => leads(m) ? badge('leader', 'accent') : m.voter ? 'voter' : 'non-voter' },
    { label: 'Applied', class: 'number', text: (m) => count(m.appliedIndex) },
    { label: 'Lag', text: (m) => m.state === 'alive' ? inStep(head - m.appliedIndex) : '–' },
    { label: 'Connections', class: 'number', text: (m) => m.state === 'alive' ? count(m.connections) : '–' },
    { label: 'Up for', class: 'quiet', text: (m) => m.state === 'alive' && m.startedAt ? span(Date.now() - m.startedAt) : '–' },
    { label: 'Disk used', class: 'number', text: (m) => m.diskUsed ? bytes(m.diskUsed) : '–' },
    { label: 'Disk free', class: 'number', text: (m) => m.diskFree ? bytes(m.diskFree) : '–' },
    { label: 'Version', class: 'quiet clip', text: (m) => m.version || '–' },
    { label: 'Peer address', class: 'mono quiet wide wrap', text: (m) => m.peerAddr || '–' },
  ], { key: (m) => m.id });
  let warned = '';

  poll(signal, 1000, async () => {
    const status = await get('/status', signal);
    if (signal.aborted) return;
    leader = status.leader;
    head = Math.max(0, ...status.members.map((m) => m.appliedIndex));
    map.update(status);
    nodes.show(status.members);
    const connections = status.members.filter((m) => m.state === 'alive').reduce((sum, m) => sum + m.connections, 0);
    [status.leader || 'none', count(status.term), count(head), count(connections), status.version].forEach((text, i) => setText(facts[i].value, text));
    const advised = advice(status);
    if (JSON.stringify(advised) === warned) return;
    warned = JSON.stringify(advised);
    fill(notice, advised && h('div', { class: `notice ${advised[0]}` }, icon('warn'), h('div', {}, h('strong', {}, advised[1]), h('p', {}, advised[2]))));
  });

  const graphs = charts(signal);
  poll(signal, 5000, async () => {
    const history = await get('/metrics/history?minutes=60', signal);
    if (signal.aborted) return;
    await Promise.all(graphs.map((g) => g.update(history)));
  });

  return [clusterHead(''),
    h('div', { class: 'stack wide' },
      notice,
      h('div', { class: 'split even' },
        h('section', { class: 'card' }, h('div', { class: 'card-body' }, map.node, h('p', { class: 'hint center' }, 'The number in a node is how many clients it serves.'))),
        h('section', { class: 'card' }, h('div', { class: 'card-body' }, h('dl', { class: 'facts column' }, facts.map((f) => f.node))))),
      h('section', { class: 'card flush' }, nodes.node),
      card('The last hour', { hint: 'All nodes together, in steps of ten seconds.' }, h('div', { class: 'charts' }, graphs.map((g) => g.node))))];
}
