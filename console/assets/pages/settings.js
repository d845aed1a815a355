import { h, setText } from '../dom.js';
import { get, patch } from '../api.js';
import { bytes } from '../format.js';
import { poll } from '../live.js';
import { busy, card, field, select, toast } from '../parts.js';
import { may } from '../session.js';
import { track } from '../unsaved.js';
import { clusterHead } from './cluster.js';

const units = [[2 ** 20, 'MiB'], [2 ** 30, 'GiB'], [2 ** 40, 'TiB']];

// inUnits splits a size into a number and the largest unit that keeps it whole.
function inUnits(size) {
  const unit = units.findLast(([n]) => size >= n && size % n === 0)?.[0] ?? units[0][0];
  return [size / unit, unit];
}

export default function settingsPage({ signal }) {
  const amount = h('input', { type: 'number', min: 0, step: 'any', 'aria-label': 'Most bytes', disabled: !may('owner') });
  const unit = select(units, units[1][0], { 'aria-label': 'Unit', disabled: !may('owner') });
  const cap = field('Most payload that all channels keep together', h('div', { class: 'row nowrap' }, amount, unit),
    { hint: 'Beyond it the oldest messages of the cluster go first, whatever the rules of their channels. 0 means no cap.' });
  const save = h('button', { type: 'button', class: 'btn primary', disabled: true }, 'Save settings');
  const now = h('p', { class: 'hint' });
  let stored = null;
  const value = () => Math.round(Number(amount.value) * Number(unit.value));
  const dirty = () => stored !== null && value() !== stored;
  const changed = () => { save.disabled = !may('owner') || !dirty(); cap.say(''); };
  function show(settings) {
    const untouched = !dirty();
    stored = settings.maxBytes;
    setText(now, stored ? `In force: ${bytes(stored)}.` : 'In force: no cap.');
    if (untouched && document.activeElement !== amount) [amount.value, unit.value] = inUnits(stored);
    changed();
  }
  amount.addEventListener('input', changed);
  unit.addEventListener('change', changed);
  save.addEventListener('click', () => busy(save, async () => {
    try {
      const settings = await patch('/settings', { maxBytes: value() });
      stored = value();
      show(settings);
      toast('Settings saved.');
    } catch (error) {
      cap.say(error.message);
    }
  }).then(changed));
  poll(signal, 5000, async () => show(await get('/settings', signal)));
  track('settings', dirty, signal);
  const facts = ['Cluster', 'Epoch', 'Versions', 'Feature levels'].map((label) => {
    const text = h('dd', { class: 'mono' }, '–');
    return { text, node: h('div', {}, h('dt', {}, label), text) };
  });
  poll(signal, 5000, async () => {
    const status = await get('/status', signal);
    const each = (name) => [...new Set(status.members.map((m) => m[name] || 'unknown'))].join(', ');
    [status.clusterId, status.epoch, each('version'), each('featureLevel')].forEach((text, i) => setText(facts[i].text, text));
  });
  return [clusterHead('settings'), h('div', { class: 'stack wide' },
    card('Disk of the cluster', { hint: 'Settings hold for all nodes.' }, cap.node, now,
      may('owner') ? h('div', { class: 'row end' }, save) : h('p', { class: 'hint' }, 'Only owners may change settings.')),
    card('This cluster', {}, h('dl', { class: 'facts column' }, facts.map((f) => f.node))))];
}
