// Fails when an entry, minified and compressed with gzip -9, is larger than its budget.
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const budgets = { index: 6000, react: 1300, presence: 1300, heal: 1000, sse: 1500 };
let failed = false;
for (const [entry, budget] of Object.entries(budgets)) {
  const out = await build({
    entryPoints: [`src/${entry}.ts`], bundle: true, minify: true, format: 'esm', target: 'es2022',
    external: ['react', '@aptlyd/brook/presence'], write: false, logLevel: 'warning',
  });
  const size = gzipSync(out.outputFiles[0].contents, { level: 9 }).length;
  console.log(`${entry}: ${size} of ${budget} bytes`);
  failed ||= size > budget;
}
process.exit(failed ? 1 : 0);
