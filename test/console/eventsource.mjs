// A page with an EventSource, as docs/sse.md has it. BASE is the broker's URL behind a proxy,
// RECIPE the lines of the page. Prints a line for everything that the page is told.
import { launch } from './browser.mjs';

const { BASE, KEY, RECIPE } = process.env;
const browser = await launch();
const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
page.on('pageerror', (error) => console.log(JSON.stringify({ problem: error.message })));
await page.exposeFunction('say', (what) => console.log(JSON.stringify(what)));
await page.goto(`${BASE}/healthz`);
await page.evaluate(({ recipe, publicKey }) => {
  const [{ nextHopProtocol }] = performance.getEntriesByType('navigation');
  say({ protocol: nextHopProtocol });
  const helpers = 'const broker = "", show = (channel, offset, data) => say({ channel, offset, data }),'
    + ' missed = (gap) => say({ gap }), refused = () => say({ problem: "refused" });';
  new Function('publicKey', `${helpers}\n${recipe}`)(publicKey);
}, { recipe: RECIPE, publicKey: KEY });
process.stdin.resume();
process.stdin.on('end', async () => {
  await browser.close();
  process.exit(0);
});
