// Logins at a real OpenID Connect provider, in a browser, with the code of docs/clients.md.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serveFiles, startBrowser } from './browsers.mjs';
import { directory } from './clients.mjs';
import { startProvider } from './oidc.mjs';
import { freshDirectory, startNodes } from './servers.mjs';
import { ask, Person, RawSocket } from './support.mjs';

const VIEWER = `{ viewer {
  email emailVerified hasPassword identities { issuer issuerName } user { id username displayName }
} }`;

/** The challenge of logins whose sign-in code is not used: the hash of some verifier. */
const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';

let provider, server, browser, address;
before(async () => {
  provider = await startProvider();
  const file = join(await freshDirectory(), 'issuers.json');
  await writeFile(file, JSON.stringify([provider.entry]));
  const pages = serveFiles({ '/': [fileURLToPath(new URL('oidc-page', import.meta.url)), directory] });
  [[server], browser, address] = await Promise.all([startNodes({ ISSUERS_FILE: file }), startBrowser(), pages]);
  provider.open(server.url);
});

/** Opens the client in a browser without cookies. */
async function openClient() {
  const context = await browser.newContext();
  // The pages of the provider ask for fonts.
  await context.route(/googleapis/, (route) => route.abort());
  const page = await context.newPage();
  await page.goto(`${address}/?api=${encodeURIComponent(`${server.url}/graphql`)}&issuer=op`);
  await page.locator('output', { hasText: 'ready' }).waitFor();
  return page;
}

/** Signs in at the provider, whose page is open. Resolves when the page of the client is back. */
async function signInAtProvider(page, login) {
  await page.fill('input[name=login]', login);
  await page.fill('input[name=password]', 'any');
  await page.click('button[type=submit]');
  await page.getByText('Continue').click();
}

async function shown(page) {
  await page.waitForFunction(() => /new|known|failed/.test(document.querySelector('output')?.textContent));
  return page.textContent('output');
}

/** Signs in as `login`. Resolves to the page of the client and to what it shows. */
async function signIn(login) {
  const page = await openClient();
  await page.click('a');
  await signInAtProvider(page, login);
  return { page, text: await shown(page) };
}

async function personOf(page) {
  const pair = await page.evaluate(() => window.pair);
  const { viewer } = await ask(server, VIEWER, {}, pair.accessToken);
  return new Person(server, { ...pair, viewer });
}

/** A browser that keeps cookies and follows no redirect by itself, so that a test can change the addresses. */
class Jar {
  #cookies = new Map();

  async fetch(url, form) {
    const response = await fetch(url, {
      method: form ? 'POST' : 'GET',
      body: form && new URLSearchParams(form),
      redirect: 'manual',
      headers: { Cookie: [...this.#cookies].map((pair) => pair.join('=')).join('; ') },
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
      if (value) this.#cookies.set(name, value);
      else this.#cookies.delete(name);
    }
    return response;
  }

  /** Resolves to the address to which the answer redirects. */
  async redirect(url, form) {
    const response = await this.fetch(url, form);
    const location = response.headers.get('location');
    assert.ok(location, `a redirect from ${url}: ${response.status} ${await response.text()}`);
    return new URL(location, url).href;
  }

  /** Begins a login, and resolves to the address at the provider. */
  begin() {
    const query = new URLSearchParams({ redirect: `${address}/`, challenge: CHALLENGE });
    return this.redirect(`${server.url}/auth/op?${query}`);
  }

  /** Signs in at the provider, and resolves to the address with which the browser returns to the server. */
  async signIn(location, login) {
    let url = location;
    while (!url.startsWith(`${server.url}/`)) {
      const response = await this.fetch(url);
      const next = response.headers.get('location');
      if (next) {
        url = new URL(next, url).href;
      } else {
        const [, prompt] = /name="prompt" value="(\w+)"/.exec(await response.text());
        url = await this.redirect(url, { prompt, login, password: 'any' });
      }
    }
    return url;
  }
}

describe('logins at a provider', { concurrency: true }, () => {
  test('the first login makes an account, and the next one signs in to it', async () => {
    const first = await signIn('ada');
    assert.equal(first.text, 'new');
    const ada = await personOf(first.page);
    const { viewer } = ada.auth;
    assert.deepEqual([viewer.user.username, viewer.user.displayName], ['ada', 'ada at the provider']);
    assert.deepEqual([viewer.email, viewer.emailVerified, viewer.hasPassword], ['ada@example.org', true, false]);
    assert.deepEqual(viewer.identities, [{ issuer: provider.issuer, issuerName: 'op' }]);
    assert.ok(!first.page.url().includes('#'), 'the code is no longer in the address');

    const again = await signIn('ada');
    assert.equal(again.text, 'known');
    assert.equal((await personOf(again.page)).id, ada.id);
    await ada.refresh();
  });

  test('a logout at the provider ends the sessions and closes their sockets', async () => {
    const one = await signIn('bob');
    const other = await signIn('bob');
    const [bob, elsewhere] = [await personOf(one.page), await personOf(other.page)];
    const socket = await RawSocket.init(server, bob.token);
    await one.page.goto(`${provider.issuer}/session/end`);
    await one.page.getByText('Sign out').click();
    await socket.assertCloses(4403);
    await assert.rejects(bob.ask('{ viewer { id } }'), { code: 'UNAUTHENTICATED' });
    await elsewhere.ask('{ viewer { id } }');
  });

  test('a user who cancels comes back with an error', async () => {
    const page = await openClient();
    await page.click('a');
    await page.locator('input[name=login]').waitFor();
    await page.getByText('Cancel').click();
    assert.equal(await shown(page), 'failed: access_denied');
  });

  test('the provider refuses a code whose challenge is not of this login', async () => {
    const browserOfEve = new Jar();
    const location = new URL(await browserOfEve.begin());
    location.searchParams.set('code_challenge', CHALLENGE);
    const back = await browserOfEve.signIn(location.href, 'eve');
    assert.match(await browserOfEve.redirect(back), /#error=BAD_USER_INPUT&/);
  });

  test('a code of another login is refused', async () => {
    const [ada, eve] = [new Jar(), new Jar()];
    const [hers, stolen] = [await ada.signIn(await ada.begin(), 'ada'), await eve.signIn(await eve.begin(), 'eve')];
    const injected = new URL(hers);
    injected.searchParams.set('code', new URL(stolen).searchParams.get('code'));
    assert.match(await ada.redirect(injected.href), /#error=BAD_USER_INPUT&/);
  });

  test('a page does not sign in with the code of another browser', async () => {
    const mallory = new Jar();
    const back = new URL(await mallory.redirect(await mallory.signIn(await mallory.begin(), 'mallory')));
    const page = await openClient();
    await page.goto(new URL(back.hash, page.url()).href);
    await page.reload();
    assert.equal(await shown(page), 'failed: BAD_USER_INPUT');
    assert.equal(await page.evaluate(() => window.pair), undefined);
  });

  test('an answer with another state is not accepted', async () => {
    const [mallory, victim] = [new Jar(), new Jar()];
    const back = await mallory.signIn(await mallory.begin(), 'mallory');
    await victim.begin();
    for (const jar of [victim, new Jar()]) {
      const answer = await jar.fetch(back);
      assert.deepEqual([answer.status, answer.headers.get('location')], [400, null]);
      assert.equal(answer.headers.get('cache-control'), 'no-store');
      assert.match(await answer.text(), /Start it again/);
    }
    assert.match(await mallory.redirect(back), /#code=parlance_sc_/);
  });
});
