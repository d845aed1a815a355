// The console behind a proxy that has put the node below a path. BASE is its URL there,
// the proxy decodes and cleans what it passes on.
import { launch, must, sees, step } from './browser.mjs';

const { BASE, ADMIN_TOKEN, PROJECT, KEY } = process.env;
// What a client may call a channel, to make another call of its purge.
const channel = `chat:17:x/../../../../keys/${KEY}`;

const browser = await launch();
const page = await browser.newPage();
const problems = [];
const sockets = [];
page.on('pageerror', (error) => problems.push(error.message));
page.on('request', (request) => { if (!request.url().startsWith(`${BASE}/`)) problems.push(`request to ${request.url()}`); });
page.on('websocket', (socket) => sockets.push(socket.url()));
const go = (hash) => page.goto(`${BASE}/console/${hash}`);

try {
  await step('sign in below a path', page, async () => {
    await page.goto(`${BASE}/`);
    must(page.url().startsWith(`${BASE}/console/`), `led to ${page.url()}`);
    await page.getByLabel('Admin token').fill(ADMIN_TOKEN);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await sees(page, 'h1', 'Projects');
  });
  await step('the lines to connect with are for this path', page, async () => {
    await go(`#/projects/${PROJECT}`);
    await sees(page, '#connect pre', `${BASE.replace('http', 'ws')}/'`);
    await page.locator('#connect').getByRole('tab', { name: 'curl' }).click();
    await sees(page, '#connect pre', `curl ${BASE}/realtime `);
  });
  await step('watch, publish and purge a channel with a hostile name', page, async () => {
    await go(`#/projects/${PROJECT}/channels/${encodeURIComponent(channel)}`);
    await sees(page, '.badge', 'live');
    await page.getByLabel('Message as JSON').fill('{"text": "below a path"}');
    await page.getByRole('button', { name: 'Publish', exact: true }).click();
    await sees(page, '.message', 'below a path');
    await page.getByRole('tab', { name: 'Retained' }).click();
    await sees(page, '.hint', '1 message retained');
    await page.getByRole('button', { name: 'Purge', exact: true }).click();
    await page.locator('dialog').getByRole('button', { name: 'Purge channel' }).click();
    await sees(page, '.toast', `Purged ${channel}: 1 message.`);
  });
  await step('purge from the project\'s page', page, async () => {
    for (const name of ['..', '.']) {
      await go(`#/projects/${PROJECT}`);
      await page.getByRole('button', { name: 'Purge a channel' }).click();
      await page.locator('dialog').getByLabel('Channel').fill(name);
      await page.locator('dialog').getByRole('button', { name: 'Purge channel' }).click();
      await sees(page, '.toast', `Purged ${name}: 1 message.`);
    }
  });
  await step('a link from somebody else names no other resource', page, async () => {
    await go(`#/projects/${encodeURIComponent(`x/../../keys/${KEY}`)}`);
    await sees(page, 'h1', 'Projects');
    await go(`#/projects/${PROJECT}`);
    await sees(page, 'h1', 'default');
  });
  must(sockets.length > 0 && sockets.every((url) => url === `${BASE.replace('http', 'ws')}/realtime`), `sockets to ${sockets}`);
  must(problems.length === 0, problems.join('\n'));
} finally {
  await browser.close();
}
