// Starts the installed Chromium, headless and with a fake camera and microphone, and serves pages to it.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { delimiter, extname, join } from 'node:path';
import { after } from 'node:test';
import { chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript' };

/** Flags for a fake camera. Its frame rate is low, because several browsers share the machine with other tests. */
const FLAGS = ['--use-fake-device-for-media-stream=fps=10', '--use-fake-ui-for-media-stream'];
/** Flag that is needed on a machine whose only network interface is loopback. */
const LOOPBACK = '--allow-loopback-in-peer-connection';

const browsers = [];
const servers = [];
after(async () => {
  await Promise.all(browsers.map((browser) => browser.close()));
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

export async function startBrowser() {
  const browser = await chromium.launch({ executablePath: await installed(), args: [...FLAGS, LOOPBACK] });
  browsers.push(browser);
  return browser;
}

async function installed() {
  const candidates = process.env.PATH.split(delimiter).flatMap((dir) => NAMES.map((name) => join(dir, name)));
  for (const path of candidates) {
    if (await access(path, constants.X_OK).then(() => true, () => false)) return path;
  }
  return assert.fail(`none of ${NAMES.join(', ')} is installed: run scripts/setup test`);
}

/**
 * Serves files over HTTP and returns the address of the server. `places` maps a URL path to the directories that the
 * server searches for the file. The host is localhost, because a page on localhost can use the camera without TLS.
 */
export async function serveFiles(places) {
  const server = createServer(async ({ url }, response) => {
    const [, path, name] = /^(\/(?:[\w-]+\/)*)([\w.-]*)(?:\?.*)?$/.exec(url) ?? [];
    for (const directory of places[path] ?? []) {
      const file = join(directory, name || 'index.html');
      const content = await readFile(file).catch(() => null);
      if (content) return response.writeHead(200, { 'Content-Type': TYPES[extname(file)] }).end(content);
    }
    response.writeHead(404).end();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  servers.push(server);
  return `http://localhost:${server.address().port}`;
}
