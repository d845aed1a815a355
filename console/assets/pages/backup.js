import { h, setText } from '../dom.js';
import { base, download } from '../api.js';
import { bytes, moment } from '../format.js';
import { busy, button, card, copyButton, empty, toast } from '../parts.js';
import { may } from '../session.js';
import { clusterHead } from './cluster.js';

const pad = (n) => String(n).padStart(2, '0');

function fileName() {
  const d = new Date();
  return `aptlyd-${d.getFullYear()}${pad(d.getMonth() + 1)}${pad(d.getDate())}-${pad(d.getHours())}${pad(d.getMinutes())}.backup`;
}

const line = (text) => h('span', { class: 'secret boxed' }, h('code', {}, text), copyButton(text, 'Copy', 'the command'));

export default function backupPage({ signal }) {
  if (!may('owner')) {
    return [clusterHead('backup'), h('section', { class: 'card' }, empty('Only for owners', 'A backup has all messages of all projects, and the hashes of all keys.'))];
  }
  const progress = h('p', { class: 'hint', role: 'status' });
  const start = button('Download a backup', () => busy(start, async () => {
    const name = fileName();
    const whole = await download('/backup', (got, all) => setText(progress, `${bytes(got)} of ${bytes(all)}`), signal);
    const url = URL.createObjectURL(whole);
    h('a', { href: url, download: name }).click();
    URL.revokeObjectURL(url);
    setText(progress, `${name}, ${bytes(whole.size)}, as of ${moment(Date.now())}.`);
    toast('The backup is complete.');
  }), { kind: 'primary', iconName: 'down' });
  return [clusterHead('backup'), h('div', { class: 'stack wide' },
    card('Backup', { hint: 'Projects, keys, rules, messages, settings and the audit of the whole cluster, as of now. Clients notice nothing. Reading one is in the audit.' },
      h('div', { class: 'row' }, start, progress),
      h('p', { class: 'hint' }, 'For a schedule, or for more than the browser wants to hold:'), line(`APTLYD_ADMIN_TOKEN=adm_… aptlyd backup cluster.backup --server ${base.replace(/\/$/, '')}`)),
    card('Restore', { hint: 'A backup becomes a new cluster: on one empty data folder, which the other nodes then join. Clients go on; they are told of what is missing.' },
      line('aptlyd restore cluster.backup --data-dir DIR'),
      h('p', { class: 'hint' }, 'Then a node is started on that folder with its usual command line, and the others with empty ones. The cluster secret must be the one of the backup, to read its signing secrets.')))];
}
