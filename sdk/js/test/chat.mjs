// Uses examples/chat as two people would, in Chromium, while the node is restarted. CONTROL as in run.mjs.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const chat = join(import.meta.dirname, '../../../examples/chat');
const here = join(import.meta.dirname, '..');
const call = async (name) => (await fetch(`${process.env.CONTROL}/${name}`, { method: 'POST' })).json();
const report = (name, error) => console.log(JSON.stringify({ name: `chat: ${name}`, ok: !error, error, ms: 0 }));

// As npm run build, but with the packages that are here already.
await build({
  entryPoints: [join(chat, 'src/page.jsx')], outfile: join(chat, 'public/page.js'), bundle: true, minify: true, jsx: 'automatic',
  logLevel: 'error', define: { 'process.env.NODE_ENV': '"production"' },
  alias: {
    '@aptlyd/brook/react': join(here, 'dist/react.js'), '@aptlyd/brook/presence': join(here, 'dist/presence.js'),
    '@aptlyd/brook': join(here, 'dist/index.js'),
    react: join(here, 'node_modules/react'), 'react-dom': join(here, 'node_modules/react-dom'),
  },
});
const info = await call('info');
const key = await call('key/create');
const port = 20_000 + Math.floor(Math.random() * 10_000);
const backend = spawn('node', [join(chat, 'server.mjs')], {
  env: { ...process.env, PORT: `${port}`, BROKER: info.endpoints[1], KEY_ID: key.id, SIGNING_SECRET: key.signingSecret },
  stdio: ['ignore', 'pipe', 'inherit'],
});
await new Promise((said) => backend.stdout.once('data', said));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
let ok = false;
try {
  async function enter(user) {
    const page = await browser.newPage();
    page.on('pageerror', (err) => console.error('page:', err));
    await page.goto(`http://127.0.0.1:${port}/`);
    await page.fill('[name=user]', user);
    await page.click('button');
    await page.waitForFunction(() => document.querySelector('#status')?.textContent === 'connected', undefined, { timeout: 30_000 }).catch(async (err) => {
      throw new Error(`${user} sees ${await page.content()}`, { cause: err });
    });
    return page;
  }
  async function say(page, text) {
    await page.fill('[name=text]', text);
    await page.click('button');
  }
  const sees = (page, lines) => page.waitForFunction(
    (want) => [...document.querySelectorAll('li:not(.pending)')].map((l) => l.textContent).join('|') === want, lines.join('|'), { timeout: 30_000 });

  const ann = await enter('ann');
  const bob = await enter('bob');
  await say(ann, 'hello');
  await sees(bob, ['ann hello']);
  await say(bob, 'hi');
  for (const page of [ann, bob]) await sees(page, ['ann hello', 'bob hi']);
  report('two people see what they say');
  await call('kill?node=1');
  await say(ann, 'are you there?');
  await ann.waitForSelector('li.pending', { timeout: 30_000 });
  await call('start?node=1');
  for (const page of [ann, bob]) await sees(page, ['ann hello', 'bob hi', 'ann are you there?']);
  report('what is said while the node is away arrives once');
  const eve = await enter('eve');
  await sees(eve, ['ann hello', 'bob hi', 'ann are you there?']);
  report('who comes later sees it, too');
  ok = true;
} catch (err) {
  report('goes on', String(err.stack ?? err));
} finally {
  await browser.close();
  backend.kill();
  process.exit(ok ? 0 : 1);
}
