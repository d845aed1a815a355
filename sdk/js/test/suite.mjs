// The one suite that every runtime runs: it imports nothing of a runtime and reaches the
// cluster through the control server of the Go test (test/sdkjs_test.go).
//
//   run({ Brook, BrookError, presence, WebSocket, control, only }) -> [{ name, ok, error, ms }]

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, check, within = 60_000) {
  const end = Date.now() + within;
  for (;;) {
    const got = await check();
    if (got) return got;
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await sleep(20);
  }
}

function equal(got, want, what) {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    throw new Error(`${what}: got ${JSON.stringify(got)?.slice(0, 500)}, want ${JSON.stringify(want)?.slice(0, 500)}`);
  }
}

async function rejected(promise, code) {
  try {
    await promise;
  } catch (err) {
    equal(err.code, code, `code of "${err.message}"`);
    return err;
  }
  throw new Error(`was not rejected with ${code}`);
}

const numbers = (n, first = 1) => Array.from({ length: n }, (_, i) => i + first);

export async function run({ Brook, BrookError, presence, WebSocket, control, only, transports }) {
  let serial = 0;
  const prefix = `t${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`;
  const info = await (await fetch(`${control}/info`)).json();

  async function command(name, query = {}) {
    const answer = await fetch(`${control}/${name}?${new URLSearchParams(query)}`, { method: 'POST' });
    if (!answer.ok) throw new Error(`${name}: ${await answer.text()}`);
    return answer.json();
  }

  /** A test gets clients that end with it and channels that nobody else uses. */
  function fixture() {
    const clients = [];
    return {
      info, command,
      channel: () => `${prefix}:${++serial}`,
      client(options = {}) {
        const client = new Brook({ apiKey: info.serverKey, endpoints: info.endpoints, WebSocket, transports, ...options });
        client.seen = [];
        client.onConnectivityChange((status) => client.seen.push(status));
        clients.push(client);
        return client;
      },
      /** follow collects what a channel delivers. */
      follow(client, channel, options) {
        const got = [];
        const end = client.realtime.channel(channel).stream((data, meta) => got.push({ data, ...meta }), options);
        got.data = () => got.map((m) => m.data);
        got.offsets = () => got.map((m) => m.offset);
        return { got, end };
      },
      end() {
        for (const c of clients) c.cleanup();
      },
    };
  }

  const tests = {
    async 'connects as often as one likes, over one socket'({ client }) {
      const c = client();
      equal(await Promise.all([c.connect(), c.connect()]), [true, true], 'connect');
      equal(await c.connect(), true, 'connect again');
      equal(c.seen, ['connecting', 'authenticating', 'connected'], 'statuses');
      equal([c.isConnected(), c.getConnectionStatus()], [true, 'connected'], 'state');
      c.disconnect();
      equal(c.getConnectionStatus(), 'disconnected', 'after disconnect');
      equal(await c.connect(), true, 'connect after disconnect');
    },

    async 'publishes every kind of value and tells offsets'({ client, channel, follow }) {
      const c = client(), name = channel();
      await c.connect();
      const { got, end } = follow(c, name);
      await end.ready;
      const values = [0, '', null, false, { a: [1] }, 'ü\r\n', 1.5];
      const results = [];
      for (const v of values) results.push(await c.realtime.channel(name).publish(v));
      await until('all messages', () => got.length === values.length);
      equal(got.data(), values, 'values');
      equal(results.map((r) => r.offset), numbers(values.length), 'offsets');
      equal(results.map((r) => [r.success, r.error, r.duplicate]), values.map(() => [true, null, false]), 'results');
      equal(typeof results[0].timestamp, 'number', 'timestamp');
      await rejected(c.realtime.channel(name).publish(undefined), 'invalid_message');
      await rejected(c.realtime.channel(name).publish('x'.repeat(70_000)), 'message_too_large');
    },

    async 'publishes an id once'({ client, channel }) {
      const c = client(), name = channel();
      await c.connect();
      const first = await c.realtime.channel(name).publish('a', { id: 'order-1' });
      const again = await c.realtime.channel(name).publish('a', { id: 'order-1' });
      equal([again.offset, again.duplicate, again.id], [first.offset, true, 'order-1'], 'repeat');
    },

    async 'replays what was published before, in order, to any number of handlers'({ client, channel, command, follow }) {
      const name = channel();
      await command('publish', { channel: name, from: 1, to: 20 });
      const c = client({ apiKey: info.publicKey });
      await c.connect();
      const one = follow(c, name);
      await until('replay', () => one.got.length === 20);
      equal(one.got.offsets(), numbers(20), 'offsets');
      equal(one.got.every((m) => m.replay), true, 'replay');
      const two = follow(c, name);
      equal((await two.end.ready).offset, 20, 'head of the second stream');
      await command('publish', { channel: name, from: 21, to: 25 });
      await until('live ones', () => one.got.length === 25 && two.got.length === 5);
      equal(two.got.offsets(), numbers(5, 21), 'offsets of the second');
      one.end();
      await command('publish', { channel: name, from: 26, to: 26 });
      await until('the last one', () => two.got.length === 6);
      equal(one.got.length, 25, 'messages of an ended stream');
    },

    async 'begins where it is told'({ client, channel, command, follow }) {
      const name = channel();
      await command('publish', { channel: name, from: 1, to: 10 });
      const c = client();
      await c.connect();
      const cases = [[7, [8, 9, 10, 11]], [0, numbers(11)], ['all', numbers(11)], ['live', [11]], [{ last: 2 }, [9, 10, 11]]];
      const streams = [];
      for (const [from] of cases) {
        const each = client();
        await each.connect();
        const f = follow(each, name, { from });
        await f.end.ready;
        streams.push(f);
      }
      await command('publish', { channel: name, from: 11, to: 11 });
      for (const [i, [from, want]] of cases.entries()) {
        await until(`from ${JSON.stringify(from)}`, () => streams[i].got.at(-1)?.offset === 11);
        equal(streams[i].got.offsets(), want, `from ${JSON.stringify(from)}`);
      }
    },

    async 'goes on through kill -9 of its node without loss, repeat or disorder'({ client, channel, command, follow }) {
      const name = channel();
      const c = client({ apiKey: info.publicKey, endpoints: [info.endpoints[1], info.endpoints[2], info.endpoints[0]] });
      await c.connect();
      const { got, end } = follow(c, name);
      await end.ready;
      await command('load/start', { channel: name, rate: 100 });
      await until('the load', () => got.length > 100);
      await command('kill', { node: 1 });
      const before = got.length;
      await until('messages from another node', () => got.length > before + 200);
      const { acknowledged } = await command('load/stop');
      await command('start', { node: 1 });
      await until('the last acknowledged', () => got.length >= acknowledged);
      equal(got.offsets(), numbers(got.length), 'offsets');
      equal(c.seen.includes('reconnecting'), true, 'it was away');
    },

    async 'publishes through kill -9 of its node, each message once'({ client, channel, command, follow }) {
      const name = channel();
      const c = client({ endpoints: [info.endpoints[2], info.endpoints[0]] });
      const watcher = client({ endpoints: [info.endpoints[0]] });
      await Promise.all([c.connect(), watcher.connect()]);
      const { got, end } = follow(watcher, name, { from: 'all' });
      await end.ready;
      const sent = [];
      for (let n = 1; n <= 300; n++) {
        if (n === 100) await command('kill', { node: 2 });
        sent.push(c.realtime.channel(name).publish(n));
        await sleep(3);
      }
      const results = await Promise.all(sent);
      await command('start', { node: 2 });
      await until('all of them', () => got.length >= 300);
      equal([...got.data()].sort((a, b) => a - b), numbers(300), 'what arrived');
      equal([...results.map((r) => r.offset)].sort((a, b) => a - b), numbers(300), 'offsets that were told');
    },

    async 'queues while offline, within bounds'({ client, channel, command, follow }) {
      const name = channel();
      const c = client({ offlineQueue: { max: 10 } });
      const early = numbers(10).map((n) => c.realtime.channel(name).publish(n));
      await rejected(c.realtime.channel(name).publish(11), 'queue_full');
      await c.connect();
      equal((await Promise.all(early)).map((r) => r.offset), numbers(10), 'offsets');
      c.disconnect();
      await rejected(c.realtime.channel(name).publish(12), 'closed');
      const d = client({ offlineQueue: { maxAgeMs: 300 }, endpoints: ['ws://127.0.0.1:1'] });
      d.connect().catch(() => {});
      await rejected(d.realtime.channel(name).publish(1), 'unavailable');
      const e = client({ offlineQueue: { maxBytes: 1_000 } });
      await rejected(e.realtime.channel(name).publish('x'.repeat(1_000)), 'queue_full');
    },

    async 'is refused with the reason, and does not come back'({ client }) {
      const bad = client({ apiKey: 'sk_' + 'a'.repeat(40) });
      const err = await rejected(bad.connect(), 'invalid_key');
      equal(err instanceof BrookError, true, 'class');
      equal(bad.getConnectionStatus(), 'unauthorized', 'status');
      const late = client({ endpoints: ['ws://127.0.0.1:1'], connectTimeoutMs: 300 });
      await rejected(late.connect(), 'timeout');
      late.disconnect();
      const gone = client({ endpoints: ['ws://127.0.0.1:1'] });
      const connecting = gone.connect();
      gone.disconnect();
      await rejected(connecting, 'closed');
    },

    async 'hears at once that its key was revoked'({ client, command }) {
      const { key, id } = await command('key/create');
      const c = client({ apiKey: key });
      await c.connect();
      await command('key/revoke', { id });
      await until('unauthorized', () => c.getConnectionStatus() === 'unauthorized');
      await rejected(c.connect(), 'invalid_key').catch(() => rejected(c.connect(), 'key_revoked'));
    },

    async 'is refused where its origin is not allowed'({ client, command }) {
      const { key } = await command('project/create', { origin: 'https://elsewhere.example.com' });
      const c = client({ apiKey: key });
      await rejected(c.connect(), 'origin_not_allowed');
      equal(c.getConnectionStatus(), 'unauthorized', 'status');
    },

    async 'is told what it may not do'({ client, channel }) {
      const c = client({ apiKey: info.publicKey });
      await c.connect();
      await rejected(c.realtime.channel(channel()).publish(1), 'forbidden');
    },

    async 'renews a token before it ends, and asks for one when it was refused'({ client, channel, command }) {
      const asked = [];
      const name = channel();
      const c = client({
        apiKey: undefined,
        token: async ({ reason }) => {
          asked.push(reason);
          return (await command('token', { seconds: asked.length === 1 ? -300 : 5, channel: name })).token;
        },
      });
      await c.connect();
      equal(asked.slice(0, 2), ['connect', 'refused'], 'the first token had ended');
      await until('a refresh', () => asked.includes('refresh'), 20_000);
      await sleep(3_000); // past the end of the second token
      equal(c.getConnectionStatus(), 'connected', 'status past the end of the first good token');
      equal(c.seen.filter((s) => s === 'reconnecting').length, 1, 'reconnects');
    },

    async 'loads state anew when what follows is lost'({ client, channel, command, follow }) {
      const name = channel();
      await command('publish', { channel: name, from: 1, to: 5 });
      const loads = [];
      const c = client();
      await c.connect();
      const { got } = follow(c, name, {
        loadState: async () => {
          loads.push(loads.length);
          return loads.length === 1 ? { offset: 3, epoch: 'another epoch' } : { offset: 4, epoch: info.epoch };
        },
      });
      await until('the rest', () => got.length === 1);
      equal([loads.length, got.offsets()], [2, [5]], 'loads and messages');
    },

    async 'tells of a gap and of another history'({ client, channel, command, follow }) {
      const name = channel();
      await command('publish', { channel: name, from: 1, to: 1_050 });
      const c = client();
      await c.connect();
      const gaps = [];
      const one = follow(c, name, { from: 10, epoch: info.epoch, onGap: (a, b) => gaps.push([a, b]) });
      await until('the head', () => one.got.at(-1)?.offset === 1_050);
      equal(gaps, [[11, 50]], 'gaps');
      equal(one.got.offsets(), numbers(1_000, 51), 'offsets');
      const resets = [];
      const d = client();
      await d.connect();
      const two = follow(d, name, { from: 5_000, epoch: info.epoch, onReset: (now) => resets.push(now.offset) });
      await until('a reset', () => resets.length === 1);
      await command('publish', { channel: name, from: 1_051, to: 1_051 });
      await until('live', () => two.got.length === 1);
      equal([resets, two.got.offsets()], [[1_050], [1_051]], 'reset, then live');
    },

    async 'keeps its position in a store, and lives with one that throws'({ client, channel, command, follow }) {
      const name = channel();
      const kept = new Map();
      const store = { getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => kept.set(k, v) };
      await command('publish', { channel: name, from: 1, to: 3 });
      const c = client({ store });
      await c.connect();
      const one = follow(c, name);
      await until('all', () => one.got.length === 3);
      c.disconnect();
      await command('publish', { channel: name, from: 4, to: 5 });
      const d = client({ store });
      await d.connect();
      const two = follow(d, name);
      await until('what was missed', () => two.got.length === 2);
      equal(two.got.offsets(), [4, 5], 'offsets');
      const fail = () => { throw new Error('no storage'); };
      const e = client({ store: { getItem: fail, setItem: fail } });
      await e.connect();
      const three = follow(e, name);
      await until('all', () => three.got.length === 5);
    },

    async 'two clients with the same key both get everything'({ client, channel, command, follow }) {
      const name = channel();
      const tabs = [client(), client()];
      const streams = [];
      for (const c of tabs) {
        await c.connect();
        const f = follow(c, name);
        await f.end.ready;
        streams.push(f);
      }
      await command('publish', { channel: name, from: 1, to: 10 });
      for (const { got } of streams) {
        await until('ten', () => got.length === 10);
        equal(got.offsets(), numbers(10), 'offsets');
      }
    },

    async 'finds out after a sleep that the socket is dead'({ client, channel, command, follow }) {
      const name = channel();
      const c = client({ endpoints: [info.proxy] });
      await c.connect();
      const { got, end } = follow(c, name);
      await end.ready;
      await command('proxy/freeze'); // nothing passes, and nobody is told
      await command('publish', { channel: name, from: 1, to: 5 });
      await until('it is noticed', () => c.getConnectionStatus() !== 'connected');
      await command('proxy/thaw');
      await until('what was missed', () => got.length === 5);
      equal(got.offsets(), numbers(5), 'offsets');
    },

    async 'falls back to events where no WebSocket passes, and returns to one later'({ client, channel, command, follow }) {
      const name = channel();
      let last = 0;
      const c = client({ transports: ['ws', 'sse'], endpoints: [info.gate] });
      /** on expects the client to be connected in one way, and to get what comes. */
      const on = async (transport, upgrades) => {
        await command('publish', { channel: name, from: ++last, to: last });
        await until(`message ${last}`, () => got.length >= last);
        await until(`only ${transport}`, async () => String(await command('transports', { channel: name })) === transport, 10_000);
        equal(await command('gate'), { upgrades }, 'WebSockets that were tried');
      };
      /** anew connects the client again. */
      const anew = async () => {
        const before = c.seen.length;
        c.wire.drop();
        await command('publish', { channel: name, from: ++last, to: last });
        await until('it is connected again', () => c.seen.lastIndexOf('connected') >= before);
      };
      await command('gate', { upgrades: 'refuse' });
      await c.connect();
      const { got } = follow(c, name);
      await on('sse', 1);
      await command('gate', { upgrades: 'pass' });
      await anew();
      await on('sse', 1);
      const now = Date.now;
      try {
        Date.now = () => now() + 301_000;
        await anew();
        await on('ws', 2);
        await command('gate', { upgrades: 'refuse' });
        await anew();
        await on('sse', 3);
      } finally {
        Date.now = now;
      }
      equal(got.offsets(), numbers(last), 'offsets');
    },

    async 'falls back to events where a WebSocket is not answered'({ client, channel, command, follow }) {
      const name = channel();
      await command('gate', { upgrades: 'swallow' });
      const c = client({ transports: ['ws', 'sse'], endpoints: [`${info.gate}/realtime`] });
      await c.connect();
      const { got, end } = follow(c, name);
      await end.ready;
      await c.realtime.channel(name).publish('over REST');
      await until('the message', () => got.length === 1);
      equal(await command('transports', { channel: name }), ['sse'], 'transports');
    },

    async 'is a member, also after its connection broke, and sees who else is'({ client, channel, command, follow }) {
      const name = channel();
      const [watching, entering] = [client({ endpoints: [info.endpoints[1]] }), client()];
      await Promise.all([watching.connect(), entering.connect()]);
      const seen = [];
      const room = presence(watching, name, { id: 'watcher' });
      let told = false;
      room.watch((_, change) => {
        told = true;
        for (const m of change?.entered ?? []) seen.push(`+${m.id}`);
        for (const m of change?.updated ?? []) seen.push(`=${m.id}:${m.data.mood}`);
        for (const m of change?.left ?? []) seen.push(`-${m.id} ${m.reason}`);
      });
      await until('the first members', () => told);
      const me = presence(entering, name, { id: 'anna' });
      await me.enter({ mood: 1 });
      await until('anna is there', () => room.members.has('anna'));
      await me.update({ mood: 2 });
      await until('the update', () => room.members.get('anna').data.mood === 2);
      const end = entering.realtime.channel(name).stream(() => {});
      await end.ready;
      end(); // the channel is still needed
      const other = presence(entering, name, { id: 'anna' }); // as of another component
      await other.enter({ mood: 2 });
      equal(other.members.size, 0, 'what nobody watches');
      other.close(); // anna is still there
      entering.wire.drop(); // as a page that is loaded again
      await until('it is connected again', () => entering.seen.filter((s) => s === 'connected').length === 2);
      await me.update({ mood: 3 });
      await until('the next update', () => room.members.get('anna').data.mood === 3);
      me.close();
      await until('anna is gone', () => !room.members.size);
      equal(seen, ['+anna', '=anna:2', '=anna:3', '-anna left'], 'events');
      equal(room.count, 0, 'count');
      // What came while nobody followed a channel that somebody is in is not lost.
      const lounge = channel();
      const bert = presence(entering, lounge, { id: 'bert' });
      bert.watch(() => {});
      await bert.enter(1);
      await command('publish', { channel: lounge, from: 1, to: 2 });
      await bert.update(2);
      const late = follow(entering, lounge, { from: 'all' });
      await until('what was published meanwhile', () => late.got.length === 2);
      await bert.update(3);
      bert.close();
      const nowhere = presence(entering, 'elsewhere', { id: 'anna' });
      await rejected(nowhere.enter(), 'forbidden');
      nowhere.close();
    },

    async 'says where there is no presence'({ client, channel }) {
      if (!transports) return;
      const c = client();
      const me = presence(c, channel(), { id: 'anna' });
      const entering = me.enter().then(() => 'it entered', (err) => err.message);
      await c.connect();
      equal(await entering, 'no presence over this connection', 'what it says');
      me.close();
    },

    async 'leaves a draining node without a change of status, a loss or a repeat'({ client, channel, command, follow }) {
      const name = channel();
      const order = [info.endpoints[1], info.endpoints[0], info.endpoints[2]];
      const c = client({ endpoints: order });
      await c.connect();
      const { got, end } = follow(c, name);
      await end.ready;
      const sent = [];
      let on = true;
      const publishing = (async () => {
        for (let n = 1; on; n++) {
          sent.push(c.realtime.channel(name).publish(n));
          await sleep(5);
        }
      })();
      await until('traffic', () => got.length > 50);
      await command('stop', { node: 1 });
      await command('start', { node: 1 });
      on = false;
      await publishing;
      await Promise.all(sent);
      await until('all', () => got.length >= sent.length);
      equal(got.offsets(), numbers(sent.length), 'offsets');
      equal([...got.data()].sort((a, b) => a - b), numbers(sent.length), 'data');
      equal(c.seen, ['connecting', 'authenticating', 'connected'], 'statuses');
    },
  };

  const results = [];
  for (const [name, test] of Object.entries(tests)) {
    if (only && !only.split('|').some((part) => name.includes(part))) continue;
    const began = Date.now();
    const f = fixture();
    try {
      await test(f);
      results.push({ name, ok: true, ms: Date.now() - began });
    } catch (err) {
      results.push({ name, ok: false, error: String(err?.stack ?? err), ms: Date.now() - began });
    } finally {
      f.end();
    }
  }
  return results;
}
