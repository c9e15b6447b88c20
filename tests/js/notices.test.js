// Tests of starts with the settings of e-mails and SMS: what the banner says about codes, and wrong templates.

import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { before, describe, test } from 'node:test';
import { startMailServer, startSmsHook } from './mail.mjs';
import { freshDirectory, launch, startNodes } from './servers.mjs';
import { withTimeout } from './support.mjs';

let mail;
let hook;
before(async () => {
  [mail, hook] = await Promise.all([startMailServer(), startSmsHook()]);
});

describe('the banner', () => {
  for (const [name, settings, says] of [
    ['no channel', () => ({}), 'printed in this log; set SMTP_URL and SMS_HOOK_URL to send them'],
    ['e-mail', () => mail.settings, 'sent by e-mail; set SMS_HOOK_URL to send them to phone numbers too'],
    ['SMS', () => hook.settings, 'sent by SMS; set SMTP_URL to send them to e-mail addresses too'],
    ['both channels', () => ({ ...mail.settings, ...hook.settings }), 'sent by e-mail and SMS'],
  ]) {
    test(`says how codes are sent with ${name}`, async () => {
      const [server] = await startNodes(settings());
      await withTimeout(server.child.seen(/^ +Codes /), 'the line about codes');
      assert.ok(server.child.stdout.includes(`  Codes      ${says}`), server.child.stdout.join('\n'));
      await server.stop();
    });
  }
});

describe('a server that other machines can reach', () => {
  for (const [name, settings, says] of [
    ['no setting', {}, 'none; set SMTP_URL or SMS_HOOK_URL to send them, or LOG_CODES to print them in this log'],
    ['LOG_CODES', { LOG_CODES: 'true' }, 'printed in this log; set SMTP_URL and SMS_HOOK_URL to send them'],
  ]) {
    test(`says in the banner whether codes are in the log with ${name}`, async () => {
      const [server] = await startNodes({});
      const { DATABASE_URL, JWT_SECRET } = server.env;
      const env = { LISTEN_ADDR: '0.0.0.0:0', DATABASE_URL, JWT_SECRET, DRAIN_DELAY: '0', ...settings };
      const reachable = launch(['serve'], { dir: await freshDirectory(), env });
      await withTimeout(reachable.seen(/^ +Codes /), 'the line about codes');
      reachable.process.kill('SIGTERM');
      await withTimeout(reachable.exited, 'the exit');
      assert.ok(reachable.stdout.includes(`  Codes      ${says}`), reachable.stdout.join('\n'));
    });
  }
});

describe('NOTICE_TEMPLATES', () => {
  /** Writes a directory of templates. Resolves to its path. */
  async function templates(files) {
    const dir = await freshDirectory();
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(dir, name)), { recursive: true });
      await writeFile(join(dir, name), text);
    }
    return dir;
  }

  test('replaces a template and adds a region', async () => {
    const NOTICE_TEMPLATES = await templates({
      'en/code.txt': '{{ code }} for {{ app_name }}',
      'de-AT/code.sms.txt': 'Servus {{ code }}',
    });
    const [server] = await startNodes({ NOTICE_TEMPLATES });
    await server.stop();
  });

  for (const [what, files, reason] of [
    ['has an unknown variable', { 'de/code.txt': '{{ code }}\n{{ user }}' }, 'de/code.txt, line 2: there is no variable user'],
    ['does not parse', { 'layout.html': '\n{% if' }, 'layout.html, line 2: syntax error'],
    ['has an unknown name', { 'de/code.text': '{{ code }}' }, 'de/code.text: this is no template; allowed are layout.html'],
    ['is missing', { 'nl/code.txt': '{{ code }}' }, 'nl/code.subject.txt: the file is missing'],
  ]) {
    test(`stops the start with one line if a template ${what}`, async () => {
      const [server] = await startNodes({});
      const { DATABASE_URL, JWT_SECRET } = server.env;
      const NOTICE_TEMPLATES = await templates(files);
      const env = { LISTEN_ADDR: '127.0.0.1:0', DATABASE_URL, JWT_SECRET, NOTICE_TEMPLATES };
      const { exited, stdout, stderr } = launch(['serve'], { dir: await freshDirectory(), env });
      const { code } = await withTimeout(exited, 'the exit');
      assert.equal(code, 1);
      assert.deepEqual(stdout, []);
      assert.ok(stderr.at(-1).startsWith(`parlance: NOTICE_TEMPLATES: ${reason}`), stderr.at(-1));
    });
  }
});
