// The first minutes of a new user: the start page, and the tour of README.md in both explorers.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { before, describe, test } from 'node:test';
import { steps } from '../../web/explorer/tour.mjs';
import { startBrowser } from './browsers.mjs';
import { startNodes } from './servers.mjs';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const WINDOWS = [
  { width: 1280, height: 800 },
  { width: 390, height: 844 },
];
const PLAIN = /[*`]|\[|\]\([^)]*\)/g;

let browser, server, readme, tour;
before(async () => {
  [server] = await startNodes({});
  browser = await startBrowser();
  readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  tour = steps(readme);
});

async function open(path, { context, ...options } = {}) {
  const page = await (context ?? browser).newPage(options);
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(error.message));
  page.on('console', (message) => message.type() === 'error' && page.errors.push(message.text()));
  await page.goto(server.url + path);
  return page;
}

/** Asserts that the whole page fits into its window, so that nothing scrolls out of view. */
async function assertFits(page, { vertically = true } = {}) {
  const size = await page.evaluate(() => {
    window.scrollTo(10_000, 10_000);
    const { scrollWidth, scrollHeight } = document.documentElement;
    return { scrollWidth, scrollHeight, x: window.scrollX, y: window.scrollY };
  });
  const { width, height } = page.viewportSize();
  assert.ok(size.x === 0 && size.scrollWidth <= width, JSON.stringify(size));
  if (vertically) assert.ok(size.y === 0 && size.scrollHeight <= height, JSON.stringify(size));
}

const words = (text) => text.replace(/^# /gm, '').replace(PLAIN, '').replace(/\s+/g, ' ').trim();

describe('the start page', () => {
  for (const viewport of WINDOWS) {
    for (const colorScheme of ['light', 'dark']) {
      test(`fits ${viewport.width} pixels and is accessible in ${colorScheme}`, async () => {
        const page = await open('/', { viewport, colorScheme });
        await assertFits(page, { vertically: false });
        await page.evaluate(await readFile(AXE, 'utf8'));
        const { violations } = await page.evaluate(() => window.axe.run());
        assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`), []);
        assert.deepEqual(page.errors, []);
      });
    }
  }

  test('leads to the tour by keyboard alone', async () => {
    const page = await open('/');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/graphiql');
    await page.getByRole('tab', { name: tour[0].name }).waitFor();
  });
});

test("the tabs of the explorers have README's words", () => {
  assert.ok(tour.length >= 6);
  const text = words(readme);
  for (const [index, { name, query }] of tour.entries()) {
    const prose = words(query.match(/^(?:#.*\n)+/)[0]);
    assert.ok(prose.startsWith(`${index + 1}. ${name}.`) && text.includes(prose), prose);
    assert.ok(readme.includes(`\`\`\`graphql\n${query.replace(/^(?:#.*\n)+/, '')}\`\`\``), query);
  }
});

/** The last line of a result in which a field has a text value. */
const valueOf = (field, text) => [...text.matchAll(new RegExp(`"${field}": "([^"]*)"`, 'g'))].at(-1)?.[1];

/** A window of the explorer, which one person uses. */
class Window {
  constructor(page) {
    this.page = page;
  }

  /** Opens the tab of a step, changes its text as `edits` says, and runs it. */
  async run(name, edits = {}) {
    let { query } = tour.find((step) => step.name === name);
    for (const [from, to] of Object.entries(edits)) {
      assert.ok(query.includes(from), `${from} in ${query}`);
      query = query.replaceAll(from, to);
    }
    // Browsers draw pages in the background seldom, and Playwright waits for drawn pages.
    await this.page.bringToFront();
    await this.page.getByRole('tab', { name: new RegExp(`^${name}( Close Tab)?$`) }).click();
    await this.page.locator('.graphiql-query-editor .view-lines').click();
    await this.page.keyboard.press('Control+A');
    await this.page.keyboard.insertText(query);
    await this.page.locator('.graphiql-execute-button').click();
  }

  async stop() {
    await this.page.bringToFront();
    await this.page.getByRole('button', { name: /stop/i }).click();
  }

  /** Returns the visible lines of the result, from top to bottom. */
  async visible() {
    const lines = await this.page.locator('.graphiql-response .view-line').evaluateAll((all) =>
      all.map((line) => [parseInt(line.style.top), line.textContent]),
    );
    return lines.sort(([a], [b]) => a - b).map(([, text]) => text.replaceAll('\u00a0', ' ')).join('\n');
  }

  /** Waits until the visible result matches, and returns it. */
  async sees(pattern) {
    for (const end = Date.now() + 30_000; ; ) {
      const text = await this.visible();
      if (pattern.test(text)) return text;
      assert.ok(Date.now() < end, `${pattern} is not in ${text}`);
      await this.page.waitForTimeout(50);
    }
  }
}

describe('the explorer', () => {
  for (const viewport of WINDOWS) {
    test(`fits a window of ${viewport.width} × ${viewport.height} pixels`, async () => {
      const page = await open('/graphiql', { viewport });
      await page.locator('.graphiql-query-editor .view-line').first().waitFor();
      await assertFits(page);
      const box = await page.locator('.graphiql-response').boundingBox();
      assert.ok(box.width >= 300 && box.x + box.width <= viewport.width, JSON.stringify(box));
    });
  }

  test("has README's steps as tabs, in the same order", async () => {
    const page = await open('/graphiql', { viewport: WINDOWS[0] });
    const tabs = page.getByRole('tab');
    await tabs.first().waitFor();
    assert.deepEqual((await tabs.allInnerTexts()).map((text) => text.trim()), tour.map(({ name }) => name));
    assert.deepEqual(page.errors, []);
  });

  test('plays the tour with two people in two windows of one browser', async () => {
    const context = await browser.newContext({ viewport: WINDOWS[0] });
    const suffix = randomBytes(6).toString('hex');
    const [ada, bob] = [
      new Window(await open('/graphiql', { context })),
      new Window(await open('/graphiql', { context })),
    ];
    await ada.run('Register', { '"ada"': `"ada_${suffix}"` });
    await ada.sees(/"username"/);
    await bob.run('Register', { '"ada"': `"bob_${suffix}"` });
    await bob.sees(/"username"/);
    assert.match(await ada.page.title(), new RegExp(`^ada_${suffix} `));
    assert.match(await bob.page.title(), new RegExp(`^bob_${suffix} `));

    await ada.run('Find', { '"bob"': `"bob_${suffix}"` });
    const bobsId = valueOf('id', await ada.sees(/"usr_\w+"/));
    await ada.run('Open', { 'usr_…': bobsId });
    const conversation = valueOf('id', await ada.sees(/"cnv_\w+"/));

    await bob.run('Subscribe');
    await bob.sees(/"CaughtUp"/);
    const send = (clientId, body) =>
      ada.run('Send', { 'cnv_…': conversation, '"1"': `"${clientId}"`, 'Hello, Bob': body });
    await send(1, 'Hello, Bob');
    const first = valueOf('id', await ada.sees(/"number": 1\b/));
    await send(1, 'Hello, Bob');
    assert.equal(valueOf('id', await ada.sees(/"number": 1\b/)), first);
    const cursor = valueOf('cursor', await bob.sees(/Hello, Bob/));
    await bob.stop();

    await send(2, 'You missed this');
    await ada.sees(/"number": 2\b/);
    await send(3, 'and this');
    await ada.sees(/"number": 3\b/);
    await bob.run('Resume', { '…': cursor });
    const events = await bob.sees(/You missed this[^]*and this[^]*"CaughtUp"/);
    assert.doesNotMatch(events, /Hello, Bob/);
    await send(4, 'live again');
    await bob.sees(/live again/);

    await bob.run('Unread');
    const unread = await bob.sees(/"lastReadNumber"/);
    assert.match(unread, /"unreadCount": 4/);
    await bob.run('Read', { 'msg_…': valueOf('id', unread) });
    await bob.sees(/"unreadCount": 0/);
    for (const { page } of [ada, bob]) assert.deepEqual(page.errors, []);

    // A reload keeps the window's user and tabs.
    await ada.page.reload();
    await ada.run('Find', { '"bob"': `"bob_${suffix}"` });
    await ada.sees(/"usr_\w+"/);
  });
});

describe('the playground', () => {
  test("has README's steps as tabs, and fits the window", async () => {
    const page = await open('/playground', { viewport: WINDOWS[0] });
    await page.getByText(tour.at(-1).name, { exact: true }).waitFor();
    const names = await page.evaluate(() => document.body.innerText);
    assert.match(names, new RegExp(tour.map(({ name }) => name).join('\\s+')));
    await assertFits(page);
  });

  test('runs a step, and keeps the tabs that its user has changed', async () => {
    const page = await open('/playground', { viewport: WINDOWS[0] });
    await page.locator('.CodeMirror').first().click();
    await page.keyboard.press('Control+A');
    const username = `ada_${randomBytes(6).toString('hex')}`;
    await page.keyboard.insertText(tour[0].query.replace('"ada"', `"${username}"`));
    await page.keyboard.press('Control+Enter');
    await page.getByText('"parlance_rt_').waitFor();
    // Playground stores its tabs a moment after a change.
    await page.waitForFunction((name) => localStorage.getItem('graphql-playground').includes(name), username);
    await page.reload();
    await page.getByText(`"${username}"`).first().waitFor();
  });
});
