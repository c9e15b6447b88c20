// Tests of the explorer: the server serves the page and all assets that the page loads.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { startNodes } from './servers.mjs';

const TYPES = {
  js: 'text/javascript',
  css: 'text/css',
  svg: 'image/svg+xml',
  ttf: 'font/ttf',
  woff2: 'font/woff2',
};

/** Matches the names of assets in a script: imports, workers and dependencies of chunks. Each name contains a hash. */
const ASSET = /["'`](?:\.\/|assets\/|\/graphiql\/assets\/)([\w.-]+-[\w-]{8}\.\w+)["'`]/g;
/** Matches statements in a script or style that load code from another origin. */
const LOADS_ELSEWHERE =
  /(?:\bimport\s*\(?|\bfrom|\bimportScripts\s*\(|\burl\(|@import)\s*["'`]?(?:https?:)?\/\/[^"'`)\s]+/;
const ELSEWHERE = /["'`](?:https?:)?\/\/[^"'`\s]+\.(?:m?js|css)["'`]/;

let page, policy, html, assets;
before(async () => {
  const [server] = await startNodes({});
  page = await fetch(`${server.url}/graphiql`);
  policy = page.headers.get('content-security-policy') ?? '';
  html = await page.text();
  assets = await load(server);
});

const addresses = () => [...html.matchAll(/\b(?:src|href)="([^"]*)"/g)].map(([, address]) => address);

/** Loads the assets of the page, and the assets that they name, recursively. */
async function load({ url }) {
  const loaded = new Map();
  const queue = addresses().map((address) => new URL(address, `${url}/graphiql`));
  for (let next = queue.pop(); next; next = queue.pop()) {
    if (loaded.has(next.pathname) || next.origin !== url) continue;
    const response = await fetch(next);
    const text = await response.text();
    loaded.set(next.pathname, { status: response.status, type: response.headers.get('content-type'), text });
    const extension = next.pathname.split('.').at(-1);
    if (extension === 'js') {
      for (const [, name] of text.matchAll(ASSET)) queue.push(new URL(`/graphiql/assets/${name}`, next));
    } else if (extension === 'css') {
      for (const [, address] of text.matchAll(/url\(["']?([^"')]+)["']?\)/g)) {
        if (!address.startsWith('data:')) queue.push(new URL(address, next));
      }
    }
  }
  return loaded;
}

describe('the explorer', () => {
  test('is an HTML page', () => {
    assert.equal(page.status, 200);
    assert.match(page.headers.get('content-type'), /^text\/html\b/);
    assert.match(html, /<div id="root">/);
  });

  test('serves each asset with its content type', () => {
    const extensions = new Set();
    for (const [path, { status, type, text }] of assets) {
      const extension = path.split('.').at(-1);
      extensions.add(extension);
      assert.equal(status, 200, path);
      assert.ok(TYPES[extension] && type.startsWith(TYPES[extension]), `${path} is ${type}`);
      assert.ok(text.length > 0, path);
    }
    for (const each of ['js', 'css', 'svg', 'ttf']) assert.ok(extensions.has(each), `no asset of type ${each}`);
    assert.ok([...assets.keys()].some((path) => path.includes('worker')), 'the workers of the editor are missing');
  });

  test('loads no script or style from another origin', () => {
    const elsewhere = /^(?:[a-z]+:)?\/\//;
    assert.ok(addresses().length >= 3);
    for (const address of addresses()) assert.doesNotMatch(address, elsewhere);
    for (const [path, { text }] of assets) {
      for (const pattern of [LOADS_ELSEWHERE, ELSEWHERE]) assert.equal(text.match(pattern)?.[0], undefined, path);
    }
  });

  test('forbids scripts and styles of other origins with its Content-Security-Policy', () => {
    const directives = new Map(policy.split(';').map((text) => text.trim().split(/\s+(.*)/)));
    assert.equal(directives.get('default-src'), "'none'");
    assert.equal(directives.get('script-src'), "'self'");
    assert.match(directives.get('style-src'), /^'self'( 'unsafe-inline')?$/);
    assert.match(directives.get('worker-src'), /^'self'( blob:)?$/);
  });

  test('responds with 404 for assets that do not exist', async () => {
    const missing = new URL('/graphiql/assets/nothing-12345678.js', page.url);
    assert.equal((await fetch(missing)).status, 404);
  });
});

describe('the playground', () => {
  test('is a page whose assets the server serves', async () => {
    const playground = await fetch(new URL('/playground', page.url));
    assert.equal(playground.status, 200);
    assert.match(playground.headers.get('content-security-policy'), /default-src 'none'.*script-src 'self'/);
    const text = await playground.text();
    const assets = [...text.matchAll(/\b(?:src|href)="(\/[^"]*)"/g)].map(([, address]) => address);
    assert.equal(assets.length, 5);
    for (const address of assets) {
      const asset = await fetch(new URL(address, page.url));
      assert.equal(asset.status, 200, address);
      assert.ok(asset.headers.get('content-type').startsWith(TYPES[address.split('.').at(-1)]), address);
    }
  });
});
