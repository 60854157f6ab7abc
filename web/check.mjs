/**
 * Opens the page of a running server in a real browser and uses it.
 *
 *     node check.mjs <page-url> <token> [screenshot.png]
 *
 * Exit code 0: everything held. 1: something did not, and stderr says what.
 * 2: wrong arguments. The browser is $CHROMIUM, or /usr/bin/chromium.
 *
 * The steps wait for a value with a limit, never for a time to pass, so a slow
 * machine makes the check slower but not different.
 */

import { chromium } from 'playwright-core';

const [, , pageUrl, token, screenshotPath] = process.argv;
if (!pageUrl || !token) {
  console.error('usage: node check.mjs <page-url> <token> [screenshot.png]');
  process.exit(2);
}

/** Limit of each single wait, generous because a loaded machine is no defect of the page. */
const WAIT_MS = 30_000;

const base = new URL(pageUrl);

/** What the page must never do, in the order seen: console errors, violations, foreign requests. */
const offences = [];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});

let failure = null;
try {
  const context = await browser.newContext({ viewport: { width: 1360, height: 860 } });
  context.setDefaultTimeout(WAIT_MS);
  const page = await context.newPage();
  try {
    await watch(page);
    await step('the page loads, with a content security policy', () => loadPage(page));
    await step('the token is taken from the address and stays in this tab', () => checkToken(page));
    await step('the schema is in the documentation', () => checkDocumentation(page));
    await step('the tab Welcome answers', () => checkWelcome(page));
    await step('the tab LiveCounter shows a message', () => checkLiveCounter(page));
    await step('no console error, no policy violation, no foreign request', checkOffences);
  } finally {
    // Also of a failure, which it must not hide when the page cannot even be drawn.
    if (screenshotPath) await page.screenshot({ path: screenshotPath }).catch(reportNoScreenshot);
  }
} catch (error) {
  failure = error;
} finally {
  await browser.close();
}

if (failure) {
  console.error(`FAILED: ${redact(failure.message)}`);
  for (const offence of offences) console.error(`  seen: ${redact(offence)}`);
  process.exit(1);
}

async function step(name, run) {
  try {
    await run();
  } catch (error) {
    throw new Error(`${name}: ${error.message}`);
  }
  console.log(`ok: ${name}`);
}

async function watch(page) {
  page.on('console', (message) => {
    if (message.type() === 'error') offences.push(`console error: ${message.text()}`);
  });
  page.on('pageerror', (error) => offences.push(`uncaught: ${error.message}`));
  page.on('request', (request) => noteForeign(request.url()));
  page.on('websocket', (socket) => noteForeign(socket.url()));
  // Not every violation reaches the console, and a report-only policy never does.
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => {
      console.error(`policy violation: ${event.effectiveDirective} by ${event.blockedURI}`);
    });
  });
}

function noteForeign(address) {
  const url = new URL(address);
  if (['data:', 'blob:'].includes(url.protocol)) return;
  if (url.host !== base.host) offences.push(`foreign request: ${url.origin}`);
}

async function loadPage(page) {
  const withToken = new URL(base);
  withToken.hash = new URLSearchParams({ token }).toString();
  const response = await page.goto(withToken.href);
  if (!response.ok()) throw new Error(`the server answered ${response.status()}`);

  const policy = response.headers()['content-security-policy'] ?? '';
  if (!policy.includes("default-src 'none'")) throw new Error(`the policy is "${policy}"`);
  if (policy.includes('unsafe-')) throw new Error(`the policy allows more than it must: "${policy}"`);

  await page.locator('.graphiql-query-editor .CodeMirror').waitFor();
  const icon = await page.request.get(new URL('./favicon.svg', base).href);
  if (!icon.ok()) throw new Error(`the icon answered ${icon.status()}`);
}

async function checkToken(page) {
  await page.locator('.bar-role').waitFor();
  const places = await page.evaluate(() => ({
    address: location.href,
    'local storage': JSON.stringify(localStorage),
    cookies: document.cookie,
  }));
  for (const [place, content] of Object.entries(places)) {
    if (content.includes(token)) throw new Error(`the token is in the ${place}`);
  }
  const stored = await page.evaluate(() => Object.values(sessionStorage));
  if (!stored.includes(token)) throw new Error('the token is not in the session storage');
}

async function checkDocumentation(page) {
  await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
  const explorer = page.locator('.graphiql-doc-explorer');
  await explorer.waitFor();
  await waitFor(
    () => explorer.innerText(),
    (text) => /query:\s*\w+/.test(text) && /subscription:\s*\w+/.test(text),
  );
  await page.getByRole('button', { name: 'Hide Documentation Explorer' }).click();
}

async function checkWelcome(page) {
  await runTab(page, 'Welcome');
  await waitFor(
    () => readResponse(page),
    (text) => typeof parseJson(text)?.data?.viewer?.role === 'string',
  );
}

async function checkLiveCounter(page) {
  await runTab(page, 'LiveCounter');
  await waitFor(
    () => readResponse(page),
    (text) => typeof parseJson(text)?.data?.metrics?.sequence === 'number',
  );
}

function checkOffences() {
  if (offences.length > 0) throw new Error(`${offences.length} seen`);
}

async function runTab(page, title) {
  // The tab's accessible name also counts its close button, so the title inside is clicked.
  const titleButton = page.locator('.graphiql-tab-button', { hasText: new RegExp(`^${title}$`) });
  const tab = page.locator('.graphiql-tab', { has: titleButton });
  await titleButton.click();
  await waitFor(
    () => tab.getAttribute('aria-selected'),
    (selected) => selected === 'true',
  );
  await page.getByRole('button', { name: /^Execute query/ }).click();
}

function reportNoScreenshot(error) {
  console.error(`no screenshot: ${error.message}`);
}

/** The whole text, also the lines that the editor has not drawn. */
function readResponse(page) {
  return page
    .locator('.result-window .CodeMirror')
    .evaluate((element) => element.CodeMirror.getValue());
}

/** Reads until the value is as wished; the error tells what was read last. */
async function waitFor(read, isReached) {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const value = await read();
    if (isReached(value)) return;
    if (Date.now() > deadline) {
      throw new Error(`not reached in ${WAIT_MS} ms; last seen: ${JSON.stringify(value)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Addresses in browser messages can contain the fragment, and so the token. */
function redact(text) {
  return text.replaceAll(token, '<token>');
}
