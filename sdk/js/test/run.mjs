// Runs the suite in Node.js, Bun or Deno: CONTROL is the control server, WS=ws takes package ws
// where there is no global WebSocket, ONLY parts of tests' names with | between, TRANSPORTS=sse the
// transport of the clients. One JSON line a test.
import { run } from './suite.mjs';
import Brook, { BrookError } from '../dist/index.js';
import { presence } from '../dist/presence.js';
import '../dist/sse.js';

const env = globalThis.Deno ? Deno.env.toObject() : process.env;
const WebSocket = env.WS === 'ws' ? (await import('ws')).WebSocket : undefined;
const transports = env.TRANSPORTS?.split(',');
const results = await run({ Brook, BrookError, presence, WebSocket, control: env.CONTROL, only: env.ONLY, transports });
for (const r of results) console.log(JSON.stringify(r));
(globalThis.Deno ?? process).exit(results.every((r) => r.ok) ? 0 : 1);
