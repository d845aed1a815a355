// Builds dist/: ESM and CommonJS of each entry, and its types for both.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

const entries = ['index', 'react', 'heal', 'presence', 'sse'];
rmSync('dist', { recursive: true, force: true });
for (const [format, ending] of [['esm', 'js'], ['cjs', 'cjs']]) {
  await build({
    entryPoints: entries.map((e) => `src/${e}.ts`), outdir: 'dist', outExtension: { '.js': `.${ending}` },
    format, bundle: true, target: 'es2022', external: ['react', '@aptlyd/brook/presence'], platform: 'neutral', logLevel: 'warning',
  });
}
execFileSync('npx', ['tsc', '-p', '.', '--emitDeclarationOnly'], { stdio: 'inherit' });
for (const name of readdirSync('dist')) {
  if (!name.endsWith('.d.ts')) continue;
  const types = readFileSync(`dist/${name}`, 'utf8').replaceAll(/from '(\.\/[a-z]+)\.js'/g, "from '$1.cjs'");
  writeFileSync(`dist/${name.replace('.d.ts', '.d.cts')}`, types);
}
// For resolvers that do not know exports: a folder for each entry that is not the main one.
for (const entry of entries.slice(1)) {
  mkdirSync(entry, { recursive: true });
  const stub = { main: `../dist/${entry}.cjs`, module: `../dist/${entry}.js`, types: `../dist/${entry}.d.ts` };
  writeFileSync(`${entry}/package.json`, JSON.stringify(stub));
}
copyFileSync('../../LICENSE', 'LICENSE');
