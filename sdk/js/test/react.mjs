// Runs the tests of the hooks with React 18 and 19: rendered on a server here, the rest in Chromium. CONTROL as in run.mjs.
import { createServer } from 'node:http';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const folder = mkdtempSync(join(import.meta.dirname, '../node_modules/.react-'));
const old = join(import.meta.dirname, 'react18/node_modules');
const versions = { 18: { react: join(old, 'react'), 'react-dom': join(old, 'react-dom') }, 19: {} };
let ok = true;
const report = (r) => { ok &&= r.ok; console.log(JSON.stringify(r)); };

const server = createServer((_, response) => response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>hooks</title>'));
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
/** reload shows that a page that is loaded again within the grace is no event, and one that goes away leaves after it. */
async function reload(content) {
  const began = Date.now();
  const { endpoints, serverKey: apiKey } = await (await fetch(`${process.env.CONTROL}/info`)).json();
  const open = async (page) => {
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.addScriptTag({ content });
  };
  const ask = { endpoints, apiKey, name: `react:reload:${began}` };
  const [watching, member] = [await browser.newPage(), await browser.newPage()];
  await open(watching);
  await watching.evaluate((a) => window.app.watch(a), ask);
  await open(member);
  await member.evaluate((a) => window.app.join(a), { ...ask, data: 1 });
  for (const data of [1, 1, 2]) {
    await member.reload();
    await member.addScriptTag({ content });
    await member.evaluate((a) => window.app.join(a), { ...ask, data });
  }
  const heard = async (n) => {
    for (const end = Date.now() + 30_000; Date.now() < end;) {
      const told = await watching.evaluate(() => window.told);
      if (told.length >= n) return told.join(' ');
    }
    return 'too little';
  };
  const told = await heard(3);
  report({ name: 'a page that is loaded again is no event', ok: told === '0 are there +anna =anna:2', error: told, ms: Date.now() - began });
  await Promise.all([watching.close(), member.close()]);
}

try {
  for (const [version, alias] of Object.entries(versions)) {
    const common = { bundle: true, alias, jsx: 'automatic', logLevel: 'error', define: { 'process.env.NODE_ENV': '"development"' } };
    const onServer = join(folder, `server${version}.mjs`);
    await build({
      ...common, format: 'esm', platform: 'node', outfile: onServer, banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
      stdin: { resolveDir: import.meta.dirname, loader: 'jsx', contents: `
        import { renderToString } from 'react-dom/server';
        import { Brook } from '../src/index.ts';
        import { BrookProvider, useConnection, useStream } from '../src/react.ts';
        function App() { useStream('a', () => {}); return <b>{useConnection().status}</b>; }
        export const html = renderToString(<BrookProvider config={new Brook({ apiKey: 'pk_x' })}><App /></BrookProvider>);` },
    });
    const { html } = await import(pathToFileURL(onServer));
    report({ name: `react ${version}: renders on a server`, ok: html === '<b>disconnected</b>', error: html, ms: 0 });

    const bundle = await build({ ...common, format: 'iife', globalName: 'app', entryPoints: [join(import.meta.dirname, 'reactapp.jsx')], write: false });
    const page = await browser.newPage();
    page.on('pageerror', (err) => report({ name: `react ${version}: page error`, ok: false, error: String(err), ms: 0 }));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.addScriptTag({ content: bundle.outputFiles[0].text });
    for (const r of await page.evaluate((ask) => window.app.run(ask), { control: process.env.CONTROL, version })) report(r);
    await page.close();
    if (version === '19') await reload(bundle.outputFiles[0].text);
  }
} finally {
  await browser.close();
  process.exit(ok ? 0 : 1);
}
