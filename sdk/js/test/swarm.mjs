// Many clients in one process that follow and publish while the Go test restarts the nodes. Prints what
// each saw when a line comes in on stdin: CLIENTS, CHANNELS, RATE (publishes a second of them together),
// ENDPOINTS (JSON), KEY.
import { WebSocket as NodeSocket } from 'ws';
import Brook from '../dist/index.js';

const { CLIENTS, CHANNELS, RATE, ENDPOINTS, KEY, NAME } = process.env;
const endpoints = JSON.parse(ENDPOINTS);
const dials = []; // Unix ms of each connection that was opened
class Counted extends NodeSocket {
  constructor(url) {
    super(url);
    this.on('open', () => dials.push(Date.now()));
  }
}

const members = Array.from({ length: Number(CLIENTS) }, (_, i) => {
  const client = new Brook({
    apiKey: KEY, WebSocket: Counted, endpoints: endpoints.map((_, n) => endpoints[(i + n) % endpoints.length]),
  });
  const m = { client, statuses: [], last: 0, received: 0, lost: 0, repeated: 0, gaps: 0, channel: `swarm:${i % CHANNELS}` };
  client.onConnectivityChange((s) => m.statuses.push(s));
  return m;
});
for (const m of members) {
  await m.client.connect();
  await m.client.realtime.channel(m.channel).stream((data, { offset }) => {
    m.received++;
    if (offset <= m.last) m.repeated++;
    else if (offset > m.last + 1) m.lost += offset - m.last - 1;
    m.last = Math.max(m.last, offset);
  }, { from: 'all', onGap: () => m.gaps++ }).ready;
  m.statuses.length = 0;
}
const connectedBy = Date.now();
console.log(JSON.stringify({ ready: true }));

let sent = 0;
const refused = [];
const delays = [];
const heads = {};
const pending = new Set();
const publishing = setInterval(() => {
  const m = members[sent % members.length];
  const began = Date.now();
  const p = m.client.realtime.channel(m.channel).publish({ from: NAME, n: sent++ })
    .then(({ offset }) => {
      delays.push(Date.now() - began);
      heads[m.channel] = Math.max(heads[m.channel] ?? 0, offset);
    }, (err) => refused.push(err.code))
    .finally(() => pending.delete(p));
  pending.add(p);
}, 1000 / RATE);

await new Promise((told) => process.stdin.once('data', told)); // to stop publishing
clearInterval(publishing);
await Promise.all(pending);
console.log(JSON.stringify({ heads }));
const all = JSON.parse(await new Promise((told) => process.stdin.once('data', (line) => told(String(line))))); // heads of all processes
const end = Date.now() + 30_000;
while (Date.now() < end && members.some((m) => m.last < (all[m.channel] ?? 0))) await new Promise((r) => setTimeout(r, 50));
const sum = (field) => members.reduce((n, m) => n + m[field], 0);
delays.sort((a, b) => a - b);
console.log(JSON.stringify({
  sent, refused, received: sum('received'), lost: sum('lost'), repeated: sum('repeated'), gaps: sum('gaps'),
  behind: members.filter((m) => m.last < (all[m.channel] ?? 0)).length,
  statuses: members.flatMap((m) => m.statuses),
  dials: dials.filter((at) => at > connectedBy),
  median: delays[delays.length >> 1], worst: delays.at(-1),
}));
process.exit(0);
