// A client that the torturer drives (test/torture/sdkfollower.go): it follows CHANNELS over ENDPOINTS (both
// JSON) with KEY, publishes what comes in on stdin, and writes what happens to stdout, one JSON object a line.
import { createInterface } from 'node:readline';
import { WebSocket } from 'ws';
import Brook from '../dist/index.js';

const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const client = new Brook({ apiKey: process.env.KEY, endpoints: JSON.parse(process.env.ENDPOINTS), WebSocket });
client.connect().catch((err) => say({ kind: 'note', code: err.code ?? String(err) }));
for (const channel of JSON.parse(process.env.CHANNELS)) {
  client.realtime.channel(channel).stream((data, { offset, timestamp, replay }) => {
    say({ kind: 'deliver', channel, data: JSON.stringify(data), offset, stamp: timestamp, replay });
  }, {
    from: 'all',
    onGap: (from, to) => say({ kind: 'gap', channel, offset: from, head: to }),
    onReset: () => say({ kind: 'reset', channel }),
    onError: (err) => say({ kind: 'note', channel, code: err.code }),
  });
}
for await (const line of createInterface({ input: process.stdin })) {
  const { channel, data, id } = JSON.parse(line);
  client.realtime.channel(channel).publish(data, { id }).then(
    ({ offset, timestamp, duplicate }) => say({ kind: 'publish', id, outcome: 'ok', offset, stamp: timestamp, duplicate }),
    (err) => say({ kind: 'publish', id, outcome: err.code === 'outcome_unknown' ? 'unknown' : 'failed', code: err.code }),
  );
}
process.exit(0);
