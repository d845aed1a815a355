// Runs the code of the README of @aptly-sdk/brook, with nothing changed but the import. OFFICIAL is
// that README, CONTROL as in run.mjs. In Chromium, in a page that is served where the node seems to be.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const control = process.env.CONTROL;
const info = await (await fetch(`${control}/info`)).json();
const readme = await readFile(process.env.OFFICIAL, 'utf8');
const blocks = [...readme.matchAll(/```(?:javascript|jsx)\n(.*?)```/gs)].map((m) => m[1]
  .replaceAll('@aptly-sdk/brook', '@aptlyd/brook').replaceAll('your-api-key', info.serverKey));
let ok = true;
const report = (name, error) => {
  ok &&= !error;
  console.log(JSON.stringify({ name: `README: ${name}`, ok: !error, error, ms: 0 }));
};

// The README leaves out imports that its reader knows, and nothing renders its components.
async function bundle(code, after = '') {
  const needs = ['useEffect'].filter((n) => code.includes(`${n}(`));
  const imports = `import { ${needs.join(', ')} } from 'react';\n`;
  const built = await build({
    stdin: { contents: imports + code + after, loader: 'jsx', resolveDir: join(import.meta.dirname, '..') },
    bundle: true, write: false, format: 'esm', jsx: 'automatic', logLevel: 'silent', define: { 'process.env.NODE_ENV': '"development"' },
    alias: { '@aptlyd/brook/react': join(import.meta.dirname, '../dist/react.js'), '@aptlyd/brook/presence': join(import.meta.dirname, '../dist/presence.js'), '@aptlyd/brook': join(import.meta.dirname, '../dist/index.js') },
  });
  return built.outputFiles[0].text;
}

for (const [i, code] of blocks.entries()) {
  await bundle(code).then(() => report(`block ${i + 1} builds`), (err) => report(`block ${i + 1} builds`, err.message));
}

// The page's server passes WebSockets on, as a balancer before node and page does.
const node = new URL(info.endpoints[0].replace(/^ws/, 'http'));
let script = '';
const server = createServer((request, response) => {
  if (request.url === '/page.js') return response.setHeader('Content-Type', 'text/javascript').end(script);
  response.setHeader('Content-Type', 'text/html').end('<!doctype html><div id="root"></div><script type="module" src="/page.js"></script>');
});
server.on('upgrade', (request, socket, head) => {
  const up = connect(Number(node.port), node.hostname, () => {
    const lines = [`${request.method} /realtime HTTP/1.1`];
    for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
    up.write(`${lines.join('\r\n')}\r\n\r\n`);
    up.write(head);
    up.pipe(socket).pipe(up);
  });
  for (const s of [up, socket]) s.on('error', () => { up.destroy(); socket.destroy(); });
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

async function runs(name, code, after, said) {
  script = await bundle(code, after);
  const page = await browser.newPage();
  const lines = [];
  const heard = new Promise((resolve) => page.on('console', (message) => {
    lines.push(message.text());
    if (message.text().includes(said)) resolve(true);
  }));
  page.on('pageerror', (err) => lines.push(String(err)));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const late = new Promise((resolve) => setTimeout(resolve, 60_000));
  report(name, (await Promise.race([heard, late])) ? undefined : `not in the console: ${said}; there was ${lines.join('\n')}`);
  await page.close();
}

try {
  const plain = blocks.find((b) => b.includes('channel.stream('));
  await fetch(`${control}/publish?channel=my-topic&from=1&to=1`, { method: 'POST' });
  await runs('the plain quick start gets a message', plain, '', 'Incoming message 1');
  const react = blocks.find((b) => b.includes('function Component2') && b.includes('<BrookProvider'));
  const render = `\nimport { createRoot } from 'react-dom/client';\ncreateRoot(document.getElementById('root')).render(<App />);`;
  await runs('the React quick start gets what it publishes', react, render, 'Hello from React SDK');
} finally {
  await browser.close();
  process.exit(ok ? 0 : 1);
}
