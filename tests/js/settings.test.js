// Tests of invalid settings: the server does not start, and prints one line that says how to correct the setting.

import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { flagOf, freshDirectory, launch, Server, startNodes } from './servers.mjs';
import { withTimeout } from './support.mjs';

let server;
before(async () => {
  [server] = await startNodes({ LOG_FORMAT: 'json' });
});

/** Starts a server that must exit because of a setting. Returns the line that the server prints. */
async function refusal({ env, args = [], dir }) {
  const child = launch(['serve', ...args], { dir: dir ?? (await freshDirectory()), env });
  const { code } = await withTimeout(child.exited, 'the exit');
  const output = child.stderr.join('\n');
  assert.equal(code, 2, output);
  assert.equal(child.stderr.length, 1, `expected one line, but got\n${output}`);
  assert.deepEqual(child.stdout, []);
  return child.stderr[0];
}

describe('an invalid setting', { concurrency: 2 }, () => {
  for (const [name, value, ...allowed] of [
    ['LISTEN_ADDR', 'nonsense', 'IP:PORT'],
    ['LISTEN_ADDR', '127.0.0.1:99999', 'IP:PORT'],
    ['DATABASE_POOL_SIZE', '0', '1', '1000'],
    ['DATABASE_POOL_SIZE', 'many', '1', '1000'],
    ['LOG_FORMAT', 'xml', 'text', 'json'],
    ['LOG_LEVEL', 'parlance=loud', 'info'],
    ['TRUSTED_PROXIES', 'proxy.example.org', 'loopback', '10.0.0.0/8'],
    ['ACCESS_TOKEN_TTL', '9', '10', '86400'],
    ['DRAIN_DELAY', '-1', '0', '300'],
    ['PASSWORD_MEMORY_KIB', '1024', '19456'],
    ['SOCKET_PING_INTERVAL', '1.5', '1', '3600'],
    ['CORS_ORIGINS', 'chat.example.org', 'https://'],
    ['CORS_ORIGINS', 'https://chat.example.org/page', 'without a path'],
    ['OPERATION_MAX_COMPLEXITY', '99', '100', '1000000'],
    ['STUN_URLS', 'stun.example.org', 'stun:'],
    ['TURN_URLS', 'turn://turn.example.org', 'turn:'],
    ['SMTP_FROM', 'Parlance', 'no-reply@example.org'],
    ['APP_NAME', 'a'.repeat(31), '30'],
    ['SMS_COUNTRIES', 'Germany', 'country codes such as 49,43'],
    ['RATE_SMS', '1000', 'a count and a time'],
    ['REGISTRATION', 'private', 'open', 'external'],
    ['GUESTS', 'maybe', 'on', 'off'],
    ['WEBAUTHN_RP_ID', 'https://example.org', 'example.org'],
    ['WEBAUTHN_ORIGINS', 'chat.example.org', 'android:apk-key-hash'],
    ['PUBLIC_URL', 'http://chat.example.org', 'https://'],
    ['AUTH_REDIRECTS', 'javascript:alert(1)', 'own'],
  ]) {
    test(`${name}=${value} is reported with the allowed values`, async () => {
      const line = await refusal({ env: { [name]: value } });
      for (const part of [name, `"${value}"`, ...allowed]) assert.ok(line.includes(part), `${part} in ${line}`);
    });
  }

  for (const [name, value, allowed] of [
    ['JWT_SECRET', 'short', '32 bytes'],
    ['DATABASE_URL', 'mysql://chat:hunter2@127.0.0.1/chat', 'postgres://'],
    ['DATABASE_URL', 'postgres://chat:hunter2@127.0.0.1/chat?sslmode=allow', 'verify-full'],
    ['REDIS_URL', 'http://:hunter2@127.0.0.1', 'redis://'],
    ['REDIS_URL', 'rediss://:hunter2@127.0.0.1#insecure', 'without the character #'],
    ['SMTP_URL', 'smtp://ada:hunter2@smtp.example.org', '?tls=required'],
    ['SMS_HOOK_URL', 'http://hunter2.example.org', 'https://'],
    ['SMS_HOOK_SECRET', 'whsec_hunter2', '24 to 64'],
  ]) {
    test(`${name} is reported without its secret value`, async () => {
      const flag = `${flagOf(name)}=${value}`;
      for (const line of [await refusal({ env: { [name]: value } }), await refusal({ args: [flag] })]) {
        for (const part of [name, allowed]) assert.ok(line.includes(part), `${part} in ${line}`);
        for (const secret of [value, 'hunter2']) assert.ok(!line.includes(secret), line);
      }
    });
  }

  test('is reported from .env, and from a flag that overrides it', async () => {
    const dir = await freshDirectory();
    await writeFile(join(dir, '.env'), 'DATABASE_POOL_SIZE=0\n');
    assert.match(await refusal({ dir }), /DATABASE_POOL_SIZE.*"0"/);
    assert.match(await refusal({ dir, args: ['--database-pool-size=1001'] }), /DATABASE_POOL_SIZE.*"1001"/);
  });

  test('is not reported if it is only empty', async () => {
    const env = { DATABASE_URL: '', DATABASE_POOL_SIZE: '', LOG_FORMAT: 'xml' };
    assert.match(await refusal({ env }), /LOG_FORMAT/);
  });

  test('is reported if another setting requires it and it is missing', async () => {
    for (const [name, value, missing] of [
      ['TURN_URLS', 'turn:turn.example.org', 'TURN_SECRET'],
      ['SMTP_URL', 'smtp://localhost', 'SMTP_FROM'],
      ['SMS_HOOK_URL', 'https://sms.example.org', 'SMS_HOOK_SECRET'],
    ]) {
      const line = await refusal({ env: { [name]: value } });
      assert.ok(line.startsWith(`${missing} must be set too`), line);
    }
  });

  test('is reported if the file that it names is wrong, before anything is started', async () => {
    const dir = await freshDirectory();
    const issuer = { name: 'acme', issuer: 'https://id.example.org', audiences: ['chat'] };
    for (const [content, ...parts] of [
      [undefined, 'cannot be read'],
      ['nonsense', 'is not a JSON list of issuers'],
      [JSON.stringify([{ ...issuer, colour: 'red' }]), 'issuer "acme"', 'unknown field `colour`'],
      [JSON.stringify([issuer, issuer]), 'another issuer has the same name or URL'],
      [JSON.stringify([{ ...issuer, clientId: 'chat', clientSecretFile: 'missing' }]), 'clientSecretFile (missing)'],
    ]) {
      const file = join(dir, 'issuers.json');
      if (content) await writeFile(file, content);
      const line = await refusal({ dir, env: { ISSUERS_FILE: file } });
      assert.ok(line.startsWith(`ISSUERS_FILE (${file})`), line);
      for (const part of parts) assert.ok(line.includes(part), `${part} in ${line}`);
    }
    assert.deepEqual(await readdir(dir), ['issuers.json']);
  });

  test('is reported if it contradicts another setting', async () => {
    const line = await refusal({ env: { GUESTS: 'on', REGISTRATION: 'invite' } });
    assert.match(line, /^GUESTS=on needs REGISTRATION=open/);
    assert.match(await refusal({ env: { REGISTRATION: 'external' } }), /^REGISTRATION=external needs ISSUERS_FILE/);
  });

  test('is a missing DATABASE_URL for commands other than serve', async () => {
    for (const [args, code, message] of [
      [['migrate'], 2, /^DATABASE_URL must be set$/],
      [['seed'], 1, /DATABASE_URL must be set, or DATA_DIR be the directory of a server/],
      [['export', 'ada'], 1, /DATABASE_URL must be set, or DATA_DIR/],
      [['export'], 2, /<USER>/],
    ]) {
      const child = launch(args, { dir: await freshDirectory() });
      assert.equal((await withTimeout(child.exited, 'the exit')).code, code);
      assert.match(child.stderr.join('\n'), message);
    }
  });
});

describe('a start with valid settings', { concurrency: 2 }, () => {
  test('fails if the address is in use, and names it', async () => {
    const { exited, stderr } = launch(['serve'], {
      dir: await freshDirectory(),
      env: { LISTEN_ADDR: `127.0.0.1:${server.port}` },
    });
    const { code } = await withTimeout(exited, 'the exit');
    assert.ok(code > 0);
    assert.equal(stderr.length, 1);
    assert.ok(stderr[0].includes(`LISTEN_ADDR (127.0.0.1:${server.port})`), stderr[0]);
  });

  test('fails if the database is not migrated, and names the command', async () => {
    const env = { LISTEN_ADDR: '127.0.0.1:0', DATABASE_URL: process.env.TEST_DATABASE_URL };
    const { exited, stderr } = launch(['serve'], { dir: await freshDirectory(), env });
    const { code } = await withTimeout(exited, 'the exit');
    assert.ok(code > 0);
    assert.match(stderr.at(-1), /parlance migrate/);
  });

  for (const [what, content, reason] of [
    ['does not exist', undefined, /cannot be read/],
    ['is not JSON', 'nonsense', /is not JSON/],
    ['has an unknown format', '{"a": 1}', /is neither/],
    ['has no documents', '{}', /has no documents/],
  ]) {
    test(`fails if the file of PERSISTED_MANIFEST ${what}`, async () => {
      const dir = await freshDirectory();
      const file = join(dir, 'manifest.json');
      if (content) await writeFile(file, content);
      const { DATABASE_URL, JWT_SECRET } = server.env;
      const env = { LISTEN_ADDR: '127.0.0.1:0', DATABASE_URL, JWT_SECRET, PERSISTED_MANIFEST: file };
      const { exited, stdout, stderr } = launch(['serve'], { dir, env });
      const { code } = await withTimeout(exited, 'the exit');
      assert.equal(code, 1);
      assert.deepEqual(stdout, []);
      assert.match(stderr.at(-1), reason);
      assert.ok(stderr.at(-1).includes(`PERSISTED_MANIFEST (${file})`), stderr.at(-1));
    });
  }

  test('fails if an origin in WEBAUTHN_ORIGINS is not in the domain of WEBAUTHN_RP_ID', async () => {
    const { DATABASE_URL, JWT_SECRET } = server.env;
    const env = {
      LISTEN_ADDR: '127.0.0.1:0',
      DATABASE_URL,
      JWT_SECRET,
      WEBAUTHN_RP_ID: 'example.org',
      WEBAUTHN_ORIGINS: 'https://chat.example.org,android:apk-key-hash:AbC_1,https://badexample.org',
    };
    const { exited, stdout, stderr } = launch(['serve'], { dir: await freshDirectory(), env });
    const { code } = await withTimeout(exited, 'the exit');
    assert.equal(code, 2);
    assert.deepEqual(stdout, []);
    assert.match(stderr.at(-1), /WEBAUTHN_ORIGINS has https:\/\/badexample\.org.*WEBAUTHN_RP_ID \(example\.org\)/);
  });
});

// This test stops the server that the tests above use, so it is not in their group, whose tests run at the same time.
describe('a stopped server', () => {
  test('logs JSON with LOG_FORMAT=json, and otherwise text, without colors if stderr is not a terminal', async () => {
    const text = new Server(server.dir, { ...server.env, LOG_FORMAT: 'text' }, server.port);
    await server.stop();
    await text.start();
    await text.stop();
    const stopped = server.child.stderr.map((line) => JSON.parse(line)).at(-1);
    assert.equal(stopped.level, 'INFO');
    assert.equal(stopped.fields.message, 'stopped');
    assert.match(text.child.stderr.at(-1), /^\S+ +INFO parlance\S*: stopped$/);
  });
});
