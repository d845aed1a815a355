// The browser, and what the journey needs besides Playwright.
import { mkdirSync } from 'node:fs';
import { chromium } from 'playwright-core';

export const shots = new URL('shots/', import.meta.url).pathname;
mkdirSync(shots, { recursive: true });

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });

const began = Date.now();
const seconds = () => ((Date.now() - began) / 1000).toFixed(1).padStart(5);

// step names a part of the journey; when it fails, a picture of the page is kept.
export async function step(name, page, work) {
  try {
    const result = await work();
    console.log(`${seconds()} s  ${name}`);
    return result;
  } catch (error) {
    await page.screenshot({ path: `${shots}failed.png`, fullPage: true }).catch(() => {});
    throw new Error(`${name}: ${error.message}\n${await page.locator('body').innerText().catch(() => '')}`, { cause: error });
  }
}

// eventually waits until check returns something true and fails with its last word.
export async function eventually(what, check, within = 10_000) {
  const end = Date.now() + within;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${within} ms: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
}

export function must(holds, what) {
  if (!holds) throw new Error(what);
}

// text waits until a page shows a text.
export const sees = (page, selector, text, within = 10_000) =>
  page.locator(selector).filter({ hasText: text }).first().waitFor({ timeout: within });
