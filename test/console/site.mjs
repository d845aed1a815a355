// The web site of the tests: two pages that use the published SDK, on an origin of
// their own.
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
const sdk = fileURLToPath(new URL('../../sdk/js/dist/', import.meta.url));

async function bundle(input) {
  const result = await build({
    ...input,
    // Our own SDK, as it was built, with the React of these pages.
    alias: {
      '@aptlyd/brook/react': `${sdk}react.js`, '@aptlyd/brook/presence': `${sdk}presence.js`, '@aptlyd/brook': `${sdk}index.js`,
      react: `${here}node_modules/react`,
    },
    bundle: true, write: false, format: 'iife', jsx: 'automatic', define: { 'process.env.NODE_ENV': '"production"' },
  });
  return result.outputFiles[0].text;
}

const bundled = (file) => bundle({ entryPoints: [fileURLToPath(new URL(`pages/${file}`, import.meta.url))] });

// app bundles a snippet that exports a component, and shows that.
const app = (snippet) => bundle({
  stdin: { loader: 'jsx', resolveDir: here, contents: `import App from 'snippet'; import { createRoot } from 'react-dom/client';
    createRoot(document.getElementById('root')).render(<App />);` },
  plugins: [{
    name: 'snippet', setup(b) {
      b.onResolve({ filter: /^snippet$/ }, () => ({ path: 'snippet', namespace: 'snippet' }));
      b.onLoad({ filter: /.*/, namespace: 'snippet' }, () => ({ contents: snippet, loader: 'jsx', resolveDir: here }));
    },
  }],
});

const page = (script) => `<!doctype html><meta charset="utf-8"><title>page</title>
<div id="root"><pre id="status"></pre><pre id="messages"></pre><pre id="refused"></pre></div><script src="${script}"></script>`;

// serve starts the site and returns its origin, what adds a page with a snippet, and what
// closes it.
export async function serve() {
  const files = new Map([
    ['/plain', ['text/html', page('plain.js')]], ['/plain.js', ['text/javascript', await bundled('plain.js')]],
    ['/hooks', ['text/html', page('hooks.js')]], ['/hooks.js', ['text/javascript', await bundled('hooks.jsx')]],
  ]);
  const server = createServer((request, response) => {
    const [type, content] = files.get(request.url.split('?')[0]) ?? [];
    response.writeHead(type ? 200 : 404, { 'Content-Type': type ?? 'text/plain' }).end(content);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    origin: `http://localhost:${server.address().port}`,
    async add(name, snippet) {
      files.set(`/${name}.js`, ['text/javascript', await app(snippet)]);
      files.set(`/${name}`, ['text/html', page(`${name}.js`)]);
    },
    close: () => server.close(),
  };
}
