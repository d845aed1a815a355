// What the clients of a project did: figures on its page, and the page with all of them.
import { h, fill, setText } from '../dom.js';
import { get, path, query } from '../api.js';
import { bars, tile } from '../bars.js';
import { compact, count, day, hour, minute, plural } from '../format.js';
import { poll } from '../live.js';
import { card, empty, table } from '../parts.js';
import { projectHead } from './project.js';
import { projectLink, projectOf } from './projects.js';

const none = { connections: 0, opened: 0, publishes: 0, deliveries: 0, refusals: 0 };

const usageOf = (project, by, signal) => get(query(path('projects', project, 'usage'), { by }), signal);

// filled returns the last steps periods up to now, also those without any usage.
function filled({ stepSeconds, periods }, steps, now = Date.now()) {
  const step = stepSeconds * 1000;
  const last = Math.max(now - (now % step), periods.at(-1)?.at ?? 0);
  const known = new Map(periods.map((p) => [p.at, p]));
  return Array.from({ length: steps }, (_, i) => known.get(last - (steps - 1 - i) * step) ?? { at: last - (steps - 1 - i) * step, ...none });
}

const sum = (periods, name) => periods.reduce((total, p) => total + p[name], 0);
const most = (periods, name) => Math.max(0, ...periods.map((p) => p[name]));

const kinds = [['connections', 'Connections'], ['publishes', 'Publishes'], ['deliveries', 'Deliveries'], ['refusals', 'Refusals']];

// figuresCard shows the last hour and day. open is asked for the connections of now.
export function figuresCard(id, signal, open) {
  const tiles = kinds.map(([name, label]) => tile(name === 'connections' ? label : `${label}, last hour`));
  poll(signal, 5000, async () => {
    const [minutes, hours] = await Promise.all([usageOf(id, 'minute', signal), usageOf(id, 'hour', signal)]);
    if (signal.aborted) return;
    const lastHour = filled(minutes, 60);
    const lastDay = filled(hours, 24);
    kinds.forEach(([name], i) => {
      const values = lastHour.map((p) => p[name]);
      if (name === 'connections') tiles[i].update(open() === null ? '–' : `${count(open())} now`, `most ${count(most(lastHour, name))} in the hour, ${count(most(lastDay, name))} in the day`, values);
      else tiles[i].update(compact(sum(lastHour, name)), `${compact(sum(lastDay, name))} in the last day`, values);
    });
  });
  return h('section', { class: 'card', 'aria-label': 'Usage' }, h('div', { class: 'tiles' }, tiles.map((t) => t.node)));
}

const spans = [['Hour', 'minute', 60, minute], ['Two days', 'hour', 48, hour], ['92 days', 'day', 92, day]];

// usagePage shows one kind of figure after the other, and all of them as a table.
export default function usagePage({ project: id, signal }) {
  const head = projectHead(id, projectLink(id, 'usage'));
  let chosen = spans[2];
  let shown = [];
  const pictures = kinds.map(([name, label]) => {
    const total = h('span', { class: 'chart-now' });
    const picture = bars(label, { tall: 90, say: (value, i) => shown[i] ? `${chosen[3](shown[i].at)}: ${count(value)}` : count(value) });
    return {
      node: h('figure', { class: 'chart' }, h('figcaption', {}, h('span', {}, label), total), picture.node),
      update() {
        setText(total, name === 'connections' ? `most ${count(most(shown, name))}` : count(sum(shown, name)));
        picture.update(shown.map((p) => p[name]));
      },
    };
  });
  const list = table([
    { label: 'From', class: 'strong lead', text: (p) => chosen[3](p.at) },
    { label: 'Connections', class: 'number', text: (p) => count(p.connections) },
    { label: 'Opened', class: 'number', text: (p) => count(p.opened) },
    { label: 'Publishes', class: 'number', text: (p) => count(p.publishes) },
    { label: 'Deliveries', class: 'number', text: (p) => count(p.deliveries) },
    { label: 'Refusals', class: 'number', text: (p) => count(p.refusals) },
  ], { key: (p) => p.at, none: empty('No usage yet', 'What clients do shows here at once, and is kept once a minute.') });
  const again = poll(signal, 5000, async () => {
    const [, by, steps] = chosen;
    const usage = await usageOf(id, by, signal);
    if (signal.aborted || by !== chosen[1]) return;
    shown = filled(usage, steps);
    pictures.forEach((p) => p.update());
    list.show(usage.periods.toReversed());
    setText(label, plural(usage.periods.length, chosen[1]) + ' with any usage');
  });
  const label = h('span', { class: 'hint' });
  const choices = h('div', { class: 'segments', role: 'tablist', 'aria-label': 'Span' });
  const choose = (span) => {
    chosen = span;
    for (const tab of choices.children) tab.setAttribute('aria-selected', String(tab.textContent === span[0]));
    again();
  };
  fill(choices, spans.map((span) => h('button', { type: 'button', role: 'tab', onclick: () => choose(span) }, span[0])));
  choose(chosen);
  projectOf(id, signal).then(head.update, () => {});
  return [head.node, h('div', { class: 'stack wide' },
    card('Usage', { hint: 'Connections are the most that were open at a time. Hours and days are those of UTC; a node that dies takes its last minute with it.' },
      h('div', { class: 'row between' }, choices, label), h('div', { class: 'charts' }, pictures.map((p) => p.node))),
    h('section', { class: 'card flush' }, list.node))];
}
