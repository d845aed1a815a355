// A page with an EventSource, as docs/sse.md has it. BASE is the broker's URL behind a proxy,
// RECIPE the lines of the page. Prints a line for everything that the page is told. SOCKET names a
// channel that the page also follows over a WebSocket, without a library. The lines
// "offline" and "online" on the standard input say whether new connections reach a network.
import { createInterface } from 'node:readline';
import { launch } from './browser.mjs';

const { BASE, KEY, RECIPE, SOCKET } = process.env;
const browser = await launch();
const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
page.on('pageerror', (error) => console.log(JSON.stringify({ problem: error.message })));
await page.exposeFunction('say', (what) => console.log(JSON.stringify(what)));
await page.goto(`${BASE}/healthz`);
await page.evaluate(({ recipe, publicKey, socket }) => {
  const [{ nextHopProtocol }] = performance.getEntriesByType('navigation');
  say({ protocol: nextHopProtocol });
  const helpers = 'const broker = "", show = (channel, offset, data) => say({ channel, offset, data }),'
    + ' missed = (gap) => say({ gap }), refused = () => say({ problem: "refused" });';
  new Function('publicKey', `${helpers}\n${recipe}`)(publicKey);
  if (!socket) return;
  const ws = new WebSocket(`wss://${location.host}/realtime`);
  ws.onopen = () => ws.send(JSON.stringify({ type: 'auth', apiKey: publicKey, timestamp: Date.now() }));
  ws.onclose = (event) => say({ problem: `the WebSocket is closed with ${event.code}` });
  ws.onmessage = (event) => {
    const frame = JSON.parse(event.data);
    if (frame.type === 'connected') ws.send(JSON.stringify({ type: 'subscribe', channel: socket, fromOffset: 0 }));
    if (frame.type === 'message') say({ socket: frame.offset });
  };
}, { recipe: RECIPE, publicKey: KEY, socket: SOCKET });
for await (const network of createInterface({ input: process.stdin })) {
  await page.context().setOffline(network === 'offline');
  console.log(JSON.stringify({ network }));
}
await browser.close();
process.exit(0);
