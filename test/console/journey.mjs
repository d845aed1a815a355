// One operator's way through the console of a fresh cluster of three nodes, with two
// pages of visitors beside it. The Go test gives the addresses by environment.
import { statSync } from 'node:fs';
import WebSocket from '../../sdk/js/node_modules/ws/wrapper.mjs';
import { Brook } from '../../sdk/js/dist/index.js';
import { presence } from '../../sdk/js/dist/presence.js';
import { eventually, launch, must, sees, shots, step } from './browser.mjs';
import { photograph } from './photos.mjs';
import { serve } from './site.mjs';

const env = process.env;
const node = (i) => `http://${env[`NODE${i}`]}`;
const socket = (i) => `ws://${env[`NODE${i}`]}`;
const hostile = '<img src=x onerror="window.pwned=1">';
const projectName = `${hostile} Shop`;
const channelName = `"><script>window.pwned=1</script>/${hostile}`;
const firstLoad = 300 * 1024;

const browser = await launch();
const site = await serve();
const office = await browser.newContext({ viewport: { width: 1280, height: 900 } });
await office.grantPermissions(['clipboard-read', 'clipboard-write']);
const page = await office.newPage();
const street = await browser.newContext();
const problems = [];
page.on('pageerror', (error) => problems.push(error.message));
page.on('console', (message) => { if (/Content Security Policy/.test(message.text())) problems.push(message.text()); });
page.on('request', (request) => { if (!request.url().startsWith(node(0)) && !request.url().startsWith(socket(0))) problems.push(`request to ${request.url()}`); });

const go = (hash) => page.goto(`${node(0)}/console/${hash}`);
const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
const byRole = (role, name) => page.getByRole(role, { name, exact: true });
const section = (id) => page.locator(`#${id}`);

// visit opens one of the site's pages as a visitor with a key.
async function visit(file, key, at) {
  const visitor = await street.newPage();
  await visitor.goto(`${site.origin}/${file}?${new URLSearchParams({ key, endpoint: socket(at) })}`);
  return visitor;
}

async function signIn(on, at, token) {
  await on.goto(`${node(at)}/console/`);
  await on.getByLabel('Admin token').fill(token);
  await on.getByRole('button', { name: 'Sign in' }).click();
}

try {
  await step('the first page is small and needs a token', page, async () => {
    const bodies = [];
    const count = (response) => bodies.push(response.body().catch(() => ''));
    page.on('response', count);
    await page.goto(node(0));
    await page.getByLabel('Admin token').waitFor();
    await page.waitForLoadState('networkidle');
    page.off('response', count);
    const total = (await Promise.all(bodies)).reduce((sum, body) => sum + body.length, 0);
    must(total > 50_000 && total < firstLoad, `the first load is ${total} bytes`);
    await signIn(page, 0, 'adm_wrong');
    await sees(page, '.problem', 'not valid');
    await signIn(page, 0, env.ADMIN_TOKEN);
    await sees(page, 'h1', 'Projects');
  });

  const started = Date.now();
  const keys = {};
  await step('create a project', page, async () => {
    await byRole('button', 'New project').click();
    const dialog = page.locator('dialog');
    await dialog.getByLabel('Name').fill(projectName);
    await dialog.getByRole('button', { name: 'Add an origin' }).click();
    await dialog.getByLabel('Allowed origin').last().fill('shop.example.com');
    await sees(page, 'dialog .problem', 'not of the form');
    await dialog.getByLabel('Allowed origin').last().fill('https://*.shop.example.com');
    await dialog.getByLabel('Origin to test').fill('https://shop.example.com');
    await sees(page, '.verdict', 'refused');
    await dialog.getByLabel('Origin to test').fill(site.origin);
    await sees(page, '.verdict', 'is allowed by http://localhost:*');
    await dialog.getByRole('button', { name: 'Create project' }).click();
  });
  await step('copy its keys', page, async () => {
    await page.getByRole('button', { name: 'Copy Server key' }).click();
    keys.server = await clipboard();
    must(/^sk_[A-Za-z0-9]{40}$/.test(keys.server), `copied ${keys.server}`);
    await byRole('button', 'I have stored it').click();
    await sees(page, 'h1', projectName);
    await page.getByRole('button', { name: 'Copy the public key' }).click();
    keys.public = await clipboard();
    must(/^pk_[A-Za-z0-9]{40}$/.test(keys.public), `copied ${keys.public}`);
    await sees(page, '#connect pre', keys.public);
    for (const [language, wanted] of [['React', 'useStream'], ['Go', env.NODE0], ['curl', node(0)], ['Tokens', "keyid: 'key_"]]) {
      await section('connect').getByRole('tab', { name: language }).click();
      await sees(page, '#connect pre', wanted);
    }
    await sees(page, '#connect .card-head', `${socket(0)} `); // with --public-url of the other nodes behind it
  });
  const project = new URL(page.url()).hash.split('/')[2];
  let plain;
  let hooks;
  await step('the SDK and its hooks subscribe', page, async () => {
    [plain, hooks] = [await visit('plain', keys.public, 0), await visit('hooks', keys.public, 1)];
    await sees(plain, '#status', 'connected');
    await hooks.waitForFunction(() => document.getElementById('status')?.textContent === 'connected');
    await page.getByRole('link', { name: 'Try it here' }).click();
    await sees(page, '.badge', 'live');
    await sees(page, '.facts', 'Subscribers3');
  });
  await step('publish from the console', page, async () => {
    await page.getByLabel('Message as JSON').fill(`{"text": "from the console", "html": ${JSON.stringify(hostile)}}`);
    await byRole('button', 'Publish').click();
    for (const reader of [plain, hooks]) await sees(reader, '#messages', 'from the console');
    await sees(page, '.message', '<img src=x onerror=');
    must(Date.now() - started < 60_000, 'the first message took more than a minute');
  });
  await step('see who is connected, and disconnect one', page, async () => {
    await go(`#/projects/${project}/connections`);
    const rows = page.locator('tbody tr').filter({ hasText: site.origin });
    await eventually('both pages are listed', async () => await rows.filter({ hasText: 'WebSocket' }).count() === 2);
    await rows.filter({ hasText: env.NAME0 }).getByRole('button', { name: 'Disconnect' }).click();
    await page.locator('dialog').getByRole('button', { name: 'Disconnect' }).click();
    await sees(plain, '#status', /connected[^]*connected/);
    await page.goBack();
  });
  await step('pause, filter and the retained messages', page, async () => {
    await sees(page, '.message', 'from the console'); // what is replayed has come
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByLabel('Message as JSON').fill('"second"');
    await page.getByLabel('Message as JSON').press('Control+Enter');
    await sees(plain, '#messages', 'second');
    await sees(page, 'button', 'Resume (1 new)');
    must(await page.locator('.message').count() === 1, 'a paused tail goes on');
    await page.getByRole('button', { name: /Resume/ }).click();
    await sees(page, '.message', '"second"');
    await page.getByLabel('Filter messages by text').fill('sec');
    await eventually('the filter hides the first message', async () => await page.locator('.message:visible').count() === 1);
    await byRole('tab', 'Retained').click();
    await sees(page, '.toolbar', '2 messages retained');
    await sees(page, '.message', '#2');
  });
  await step('let the public key publish, and publish by a hook', page, async () => {
    await go(`#/projects/${project}`);
    const access = section('access');
    await access.getByRole('button', { name: 'Add a grant' }).click();
    await access.getByLabel('Channels', { exact: true }).first().fill('news');
    await access.getByRole('button', { name: 'Save access' }).click();
    await sees(page, '.toast', 'Access saved');
    await eventually('the hook publishes', async () => {
      await hooks.getByRole('button', { name: 'Publish' }).click();
      return plain.locator('#messages').filter({ hasText: 'from a hook' }).first().waitFor({ timeout: 1000 }).then(() => true, () => false);
    });
  });

  await step('the React lines of the console run as they are, with both SDKs', page, async () => {
    await section('connect').getByRole('tab', { name: 'React' }).click();
    for (const sdk of ['@aptlyd/brook', '@aptly-sdk/brook']) {
      await section('connect').getByRole('tab', { name: sdk }).click();
      await sees(page, '#connect pre', `from '${sdk}/react'`);
      const name = sdk.slice(1).replace('/', '-');
      await site.add(name, await page.locator('#connect pre').innerText());
      const shown = await street.newPage();
      await shown.goto(`${site.origin}/${name}`);
      await sees(shown, '#root', 'connected');
      await eventually('it subscribes', async () => {
        await fetch(`${node(1)}/realtime`, { method: 'POST', headers: { 'Content-Type': 'application/json', 'x-api-key': keys.server }, body: JSON.stringify({ channel: 'news', message: sdk }) });
        return sees(shown, '#root', `connected: "${sdk}"`, 500).then(() => true, () => false);
      });
      await shown.close();
    }
  });

  await step('rotate the key, watch the old one, revoke it', page, async () => {
    const rows = section('keys').locator('tbody tr');
    await rows.filter({ hasText: keys.public }).filter({ hasText: 'Connections' }).or(rows.filter({ hasText: keys.public })).first().getByRole('button', { name: 'Rotate' }).click();
    await page.getByLabel('The old key lives on for').selectOption('1h');
    await byRole('button', 'Rotate key').click();
    const old = rows.filter({ hasText: 'ends in' });
    await old.waitFor();
    await eventually('two connections on the old key', async () => (await old.locator('td.number').innerText()).includes('2'));
    await rows.filter({ hasText: 'pk_' }).filter({ hasNotText: 'ends in' }).getByRole('button', { name: 'Copy the public key' }).click();
    keys.next = await clipboard();
    must(keys.next !== keys.public && keys.next.startsWith('pk_'), `copied ${keys.next}`);
    await old.getByRole('button', { name: 'Revoke' }).click();
    await sees(page, 'dialog', '2 connections');
    await byRole('button', 'Revoke key').click();
    await old.waitFor({ state: 'detached' });
    await eventually('the plain page is closed', async () => !/connected\s*$/.test(await plain.locator('#status').innerText()) || /disconnected\s*$/.test(await plain.locator('#status').innerText()));
    await eventually('the page with hooks is closed', async () => await hooks.locator('#status').innerText() !== 'connected');
  });

  await step('members of a channel live, and how many in the list', page, async () => {
    const rule = (rules) => page.evaluate(([id, given]) => fetch(`/admin/v1/projects/${id}`, { method: 'PATCH', headers: { 'Content-Type': 'application/json', 'X-Aptlyd-Console': '1' }, body: JSON.stringify({ rules: given }) }), [project, rules]);
    await rule([{ pattern: 'lounge:*', presence: { grace: '10s' } }]);
    const backend = new Brook({ apiKey: keys.server, endpoints: [socket(1)], WebSocket: class extends WebSocket { constructor(url) { super(url, { origin: site.origin }); } } });
    await backend.connect();
    const anna = presence(backend, 'lounge:1', { id: 'anna' });
    await go(`#/projects/${project}/channels/lounge%3A1`);
    await byRole('tab', 'Members').click();
    await sees(page, 'main', 'Nobody here');
    await anna.enter({ mood: 'curious' });
    await sees(page, 'tbody tr', /anna.*curious/);
    await anna.update({ mood: 'happy' });
    await sees(page, 'tbody tr', /anna.*happy/);
    await sees(page, '[role=status]', '1 member');
    await go(`#/projects/${project}/channels`);
    await page.getByLabel('Name begins with').fill('lounge');
    const row = page.locator('tbody tr').filter({ hasText: 'lounge:1' });
    const column = (await page.locator('thead th').allTextContents()).findIndex((text) => text.trim() === 'Members');
    const shows = (...numbers) => eventually(`the list shows ${numbers} members`, async () => numbers.includes((await row.locator('td').nth(column).allTextContents())[0]));
    await shows('1');
    await anna.leave();
    await shows('0', undefined); // a channel without anything in it goes
    backend.cleanup();
    await rule([]);
    await go(`#/projects/${project}`);
  });

  await step('edit origins, be refused, find the refusal', page, async () => {
    const origins = section('origins');
    await origins.getByRole('button', { name: 'Remove this origin' }).first().click();
    await origins.getByRole('button', { name: 'Save origins' }).click();
    await sees(page, '.toast', 'Origins saved');
    const refused = await visit('plain', keys.next, 0);
    await sees(refused, '#refused', /origin/i);
    await page.getByRole('navigation', { name: 'Project' }).getByRole('link', { name: 'Refusals' }).click();
    await sees(page, 'tbody tr', `origin ${site.origin} is not`);
    await sees(page, 'tbody tr', 'origin_not_allowed');
  });

  await step('hostile names are text everywhere', page, async () => {
    await page.evaluate(async ([project, name, key]) => {
      const call = (path, body) => fetch(`/admin/v1${path}`, { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Aptlyd-Console': '1' }, body: JSON.stringify(body) });
      await call(`/projects/${project}/keys`, { kind: 'server', name });
      await call('/tokens', { name, role: 'viewer' });
      await fetch('/realtime', { method: 'POST', headers: { 'Content-Type': 'application/json', 'x-api-key': key }, body: JSON.stringify({ channel: name, message: name }) });
    }, [project, channelName.slice(0, 90), keys.server]);
    await fetch(`${node(0)}/realtime/history?channel=news`, { headers: { 'x-api-key': keys.next, Origin: `https://${hostile}`, 'User-Agent': hostile } });
    for (const [hash, selector] of [['#/projects', 'td'], [`#/projects/${project}`, 'h1'], [`#/projects/${project}/channels`, 'td'],
      [`#/projects/${project}/channels/${encodeURIComponent(channelName.slice(0, 90))}`, 'h1'], ['#/refusals', 'td'], ['#/tokens', 'td'], ['#/audit', 'td'], ['#/connections', 'main']]) {
      await go(hash);
      if (selector !== 'main' && hash !== '#/audit') await sees(page, selector, hash === '#/refusals' ? hostile : hash.includes('channels') ? '<script>' : hash === '#/tokens' ? '<script>' : hostile);
      else await page.locator(selector).first().waitFor();
      must(await page.evaluate(() => window.pwned === undefined && !document.querySelector('img[src="x"]')), `a name became markup on ${hash}`);
    }
    await page.goto(`${node(0)}/console/#/audit`);
    await page.locator('tr', { hasText: 'project.create' }).getByRole('button', { name: 'Details' }).first().click();
    await sees(page, 'dialog .changes', hostile.slice(0, 10));
    await page.keyboard.press('Escape');
  });

  await step('10,000 channels stay quick', page, async () => {
    for (let batch = 0; batch < 10; batch++) {
      const messages = Array.from({ length: 1000 }, (_, i) => ({ channel: `room:${String(batch * 1000 + i).padStart(5, '0')}`, message: i }));
      const answer = await fetch(`${node(0)}/realtime/batch`, { method: 'POST', headers: { 'x-api-key': keys.server, 'Content-Type': 'application/json' }, body: JSON.stringify({ messages }) });
      must(answer.status === 200, `a batch is answered with ${answer.status}`);
    }
    await go(`#/projects/${project}/channels`);
    await sees(page, 'td', 'room:00000', 3000);
    must(await page.locator('tbody tr').count() <= 100, 'the page holds more than a page of rows');
    await byRole('button', 'Next').click();
    await sees(page, 'td', 'room:00150', 3000);
    await page.getByLabel('Name begins with').fill('room:0999');
    await sees(page, 'td', 'room:09999', 3000);
    must(await page.locator('tbody tr').count() === 10, 'the prefix does not choose');
  });

  await step('figures of the last hour and day', page, async () => {
    await go(`#/projects/${project}`);
    await sees(page, '.tile', /Connections\d+ nowmost [1-9]/);
    await sees(page, '.tile', /Publishes, last hour[1-9].*[1-9].* in the last day/);
    await sees(page, '.tile', /Deliveries, last hour[1-9]/);
    await sees(page, '.tile', /Refusals, last hour[1-9]/);
    await page.getByRole('navigation', { name: 'Project' }).getByRole('link', { name: 'Usage' }).click();
    await sees(page, 'tbody tr', new Date().toISOString().slice(0, 8));
    await byRole('tab', 'Hour').click();
    await sees(page, '.hint', 'with any usage');
  });

  await step('what is typed is kept, or asked about', page, async () => {
    await go(`#/projects/${project}`);
    const rules = section('rules');
    await rules.getByRole('button', { name: 'Add a rule' }).click();
    await rules.getByLabel('Pattern', { exact: true }).fill('half:*');
    await section('origins').getByRole('button', { name: 'http://localhost:*' }).click();
    await section('origins').getByRole('button', { name: 'Save origins' }).click();
    await sees(page, '.toast', 'Origins saved');
    const kept = async () => must(await rules.getByLabel('Pattern', { exact: true }).inputValue() === 'half:*', 'what was typed is gone');
    await kept();
    await page.evaluate(([id]) => fetch(`/admin/v1/projects/${id}`, { method: 'PATCH', headers: { 'Content-Type': 'application/json', 'X-Aptlyd-Console': '1' }, body: JSON.stringify({ rules: [{ pattern: 'theirs:*' }] }) }), [project]);
    await sees(page, '.notice', 'Somebody else has changed this');
    await kept();
    const connections = page.getByRole('navigation', { name: 'Project' }).getByRole('link', { name: 'Connections' });
    await connections.click();
    await sees(page, 'dialog', 'Not saved yet: channel rules.');
    await page.locator('dialog').getByRole('button', { name: 'Cancel' }).click();
    must(page.url().endsWith(`#/projects/${project}`), `the address became ${page.url()}`);
    await kept();
    await connections.click();
    await page.locator('dialog').getByRole('button', { name: 'Leave without saving' }).click();
    await page.waitForURL(/connections$/);
    await go(`#/projects/${project}`);
    await eventually('only their rule is there', async () => await rules.getByLabel('Pattern', { exact: true }).evaluateAll((all) => all.map((i) => i.value).join()) === 'theirs:*');
  });

  await step('a secret is not lost to Esc', page, async () => {
    await section('keys').getByRole('button', { name: 'New key' }).click();
    const dialog = page.locator('dialog');
    await dialog.getByLabel('Name').fill('backend');
    await page.keyboard.press('Escape');
    await sees(page, 'dialog', 'what you typed would be lost');
    await dialog.getByText('Server key', { exact: true }).click();
    await dialog.getByRole('button', { name: 'Create key' }).click();
    await sees(page, 'dialog', 'KEY_ID of the signing example');
    for (let i = 0; i < 3; i++) await page.keyboard.press('Escape');
    await sees(page, 'dialog', /sk_[A-Za-z0-9]{40}/);
    await byRole('button', 'I have stored it').click();
    await dialog.waitFor({ state: 'detached' });
  });

  await step('make and test a token', page, async () => {
    await page.getByRole('navigation', { name: 'Project' }).getByRole('link', { name: 'Tokens' }).click();
    await byRole('button', 'Make a token').click();
    await page.getByRole('button', { name: 'Copy the token' }).click();
    const token = await clipboard();
    await page.locator('#test').getByLabel('In channel').fill('news');
    await byRole('button', 'Test it').click();
    await sees(page, '#test .notice', 'A client may connect with it');
    await sees(page, '#test .facts', /subscribeallowedpublishrefused/);
    const bearer = await visit('plain', token, 1);
    await sees(bearer, '#status', 'connected');
    await go('#/connections');
    await sees(page, 'tbody tr', /token\s*user-17/);
    await sees(page, 'tbody tr', hostile); // the project's name
    await bearer.close();
    await go(`#/projects/${project}/tokens`);
    await page.getByLabel('Token or key').fill(token.slice(0, -3));
    await byRole('button', 'Test').click();
    await sees(page, '#test .notice', 'Refused');
    await sees(page, '#test .facts', 'token_invalid');
  });

  await step('explore the API', page, async () => {
    await go('#/api');
    await page.getByLabel('Find a call').fill('list the proj');
    await page.getByRole('link', { name: 'List the projects' }).click();
    await byRole('button', 'Make the call').click();
    await sees(page, '.badge', '200');
    await sees(page, '[role=status] pre', project);
    await go('#/api/publish');
    await page.getByLabel('API key or token').fill(keys.server);
    await byRole('button', 'Make the call').click();
    await sees(page, '[role=status] pre', '"success": true');
    must(!(await page.locator('main').innerText()).includes(keys.server), 'the command shows the key');
  });

  await step('members, settings, doctor and a backup', page, async () => {
    await go('#/cluster');
    const tab = (name) => page.getByRole('navigation', { name: 'Cluster' }).getByRole('link', { name }).click();
    await tab('Members');
    await sees(page, 'tbody tr', socket(1));
    await tab('Settings');
    await sees(page, '.hint', 'In force: no cap.');
    await page.getByLabel('Most bytes').fill('3');
    await page.getByLabel('Unit').selectOption('GiB');
    await byRole('button', 'Save settings').click();
    await sees(page, '.hint', 'In force: 3.0 GiB.');
    await tab('Doctor');
    await sees(page, '.notice', /checks/, 30_000);
    must(await page.locator('tbody tr').count() > 9, 'the doctor found little');
    await tab('Backup');
    const coming = page.waitForEvent('download');
    await byRole('button', 'Download a backup').click();
    const file = await (await coming).path();
    must(statSync(file).size > 4096, 'the backup is small');
    await go('#/audit');
    await sees(page, 'tbody tr', 'backup.read');
    await page.locator('tr', { hasText: 'settings.update' }).getByRole('button', { name: 'Details' }).click();
    await sees(page, '.changes tr', /maxBytes\s*0\s*3221225472/);
    await page.keyboard.press('Escape');
  });

  await step('a viewer sees and changes nothing', page, async () => {
    await go('#/tokens');
    await byRole('button', 'New token').click();
    await page.locator('dialog').getByLabel('Name').fill('auditor');
    await page.locator('dialog').getByText('Viewer', { exact: true }).click();
    await byRole('button', 'Create token').click();
    await page.getByRole('button', { name: 'Copy Admin token' }).click();
    keys.viewer = await clipboard();
    await byRole('button', 'I have stored it').click();
    const guest = await browser.newContext();
    const view = await guest.newPage();
    await signIn(view, 1, keys.viewer);
    await sees(view, 'h1', 'Projects');
    must(await view.getByRole('button', { name: 'New project' }).count() === 0, 'a viewer may create a project');
    must(await view.getByRole('link', { name: 'Admin tokens' }).count() === 0, 'a viewer sees the tokens');
    await guest.close();
  });

  await step('pictures', page, async () => {
    await go(`#/projects/${project}/channels/news`); // so that somebody is connected
    await sees(page, '.badge', 'live');
    await photograph(browser, office, node(0), project, channelName.slice(0, 90));
  });

  await step('sign out', page, async () => {
    const cookies = await office.cookies();
    await byRole('button', 'Sign out').click();
    await page.getByLabel('Admin token').waitFor();
    await office.addCookies(cookies);
    await page.evaluate(() => localStorage.setItem('session', 'yes'));
    await page.reload();
    await page.getByLabel('Admin token').waitFor();
  });
  const other = await browser.newContext();
  const elsewhere = await other.newPage();
  await step('a killed node shows within 5 s, and the console of another goes on', page, async () => {
    await signIn(page, 0, env.ADMIN_TOKEN);
    await sees(page, 'h1', 'Projects');
    await signIn(elsewhere, 2, env.ADMIN_TOKEN);
    await sees(elsewhere, 'h1', 'Projects');
    await go('#/cluster');
    await sees(page, 'tbody tr', env.NAME2);
    must(await page.locator('tbody .badge.good').count() === 3, 'not all nodes are alive');
    process.kill(Number(env.PID2), 'SIGKILL');
    await sees(page, '.notice', `${env.NAME2} does not answer`, 5000);
    await sees(page, 'tbody tr', 'unreachable', 5000);
    await sees(elsewhere, '.banner', 'This node does not answer');
    await page.screenshot({ path: `${shots}cluster-node-down.png`, fullPage: true });
    await go(`#/projects/${project}/channels/news`);
    await sees(page, '.badge', 'live');
    await page.getByLabel('Message as JSON').fill('"after the loss"');
    await byRole('button', 'Publish').click();
    await sees(page, '.message', 'after the loss');
  });

  await step('without a majority the console stays signed in and says who is missing', page, async () => {
    process.kill(Number(env.PID1), 'SIGKILL');
    await sees(page, '.banner', env.NAME1, 30_000);
    await sees(page, '.banner', 'You stay signed in');
    await page.goto(`${node(0)}/console/#/cluster`);
    await page.reload();
    await sees(page, '.banner', env.NAME1);
    await page.locator('.map-name').first().waitFor();
    await page.screenshot({ path: `${shots}no-majority.png`, fullPage: true });
  });
  must(problems.length === 0, `the page complained:\n${[...new Set(problems)].join('\n')}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await browser.close();
  site.close();
  // What undici and esbuild keep for later would hold the process for a minute.
  process.exit();
}
