// Opens the admin page in a headless browser. Arguments: the page's address, a denial's id, a good
// token, an expired token, and a folder for screenshots. Ends with 0 if all is as expected.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const [address, deniedId, good, expired, folder] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
  // The tests also run as root, for which Chromium has no sandbox. The page is our own.
  args: ['--no-sandbox'],
});

// A page that fails the test on any message in the console, any error, and any other origin.
async function open(path, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => faults.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== address) faults.push(`request: ${request.url()}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400) faults.push(`${response.status()}: ${response.url()}`);
  });
  await page.goto(address + path);
  const done = async (name) => {
    await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
    // Wide content scrolls inside its own box, never the page.
    const overflow = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
    if (options.javaScriptEnabled !== false) assert.equal(await page.evaluate(overflow), 0, name);
    assert.deepEqual(faults, [], name);
    await context.close();
  };
  return { page, done };
}

const shown = (page, selector) => page.locator(selector).innerText();

// Numbers move, and the charts with them.
{
  const { page, done } = await open('/');
  assert.equal(await page.title(), 'claimgate');
  const before = Number(await shown(page, '#deny'));
  await page.waitForFunction((before) => Number(document.querySelector('#deny').textContent) > before + 5, before);
  await page.waitForFunction(() => document.querySelectorAll('#chart-decisions rect.allow').length > 1);
  await page.waitForFunction(() => document.querySelectorAll('#chart-denials rect').length > 1);
  assert.match(await shown(page, '#deny-rate'), /per second$/);
  assert.match(await page.getAttribute('#chart-denials', 'aria-label'), /missing_token/);
  assert.match(await shown(page, '#reasons'), /missing_token/);
  assert.match(await shown(page, '#rules'), /unused[\s\S]*never/);
  assert.match(await shown(page, '#problems'), /The keys of `gone`|Not ready: no keys of provider `gone`/);
  assert.equal(await shown(page, '#provider-0-state'), 'current');
  assert.match(await shown(page, '#provider-1-state'), /no keys/);
  // What a request says is text, whatever it says.
  assert.match(await shown(page, '#denial-list'), /<script>/);
  assert.equal(await page.locator('#denial-list script').count(), 0);
  await page.click('#pause');
  assert.equal(await shown(page, '#live-text'), 'paused');
  await done('light');
}

// A denial is found by its id, which is the only parameter of the form.
{
  const { page, done } = await open('/');
  await page.fill('#id', deniedId);
  await page.click('form[role=search] button');
  await page.waitForURL(/[?]id=/);
  assert.match(await shown(page, '.found'), new RegExp(`${deniedId}[\\s\\S]*<script>[\\s\\S]*missing_token`));
  await done('search');
}

// A token is explained, and the page does not load again.
{
  const { page, done } = await open('/');
  const explain = async (token, expected) => {
    await page.fill('#token', token);
    await page.click('#explain-form button');
    await page.waitForFunction((text) => document.querySelector('#explanation').innerText.includes(text), expected);
    return shown(page, '#explanation');
  };
  assert.match(await explain(good, 'ALLOW'), /signature[\s\S]*audience[\s\S]*x-auth-subject: alice/);
  const denied = await explain(`Bearer ${expired}`, 'DENY');
  assert.match(denied, /signature[\s\S]*expired[\s\S]*the caller gets 401/);
  assert.ok(!denied.includes(expired.split('.')[2]));
  assert.equal(page.url(), `${address}/`);
  await done('explained');
}

// Dark, and narrow.
{
  const { page, done } = await open('/', { colorScheme: 'dark' });
  await page.waitForFunction(() => document.querySelectorAll('#chart-denials rect').length > 1);
  const [red] = (await page.evaluate('getComputedStyle(document.body).backgroundColor')).match(/\d+/);
  assert.ok(Number(red) < 60, 'a dark page');
  await done('dark');
}
for (const colorScheme of ['light', 'dark']) {
  const { page, done } = await open('/', { viewport: { width: 360, height: 740 }, colorScheme });
  await page.waitForFunction(() => document.querySelectorAll('#chart-denials rect').length > 1);
  await done(`narrow-${colorScheme}`);
}

// By keyboard: the first stop skips to the content, and every control has a name and a visible focus.
{
  const { page, done } = await open('/');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate('document.activeElement.textContent'), 'Skip to content');
  const unnamed = await page.evaluate(() => [...document.querySelectorAll('input, textarea, button, a, summary')]
    .filter((control) => !(control.labels?.length || control.textContent.trim()))
    .map((control) => control.outerHTML));
  assert.deepEqual(unnamed, []);
  assert.equal(await page.locator('table:not(:has(caption))').count(), 0);
  assert.equal(await page.locator('main, header, footer').count(), 3);
  await done('keyboard');
}

// Without JavaScript, everything but the live numbers is there.
{
  const { page, done } = await open(`/?id=${encodeURIComponent(deniedId)}`, { javaScriptEnabled: false });
  assert.ok(Number(await shown(page, '#deny')) > 0);
  assert.match(await shown(page, '.found'), /missing_token/);
  assert.equal(await page.locator('#charts').isVisible(), false);
  await page.fill('#token', expired);
  await page.fill('#path', '/<script>alert(1)</script>');
  await page.click('#explain-form button');
  await page.waitForURL(/explain/);
  assert.match(await shown(page, '#explanation'), /DENY[\s\S]*expired/);
  assert.equal(await page.inputValue('#path'), '/<script>alert(1)</script>');
  assert.ok(!(await page.content()).includes(expired.split('.')[2]));
  await done('plain');
}

await browser.close();
