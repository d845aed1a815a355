import { h, fill } from '../dom.js';
import { get } from '../api.js';
import { moment, plural } from '../format.js';
import { icon } from '../icons.js';
import { badge, busy, button, card, empty, table } from '../parts.js';
import { may } from '../session.js';
import { clusterHead } from './cluster.js';

export default function doctorPage({ signal }) {
  const verdict = h('div', { role: 'status' });
  const list = table([
    { label: 'Result', text: (f) => f.ok, node: (f) => badge(f.ok ? 'good' : 'wrong', f.ok ? 'good' : 'bad') },
    { label: 'Node', class: 'strong', text: (f) => f.node },
    { label: 'Check', text: (f) => f.check },
    { label: 'Finding', class: 'wrap why lead', text: (f) => f.text },
  ], { key: (f) => [f.node, f.check, f.text].join('\n') });
  async function examine() {
    fill(verdict, h('p', { class: 'hint' }, 'Every node examines itself and its way to the others…'));
    const { findings } = await get('/diagnosis', signal);
    if (signal.aborted) return;
    const wrong = findings.filter((f) => !f.ok);
    fill(verdict, h('p', { class: `notice ${wrong.length ? 'bad' : 'good'}` }, icon(wrong.length ? 'warn' : 'check'),
      h('span', {}, wrong.length ? `${plural(wrong.length, 'check')} of ${findings.length} found something wrong.` : `All ${findings.length} checks are good, as of ${moment(Date.now())}.`)));
    list.show([...wrong, ...findings.filter((f) => f.ok)]);
  }
  if (!may('operator')) {
    return [clusterHead('doctor'), h('section', { class: 'card' }, empty('Only for operators', 'The doctor has the nodes write to their disks, so it takes an operator or an owner.'))];
  }
  const again = button('Examine again', () => run(), { small: true });
  const run = () => busy(again, examine);
  run();
  return [clusterHead('doctor'), h('div', { class: 'stack wide' },
    card('Doctor', { hint: 'Quorum, versions, clocks, disks, descriptors, and the ports between the nodes. The same as "aptlyd doctor".', actions: again }, verdict),
    h('section', { class: 'card flush' }, list.node))];
}
