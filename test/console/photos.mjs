// Every page, light and dark, on a desk and on a phone: a picture of each, and
// what a checker of accessibility says of it. The short form has each device and each
// scheme once, and no pictures.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { shots } from './browser.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const devices = { desk: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };
const thorough = Boolean(process.env.APTLYD_LONG);
const tallest = 4000; // pixels of a picture: lists go on for ever
const rules = { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] };

// examine returns what is wrong with the page that is shown.
async function examine(page) {
  const { violations } = await page.evaluate((options) => globalThis.axe.run(document, options), rules);
  return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(' ')}: ${n.failureSummary.split('\n')[1]?.trim()}`));
}

export async function photograph(browser, office, base, project, channel) {
  const state = await office.storageState();
  const inside = `#/projects/${project}`;
  // Each place with what is there once the page has what it shows.
  const places = {
    projects: ['#/projects', 'tbody tr'], project: [inside, '#danger'], channels: [`${inside}/channels`, 'tbody tr'],
    channel: [`${inside}/channels/${encodeURIComponent(channel)}`, '.message'], connections: ['#/connections', 'tbody tr'],
    refusals: ['#/refusals', 'tbody tr'], cluster: ['#/cluster', '.chart canvas'], audit: ['#/audit', 'tbody tr'], tokens: ['#/tokens', 'tbody tr'],
    usage: [`${inside}/usage`, 'tbody tr'], 'client-tokens': [`${inside}/tokens`, '#make .scope'], members: ['#/cluster/members', 'tbody tr'],
    settings: ['#/cluster/settings', 'main input'], doctor: ['#/cluster/doctor', 'tbody tr'], backup: ['#/cluster/backup', '#main code'],
    api: ['#/api', '.operations li'], 'api-call': ['#/api/updateProject', '.schema li'],
  };
  const wrong = [];
  const context = await browser.newContext();
  const page = await context.newPage();
  const take = async (name) => {
    for (const [device, viewport] of Object.entries(devices)) {
      await page.setViewportSize(viewport);
      for (const colorScheme of thorough ? ['light', 'dark'] : [device === 'desk' ? 'light' : 'dark']) {
        await page.emulateMedia({ colorScheme });
        if (thorough) {
          const tall = await page.evaluate(() => document.documentElement.scrollHeight);
          const clip = { x: 0, y: 0, width: viewport.width, height: Math.min(tall, tallest) };
          await page.screenshot({ path: `${shots}${name}-${device}-${colorScheme}.png`, fullPage: true, clip });
        }
        wrong.push(...(await examine(page)).map((what) => `${name}, ${device}, ${colorScheme}: ${what}`));
      }
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wider > 0) wrong.push(`${name} is ${wider} pixels too wide for a ${device}`);
      const hidden = await page.evaluate(() => Math.max(0, ...[...document.querySelectorAll('.table-box')].map((box) => box.scrollWidth - box.clientWidth)));
      if (hidden > 0) wrong.push(`a table of ${name} hides ${hidden} pixels on a ${device}`);
    }
  };
  await page.goto(`${base}/console/`);
  await page.getByLabel('Admin token').waitFor();
  await page.evaluate(axe);
  await take('signin');
  await context.addCookies(state.cookies);
  await page.evaluate(() => localStorage.setItem('session', 'yes'));
  await page.reload();
  await page.evaluate(axe);
  for (const [name, [hash, there]] of Object.entries(places)) {
    if (process.env.ONLY && !process.env.ONLY.split(',').includes(name)) continue;
    await page.goto(`${base}/console/${hash}`);
    await page.locator(there).first().waitFor();
    await take(name);
  }
  // The menu of a phone, and what the audit shows of a change.
  await page.setViewportSize(devices.phone);
  await page.getByRole('button', { name: 'Menu' }).click();
  await page.getByRole('button', { name: 'Sign out' }).waitFor();
  wrong.push(...(await examine(page)).map((what) => `menu: ${what}`));
  await page.screenshot({ path: `${shots}menu-phone.png` });
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Sign out' }).waitFor({ state: 'hidden' });
  await page.goto(`${base}/console/${inside}/tokens`);
  await page.waitForFunction(() => {
    const tab = document.querySelector('.tabs [aria-current]')?.getBoundingClientRect();
    return tab?.left >= 0 && tab.right <= innerWidth;
  });
  await page.goto(`${base}/console/#/audit`);
  await page.locator('tr', { hasText: 'project.create' }).getByRole('button', { name: 'Details' }).first().click();
  for (const [device, viewport] of Object.entries(devices)) {
    await page.setViewportSize(viewport);
    await page.screenshot({ path: `${shots}audit-details-${device}.png` });
    const hidden = await page.evaluate(() => { const d = document.querySelector('dialog'); return d.scrollWidth - d.clientWidth; });
    if (hidden > 0) wrong.push(`the details of the audit hide ${hidden} pixels on a ${device}`);
  }
  await context.close();
  if (wrong.length > 0) throw new Error([...new Set(wrong)].join('\n'));
}
