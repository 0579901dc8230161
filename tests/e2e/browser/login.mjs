// A person logs in at the application with a headless browser, works there, and signs out. Arguments: the
// application's address, the provider's software, and its issuer. The hosts of the two addresses differ, so they are
// different sites. Ends with 0 if all is as expected. The cookies are those of deploy/envoy/login.yaml, or of Envoy
// Gateway.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const [application, software, issuer] = process.argv.slice(2);
// The pages of each provider, how a person uses them, and the roles in its tokens.
const provider = {
  'oidc-provider': {
    loginPage: `${issuer}/login/`,
    logIn: async (name) => {
      await page.fill('[name=name]', name);
      await page.click('button');
    },
    endPage: `${issuer}/session/end`,
    confirm: 'button',
    ended: 'Signed out',
    // Whether it asks before it ends a session, when the application sends the person there.
    asks: true,
    roles: undefined,
  },
  keycloak: {
    loginPage: `${issuer}/protocol/openid-connect/auth?`,
    logIn: async (name) => {
      await page.fill('#username', name);
      await page.fill('#password', 'secret');
      await page.click('#kc-login');
    },
    endPage: `${issuer}/protocol/openid-connect/logout`,
    confirm: '#kc-logout',
    ended: 'You are logged out',
    asks: false,
    roles: 'orders-admin',
  },
}[software];
// A wait for a condition that takes its own time, such as the end of a token.
const PATIENCE = 30_000;
// No run takes longer.
const LIMIT = 150_000;
// The names of the cookies that make a session, and of those that a login needs. Envoy adds an id to the latter.
const SESSION = /^(__Host-login-(token|hmac|expires|id|refresh)|(AccessToken|OauthHMAC|OauthExpires|IdToken|RefreshToken)-\w+)$/;
const FLOW = /^(__Host-login-(nonce|verifier)|(OauthNonce|CodeVerifier)-\w+)(\.\w+)?$/;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
  // The tests also run as root, for which Chromium has no sandbox. The pages are our own.
  args: ['--no-sandbox'],
});
const context = await browser.newContext();
const page = await context.newPage();
// A page of another origin. It stays open: on a busy machine, Chromium may never close a page that is being loaded.
const other = await context.newPage();
context.setDefaultTimeout(PATIENCE);
// Where the browser was when a step failed.
process.on('uncaughtException', (error) => {
  console.error(error, `\nat ${page.url()}`);
  process.exit(1);
});
setTimeout(() => assert.fail('it takes too long'), LIMIT).unref();

// What the application received from the browser, which is what the page shows.
const received = async () => JSON.parse(await page.locator('body').innerText());

const isLoginPage = (url) => url.startsWith(provider.loginPage);

async function logIn(name) {
  await page.waitForURL((url) => isLoginPage(url.href));
  await provider.logIn(name);
}

// The result of a wait that has no limit of its own.
async function within(what, promise) {
  const late = new Promise((_resolve, reject) => {
    setTimeout(() => reject(new Error(`in vain: ${what}`)), PATIENCE).unref();
  });
  return Promise.race([promise, late]);
}

async function until(what, done) {
  const end = Date.now() + PATIENCE;
  while (!(await done())) assert.ok(Date.now() < end, `in vain: ${what}`);
}

// The session's cookies that the browser has.
async function session() {
  const cookies = await context.cookies(application);
  return cookies.filter((cookie) => SESSION.test(cookie.name));
}

// A script does not see the login page: it is refused.
{
  await page.goto(`${application}/healthz`);
  assert.equal((await received()).path, '/healthz');
  const status = await page.evaluate(async () => (await fetch('/orders')).status);
  assert.equal(status, 401);
}

// The first visit leads to the login, and from there to the page that was asked for.
const asked = `${application}/orders?page=2&q=a%20b`;
{
  await context.addCookies([{ name: 'theme', value: 'dark', url: application }]);
  await page.setExtraHTTPHeaders({ 'x-auth-subject': 'root' });
  await page.goto(asked);
  await logIn('alice');
  await page.waitForURL(asked);
  const { path, headers } = await received();
  assert.equal(path, '/orders?page=2&q=a%20b');
  assert.equal(headers['x-auth-subject'], 'alice');
  assert.equal(headers['x-auth-roles'], provider.roles);
  assert.equal(headers.cookie, 'theme=dark');
  assert.equal(headers.authorization, undefined);

  const own = (await context.cookies(application)).filter((cookie) => cookie.name !== 'theme');
  assert.equal((await session()).length, 5);
  for (const cookie of own) {
    assert.ok(SESSION.test(cookie.name) || FLOW.test(cookie.name), cookie.name);
    assert.deepEqual([cookie.sameSite, cookie.secure, cookie.httpOnly], ['Lax', true, true], cookie.name);
  }
}

// A public page gets no claims, and no cookies of the login either.
{
  await page.goto(`${application}/healthz`);
  const { headers } = await received();
  assert.equal(headers['x-auth-subject'], undefined);
  assert.equal(headers.cookie, 'theme=dark');
}

// The token ends while the person works, and is renewed without a visit to the provider.
{
  const tokens = new Set();
  await until('another token', async () => {
    const response = await page.goto(asked);
    assert.equal(response.status(), 200);
    assert.equal(response.request().redirectedFrom(), null);
    tokens.add((await received()).headers['x-auth-token-id']);
    return tokens.size === 3;
  });
  assert.ok(!tokens.has(undefined));
}

// The application's own page may write. A page of another origin may not, and it makes no difference whether
// that origin is of the same site, where the browser sends the cookies, or of another.
{
  const write = async () => {
    const response = await fetch('/orders', { method: 'POST', body: 'x' });
    return [response.status, (await response.json()).headers['x-auth-subject']];
  };
  assert.deepEqual(await within('its own page writes', page.evaluate(write)), [200, 'alice']);

  const elsewhere = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end(`<form method="post" action="${application}/orders"><button>Win a prize</button></form>`);
  });
  await new Promise((listening) => elsewhere.listen(0, '127.0.0.1', listening));
  const { port } = elsewhere.address();
  for (const [origin, site, byForm, byScript] of [
    [`http://localhost:${port}`, 'same-site', 403, 403],
    [`http://127.0.0.1:${port}`, 'cross-site', 302, 401],
  ]) {
    const written = () => other.waitForResponse(
      (response) => response.request().method() === 'POST' && response.url() === `${application}/orders`,
    );
    const answer = async (send) => (await Promise.all([written(), send()]))[0];
    await other.goto(origin);
    const script = await answer(() => other.evaluate(
      (url) => { fetch(url, { method: 'POST', mode: 'no-cors', credentials: 'include' }).catch(() => {}); },
      `${application}/orders`,
    ));
    assert.equal(script.status(), byScript, origin);
    const form = await answer(() => other.click('button'));
    assert.equal(form.status(), byForm, origin);
    const sent = await within('the headers of the form', form.request().allHeaders());
    assert.equal(sent['sec-fetch-site'], site);
    if (byForm === 302) assert.ok(form.headers().location.startsWith(issuer), form.headers().location);
  }
  elsewhere.close();

  // A browser that does not send `sec-fetch-site`.
  for (const [origin, status] of [[application, 200], [`http://localhost:${port}`, 403], ['null', 403]]) {
    const response = await context.request.post(`${application}/orders`, { headers: { origin } });
    assert.equal(response.status(), status, `${origin}: ${await response.text()}`);
  }
}

// The session ends at the provider. Here it ends with the token, and another person logs in.
{
  await other.goto(provider.endPage);
  await other.click(provider.confirm);
  await other.getByText(provider.ended).first().waitFor();
  await until('the login', async () => {
    const response = await page.goto(asked);
    assert.equal(response.status(), 200);
    return isLoginPage(page.url());
  });
  await logIn('bob');
  await page.waitForURL(asked);
  assert.equal((await received()).headers['x-auth-subject'], 'bob');
}

// Signing out ends the session here and at the provider.
{
  await page.goto(`${application}/oauth2/sign-out`);
  if (provider.asks) await page.click(provider.confirm);
  await page.waitForURL((url) => isLoginPage(url.href));
  assert.deepEqual((await session()).map((cookie) => cookie.name), []);
}

await browser.close();
