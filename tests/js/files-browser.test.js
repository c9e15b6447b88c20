// Uploads and downloads in a browser with the code of docs/clients.md. Page, API and files have different origins.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serveFiles, startBrowser } from './browsers.mjs';
import { directory } from './clients.mjs';
import { startNodes } from './servers.mjs';
import { pair } from './support.mjs';

const LARGE = 17 * 1024 * 1024;

let own, garage, page;
before(async () => {
  const address = await serveFiles({ '/': [fileURLToPath(new URL('files-page', import.meta.url)), directory] });
  const origins = { CORS_ORIGINS: address };
  const { TEST_S3_ENDPOINT, TEST_S3_ACCESS_KEY_ID, TEST_S3_SECRET_ACCESS_KEY } = process.env;
  const s3 = {
    S3_ENDPOINT: TEST_S3_ENDPOINT,
    S3_ACCESS_KEY_ID: TEST_S3_ACCESS_KEY_ID,
    S3_SECRET_ACCESS_KEY: TEST_S3_SECRET_ACCESS_KEY,
    S3_BUCKET: `test-js-${process.pid}`,
  };
  let browser;
  [[own, garage], browser] = await Promise.all([startNodes(origins, { ...origins, ...s3 }), startBrowser()]);
  page = await browser.newPage();
  await page.goto(address);
  await page.waitForFunction(() => window.files);
});

for (const [name, server] of [
  ['the server itself', () => own],
  ['another S3', () => garage],
]) {
  describe(`a page of another origin, with files in ${name}`, () => {
    for (const size of [5000, LARGE]) {
      test(`sends and gets ${size} bytes`, async () => {
        const { alice, conversation } = await pair(server());
        const given = { url: `${server().url}/graphql`, auth: alice.auth, conversationId: conversation, size };
        const seen = await page.evaluate((it) => window.files.sendAndGet(it), given);
        assert.deepEqual(seen, { type: 'text/plain', size, same: true });
      });
    }

    test('accepts only bytes that match the checksum of the upload', async () => {
      const { alice } = await pair(server());
      const given = { url: `${server().url}/graphql`, auth: alice.auth };
      const { named, others, these } = await page.evaluate((it) => window.files.storeWithChecksum(it), given);
      assert.ok(named.includes('x-amz-checksum-sha256'), `${named}`);
      assert.deepEqual([others, these], [false, true]);
    });
  });
}
