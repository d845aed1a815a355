// The backend of the chat: it serves the page, and mints a token for whoever says a name. Settings are
// in the environment: BROKER (ws://localhost:8080), KEY_ID and SIGNING_SECRET (of a server key), PORT.
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

const { BROKER = 'ws://localhost:8080', KEY_ID, SIGNING_SECRET, PORT = '3000' } = process.env;
if (!KEY_ID || !SIGNING_SECRET) throw new Error('KEY_ID and SIGNING_SECRET are needed: aptlyd key create default --kind server --name chat');
const lifetime = 15 * 60; // s; the client asks for a fresh one in time

/** mint makes a token (JWT, HS256) with which a user may follow and publish to the rooms, and nothing else. */
function mint(user) {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({
    kid: KEY_ID, sub: user, iat: now, exp: now + lifetime, channels: { 'chat:*': ['subscribe', 'publish'] },
  })}`;
  return `${text}.${createHmac('sha256', SIGNING_SECRET).update(text).digest('base64url')}`;
}

const files = { '/': ['index.html', 'text/html'], '/page.js': ['page.js', 'text/javascript'] };

createServer(async (request, response) => {
  const url = new URL(request.url, 'http://here');
  try {
    if (request.method === 'POST' && url.pathname === '/token') {
      // A real backend knows the user from its own session.
      const user = url.searchParams.get('user') ?? '';
      if (!/^\w{1,32}$/.test(user)) return response.writeHead(400).end('a name of 1 to 32 letters, please');
      response.setHeader('Content-Type', 'application/json');
      return response.end(JSON.stringify({ token: mint(user), broker: BROKER }));
    }
    const [name, type] = files[url.pathname] ?? [];
    if (!name) return response.writeHead(404).end();
    response.setHeader('Content-Type', `${type}; charset=utf-8`);
    response.end(await readFile(new URL(`public/${name}`, import.meta.url)));
  } catch (err) {
    console.error(err);
    response.writeHead(500).end();
  }
}).listen(Number(PORT), () => console.log(`the chat is at http://localhost:${PORT}`));
