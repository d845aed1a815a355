// The web site of the tests: two pages that use the published SDK, on an origin of
// their own.
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

async function bundle(file) {
  const result = await build({
    entryPoints: [fileURLToPath(new URL(`pages/${file}`, import.meta.url))],
    bundle: true, write: false, format: 'iife', jsx: 'automatic', define: { 'process.env.NODE_ENV': '"production"' },
  });
  return result.outputFiles[0].text;
}

const page = (script) => `<!doctype html><meta charset="utf-8"><title>page</title>
<div id="root"><pre id="status"></pre><pre id="messages"></pre><pre id="refused"></pre></div><script src="${script}"></script>`;

// serve starts the site and returns its origin and what closes it.
export async function serve() {
  const files = new Map([
    ['/plain', ['text/html', page('plain.js')]], ['/plain.js', ['text/javascript', await bundle('plain.js')]],
    ['/hooks', ['text/html', page('hooks.js')]], ['/hooks.js', ['text/javascript', await bundle('hooks.jsx')]],
  ]);
  const server = createServer((request, response) => {
    const [type, content] = files.get(request.url.split('?')[0]) ?? [];
    response.writeHead(type ? 200 : 404, { 'Content-Type': type ?? 'text/plain' }).end(content);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return { origin: `http://localhost:${server.address().port}`, close: () => server.close() };
}
