// Runs the suite in Chromium, from a page that a small server serves. Environment as in run.mjs.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const root = new URL('..', import.meta.url);
const server = createServer(async (request, response) => {
  const path = new URL(request.url, 'http://page').pathname;
  if (path === '/') return response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>suite</title>');
  try {
    const body = await readFile(new URL(`.${path}`, root));
    response.setHeader('Content-Type', 'text/javascript').end(body);
  } catch {
    response.writeHead(404).end();
  }
}).listen(0, '127.0.0.1', async () => {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  let ok = false;
  try {
    const page = await browser.newPage();
    page.on('pageerror', (err) => console.error('page:', err));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    const results = await page.evaluate(async ({ control, only }) => {
      const { run } = await import('/test/suite.mjs');
      const { Brook, BrookError } = await import('/dist/index.js');
      const { presence } = await import('/dist/presence.js');
      await import('/dist/sse.js');
      return run({ Brook, BrookError, presence, control, only });
    }, { control: process.env.CONTROL, only: process.env.ONLY });
    for (const r of results) console.log(JSON.stringify(r));
    ok = results.every((r) => r.ok);
  } finally {
    await browser.close();
    process.exit(ok ? 0 : 1);
  }
});
