// Builds dist/: ESM and CommonJS of each entry, and its types for both.
import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

const entries = ['index', 'react', 'heal'];
rmSync('dist', { recursive: true, force: true });
for (const [format, ending] of [['esm', 'js'], ['cjs', 'cjs']]) {
  await build({
    entryPoints: entries.map((e) => `src/${e}.ts`), outdir: 'dist', outExtension: { '.js': `.${ending}` },
    format, bundle: true, target: 'es2022', external: ['react'], platform: 'neutral', logLevel: 'warning',
  });
}
execFileSync('npx', ['tsc', '-p', '.', '--emitDeclarationOnly'], { stdio: 'inherit' });
for (const name of readdirSync('dist')) {
  if (!name.endsWith('.d.ts')) continue;
  const types = readFileSync(`dist/${name}`, 'utf8').replaceAll(/from '(\.\/[a-z]+)\.js'/g, "from '$1.cjs'");
  writeFileSync(`dist/${name.replace('.d.ts', '.d.cts')}`, types);
}
copyFileSync('../../LICENSE', 'LICENSE');
