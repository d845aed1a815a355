// Writes API.md, the reference: every declaration that the package exports, with what its comment says.
// With --check it only fails when API.md is not as it would be written. Run after build.mjs.
import { readFileSync, writeFileSync } from 'node:fs';

const parts = [
  ['@aptlyd/brook', ['client', 'channel', 'types', 'error']],
  ['@aptlyd/brook/react', ['react']],
  ['@aptlyd/brook/presence', ['presence']],
  ['@aptlyd/brook/heal', ['heal']],
];
const hidden = /^ *(#private;|private .*;|constructor\(name: string, owner: Owner\);|import .*;|export (type )?\* from .*;|export default .*;|export \{\};)$/;
const internal = /^ *\/\*\* @internal/;

/** declarations returns what a declaration file exports, without what is not for users. */
function declarations(file) {
  const text = readFileSync(`dist/${file}.d.ts`, 'utf8')
    .replace(/\/\*\* Owner is what[^]*?\n\}\n/, '').replace(/^import [^;]*;\n/gm, '')
    .replaceAll(/\bdeclare /g, '');
  return text.split('\n').filter((line) => !hidden.test(line) && !internal.test(line)).join('\n').replace(/\n{3,}/g, '\n\n').trim();
}

let out = `# Reference of @aptlyd/brook\n\nWritten by \`node api.mjs\` from the comments in \`src\`; how to use it is in [README.md](README.md).\n`;
for (const [entry, files] of parts) {
  out += `\n## ${entry}\n`;
  for (const file of files) out += `\n\`\`\`ts\n${declarations(file)}\n\`\`\`\n`;
}
if (!process.argv.includes('--check')) writeFileSync('API.md', out);
else if (readFileSync('API.md', 'utf8') !== out) {
  console.error('API.md is not up to date: run node api.mjs');
  process.exit(1);
}
