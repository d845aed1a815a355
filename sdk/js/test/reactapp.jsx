// The tests of the hooks, in a page: bundled once with React 18 and once with 19 (test/react.mjs).
import { StrictMode, useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { Brook } from '../src/index.ts';
import { Presence } from '../src/presence.ts';
import {
  BrookProvider, useConnection, useHistory, useLazyStream, usePresence, usePublish, useStream,
} from '../src/react.ts';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
async function until(what, check, within = 30_000) {
  const end = Date.now() + within;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await sleep(10);
  }
}
function equal(got, want, what) {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}
const numbers = (n, first = 1) => Array.from({ length: n }, (_, i) => i + first);

/** join has the page be a member of a channel and resolves when every node knows. */
export async function join({ endpoints, apiKey, name, data }) {
  const client = new Brook({ apiKey, endpoints });
  await client.connect();
  await new Presence(client, name, { id: 'anna' }).enter(data);
}

/** watch has the page note what is told of the members of a channel, as window.told. */
export async function watch({ endpoints, apiKey, name }) {
  window.told = [];
  const client = new Brook({ apiKey, endpoints });
  await client.connect();
  new Presence(client, name, { id: 'watcher' }).watch((room, change) => {
    if (!change) window.told.push(`${room.count} are there`);
    for (const m of change?.entered ?? []) window.told.push(`+${m.id}`);
    for (const m of change?.updated ?? []) window.told.push(`=${m.id}:${m.data}`);
    for (const m of change?.left ?? []) window.told.push(`-${m.id} ${m.reason}`);
  });
  await until('the first members', () => window.told.length);
}

export async function run({ control, version }) {
  const info = await (await fetch(`${control}/info`)).json();
  const command = (name, query) => fetch(`${control}/${name}?${new URLSearchParams(query)}`, { method: 'POST' });
  let serial = 0;
  const channel = () => `react${version}:${Date.now().toString(36)}:${++serial}`;

  /** mount renders under StrictMode, with a client of its own. */
  function mount(App, client = new Brook({ apiKey: info.serverKey, endpoints: info.endpoints })) {
    const root = createRoot(document.body.appendChild(document.createElement('div')));
    const tree = (props) => <StrictMode><BrookProvider config={client}><App {...props} /></BrookProvider></StrictMode>;
    root.render(tree({}));
    return { client, render: (props) => root.render(tree(props)), end: () => { root.unmount(); client.cleanup(); } };
  }

  const tests = {
    async 'under StrictMode each message comes once, by the latest callback'() {
      const name = channel(), got = [];
      let setFactor;
      function App() {
        const [factor, set] = useState(1);
        setFactor = set;
        useStream(name, (data) => got.push(data * factor));
        return null;
      }
      const app = mount(App);
      await until('connected', () => app.client.isConnected());
      await command('publish', { channel: name, from: 1, to: 5 });
      await until('five', () => got.length === 5);
      setFactor(10);
      await sleep(50);
      await command('publish', { channel: name, from: 6, to: 7 });
      await until('seven', () => got.length === 7);
      equal(got, [1, 2, 3, 4, 5, 60, 70], 'messages');
      app.end();
    },

    async 'changing the topic leaves the old one, and unmounting leaves all'() {
      const a = channel(), b = channel(), got = [];
      function App({ topic = a }) {
        useStream(topic, (data, meta) => got.push([meta.channel, data]));
        return null;
      }
      const app = mount(App);
      await until('connected', () => app.client.isConnected());
      await command('publish', { channel: a, from: 1, to: 1 });
      await until('one', () => got.length === 1);
      app.render({ topic: b });
      await until('the new topic', () => app.client.realtime.channel(b).getStats().streamHandlers === 1);
      equal(app.client.realtime.channel(a).getStats().streamHandlers, 0, 'handlers of the old topic');
      await command('publish', { channel: a, from: 2, to: 2 });
      await command('publish', { channel: b, from: 1, to: 1 });
      await until('two', () => got.length === 2);
      equal(got, [[a, 1], [b, 1]], 'messages');
      app.end();
      equal(app.client.getActiveChannels(), [], 'channels after unmounting');
    },

    async 'status, lazy stream, publish and history'() {
      const name = channel();
      let seen = {};
      function App() {
        const lazy = useLazyStream(name);
        const publish = usePublish(name);
        const { status } = useConnection();
        const history = useHistory(name);
        useEffect(() => { seen = { lazy, publish, status, history }; });
        return <p id="lazy">{String(lazy.message)}</p>;
      }
      await command('publish', { channel: name, from: 1, to: 3 });
      for (const endpoint of info.endpoints) { // the hook reads once, on any node
        const client = new Brook({ apiKey: info.serverKey, endpoints: [endpoint] });
        await until('what was published', async () => (await client.history(name)).messages.length === 3);
        client.cleanup();
      }
      const app = mount(App);
      await until('connected', () => seen.status === 'connected');
      await until('history', () => !seen.history.loading);
      equal(seen.history.error?.message, undefined, 'error');
      equal(seen.history.messages.map((m) => m.data), numbers(3), 'history');
      equal(seen.lazy.streaming, false, 'streaming before subscribe');
      seen.lazy.subscribe();
      await until('streaming', () => seen.lazy.streaming);
      const result = await seen.publish(4);
      equal(result.offset, 4, 'offset');
      await until('the message', () => document.getElementById('lazy')?.textContent === '4');
      app.end();
    },

    async 'usePresence tells who is there, and two components are one member'() {
      const name = channel(), told = [];
      let seen = { members: [] };
      function Watching() {
        seen = usePresence(name);
        useEffect(() => { told.push(seen.members.map((m) => m.data).join()); }, [seen]);
        return null;
      }
      let parts = 0;
      function Part({ mood }) {
        usePresence(name, { data: mood });
        useEffect(() => { parts++; return () => void parts--; }, []);
        return null;
      }
      const watching = mount(Watching, new Brook({ apiKey: info.publicKey, endpoints: info.endpoints }));
      await until('connected', () => watching.client.isConnected());
      const Page = ({ mood = 1, both = true }) => <><Part mood={mood} />{both && <Part mood={mood} />}</>;
      const page = mount(Page, new Brook({ apiKey: info.publicKey, endpoints: info.endpoints }));
      await until('the member', () => seen.count === 1 && seen.members[0].data === 1);
      page.render({ both: false }); // one of two goes
      await until('that', () => parts === 1);
      const later = mount(() => <Part mood={3} />, new Brook({ apiKey: info.publicKey, endpoints: info.endpoints }));
      await until('both', () => seen.count === 2);
      later.end();
      await until('one again', () => seen.count === 1);
      page.render({ both: false, mood: 2 });
      await until('the update', () => seen.members[0]?.data === 2);
      equal(seen.members[0].connections, 1, 'connections');
      page.end();
      await until('that nobody is there', () => seen.count === 0);
      equal(told.map((t) => t.split(',').sort().join()).filter((t, i, all) => t !== all[i - 1]), ['', '1', '1,3', '1', '2', ''], 'what was told');
      watching.end();
    },

    async 'a refusal is a status, not an unhandled rejection'() {
      let status;
      function App() {
        status = useConnection().status;
        return null;
      }
      const app = mount(App, new Brook({ apiKey: 'pk_' + 'a'.repeat(40), endpoints: info.endpoints }));
      await until('unauthorized', () => status === 'unauthorized');
      app.end();
    },

    async '1,000 messages a second do not hold up the page'() {
      const name = channel();
      let count = 0;
      function App() {
        const [n, set] = useState(0);
        useStream(name, () => { count++; set(count); });
        return <p>{n}</p>;
      }
      const app = mount(App);
      await until('connected', () => app.client.isConnected());
      let worst = 0, last = performance.now(), on = true;
      const timer = setInterval(() => {
        const now = performance.now();
        if (on) worst = Math.max(worst, now - last - 10);
        last = now;
      }, 10);
      for (let i = 0; i < 20; i++) {
        await command('publish', { channel: name, from: 1 + i * 100, to: 100 + i * 100 });
        await sleep(80);
      }
      await until('all', () => count === 2_000);
      on = false;
      clearInterval(timer);
      app.end();
      return `worst delay of the page's own timer ${worst.toFixed(0)} ms`; // a figure: the machine may be busy
    },
  };

  const results = [];
  for (const [name, test] of Object.entries(tests)) {
    const began = Date.now();
    try {
      const note = await test();
      results.push({ name: `react ${version}: ${name}`, ok: true, note, ms: Date.now() - began });
    } catch (err) {
      results.push({ name: `react ${version}: ${name}`, ok: false, error: String(err?.stack ?? err), ms: Date.now() - began });
    }
  }
  return results;
}
