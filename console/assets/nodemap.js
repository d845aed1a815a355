// A picture of the cluster: its nodes around a circle, and what the leader sends
// to the others.
import { fill, s } from './dom.js';
import { count, inStep } from './format.js';

const width = 460;
const height = 260;
const radius = 30;

// places puts n nodes around the middle, the first one on top.
function places(n) {
  if (n === 1) return [[width / 2, height / 2 - 10]];
  return Array.from({ length: n }, (_, i) => {
    const angle = -Math.PI / 2 + (2 * Math.PI * i) / n;
    return [width / 2 + Math.cos(angle) * 150, height / 2 + Math.sin(angle) * (n === 2 ? 0 : 80)];
  });
}

const clip = (text, most = 16) => text.length > most ? text.slice(0, most - 1) + '…' : text;

// nodeMap returns the picture and what draws a status into it.
export function nodeMap() {
  const node = s('svg', { viewBox: `0 0 ${width} ${height}`, class: 'nodemap', role: 'img' });
  return {
    node,
    update(status) {
      const at = places(status.members.length);
      const leader = status.members.findIndex((m) => m.leader && m.name === status.leader);
      const head = Math.max(0, ...status.members.map((m) => m.appliedIndex));
      const lines = leader < 0 ? [] : status.members.flatMap((m, i) => i === leader ? [] : [
        s('line', { x1: at[leader][0], y1: at[leader][1], x2: at[i][0], y2: at[i][1], class: m.state === 'alive' ? 'wire' : 'wire cut' })]);
      const nodes = status.members.map((m, i) => {
        const [x, y] = at[i];
        const alive = m.state === 'alive';
        const role = !alive ? 'unreachable' : i === leader ? 'leader' : m.voter ? inStep(head - m.appliedIndex) : 'non-voter';
        return s('g', { class: `map-node ${alive ? '' : 'down'} ${i === leader ? 'leads' : ''}` },
          s('circle', { cx: x, cy: y, r: radius }),
          s('text', { x, y: y + 5, class: 'map-count' }, alive ? count(m.connections) : '×'),
          s('text', { x, y: y + radius + 18, class: 'map-name' }, clip(m.name)),
          s('text', { x, y: y + radius + 33, class: 'map-role' }, role));
      });
      fill(node, lines, nodes);
      node.setAttribute('aria-label', `${status.members.length} nodes, leader ${status.leader || 'none'}`);
    },
  };
}
