// Tests of TLS to Postgres and Redis, with good and wrong certificates, and of connection poolers.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { freshDirectory, launch, startNodes, startServer } from './servers.mjs';
import { ask, listen, pair, withTimeout } from './support.mjs';
import { makeCa, makeCertificate, makeDirectory, startPgBouncer, startPostgres, startRedis } from './tls.mjs';

const run = promisify(execFile);

const COMMAND_TIMEOUT_MS = 60_000;

let ca, otherCa, server, elsewhere, client, stranger, malformed;
before(async () => {
  const dir = await makeDirectory();
  [ca, otherCa] = [await makeCa(dir, 'ca'), await makeCa(dir, 'other-ca')];
  server = await makeCertificate(ca, 'server', 'DNS:localhost', 'IP:127.0.0.1');
  elsewhere = await makeCertificate(ca, 'elsewhere', 'DNS:elsewhere.example.org');
  client = await makeCertificate(ca, 'certified');
  stranger = await makeCertificate(otherCa, 'stranger');
  malformed = join(dir, 'malformed.pem');
  await writeFile(malformed, '-----BEGIN CERTIFICATE-----\nMIIB\n');
});

/** Runs a command of the binary. Resolves to its exit code and the lines of its output. */
async function parlance(args, env) {
  const child = launch(args, { dir: await freshDirectory(), env });
  const { code } = await withTimeout(child.exited, `parlance ${args[0]}`, COMMAND_TIMEOUT_MS);
  return { code, stdout: child.stdout, stderr: child.stderr };
}

async function succeed(args, url) {
  const { code, stdout, stderr } = await parlance(args, { DATABASE_URL: url });
  assert.equal(code, 0, stderr.join('\n'));
  return stdout.join('\n');
}

/** Runs a command, which must fail, and returns the only line that it prints. */
async function refusal(url, args = ['migrate']) {
  const { code, stdout, stderr } = await parlance(args, { DATABASE_URL: url });
  assert.deepEqual([code, stdout, stderr.length], [1, [], 1], stderr.join('\n'));
  assert.match(stderr[0], /^parlance: DATABASE_URL: /);
  return stderr[0];
}

const query = (parameters) => new URLSearchParams(parameters).toString();
const identity = ({ certificate, key }) => ({ sslcert: certificate, sslkey: key });
const wrongCa = () => ({ sslrootcert: otherCa.certificate });
const verified = () => ({ sslmode: 'verify-full', sslrootcert: ca.certificate });

describe('Postgres over TLS', () => {
  let port;
  const url = (parameters, { user = 'chat', host = '127.0.0.1' } = {}) =>
    `postgres://${user}@${host}:${port}/chat?${query(parameters)}`;

  before(async () => {
    port = await startPostgres(ca, server);
    const admin = `postgres://postgres@127.0.0.1:${port}/postgres?sslmode=require`;
    for (const statement of [
      'CREATE ROLE chat SUPERUSER LOGIN',
      'CREATE ROLE certified SUPERUSER LOGIN',
      'CREATE DATABASE chat OWNER chat',
    ]) {
      await run('psql', ['--no-psqlrc', '--quiet', '--command', statement, admin]);
    }
    await succeed(['migrate'], url(verified()));
  });

  test('serves the server and every command with sslmode=verify-full', async () => {
    const DATABASE_URL = url(verified());
    const seeded = await succeed(['seed', '--users', '5', '--messages', '20'], DATABASE_URL);
    const [, username] = /Sign in as (\S+)/.exec(seeded);
    assert.equal(JSON.parse(await succeed(['export', username], DATABASE_URL)).user.username, username);
    assert.match(await succeed(['reindex'], DATABASE_URL), /rebuilt/);
    const node = await startServer({ dir: await freshDirectory(), env: { DATABASE_URL, DRAIN_DELAY: '0' } });
    assert.ok((await ask(node, '{ serverInfo { version } }')).serverInfo.version);
    await node.stop();
  });

  for (const [what, parameters, options] of [
    [
      'sslmode=verify-ca and another name',
      () => ({ ...verified(), sslmode: 'verify-ca', hostaddr: '127.0.0.1' }),
      { host: 'db.example.org' },
    ],
    ['sslmode=require', () => ({ sslmode: 'require' })],
    ['sslmode=require and the CA', () => ({ ...verified(), sslmode: 'require' })],
    ['sslmode=prefer', () => ({ sslmode: 'prefer' })],
    ['no parameter', () => ({})],
    ['a client certificate', () => ({ ...verified(), ...identity(client) }), { user: 'certified' }],
  ]) {
    test(`accepts ${what}`, async () => {
      assert.match(await succeed(['migrate'], url(parameters(), options)), /up to date/);
    });
  }

  for (const [what, parameters, reason, options] of [
    ['a certificate of another CA', () => ({ ...verified(), ...wrongCa() }), /no trusted CA .* set sslrootcert/],
    [
      'a certificate of another CA with sslmode=require',
      () => ({ sslmode: 'require', ...wrongCa() }),
      /no trusted CA/,
    ],
    [
      'a certificate for another name',
      () => ({ ...verified(), hostaddr: '127.0.0.1' }),
      /valid for localhost, 127\.0\.0\.1, but not for db\.example\.org/,
      { host: 'db.example.org' },
    ],
    ['sslmode=disable if the server requires TLS', () => ({ sslmode: 'disable' }), /set sslmode=verify-full/],
    [
      'a missing client certificate',
      verified,
      /requires a valid client certificate: set sslcert/,
      { user: 'certified' },
    ],
    [
      'a client certificate of another CA',
      () => ({ ...verified(), ...identity(stranger) }),
      /does not accept the client certificate of sslcert/,
      { user: 'certified' },
    ],
    [
      'a key of another certificate',
      () => ({ ...verified(), sslcert: client.certificate, sslkey: stranger.key }),
      /is not the private key/,
    ],
    [
      'a missing file',
      () => ({ ...verified(), sslrootcert: '/nonexistent/ca.pem' }),
      /sslrootcert: \/nonexistent\/ca\.pem cannot be read/,
    ],
    ['a malformed file', () => ({ ...verified(), sslrootcert: malformed }), /malformed\.pem is malformed/],
    [
      'a file without a certificate',
      () => ({ ...verified(), sslrootcert: client.key }),
      /has no certificate in PEM format/,
    ],
  ]) {
    test(`refuses ${what} in one line`, async () => {
      assert.match(await refusal(url(parameters(), options)), reason);
    });
  }

  test('is refused at the start of a server in one line', async () => {
    const env = { LISTEN_ADDR: '127.0.0.1:0', DATABASE_URL: url({ ...verified(), ...wrongCa() }) };
    const { code, stderr } = await parlance(['serve'], env);
    assert.equal(code, 1);
    assert.match(stderr.at(-1), /^parlance: DATABASE_URL: .*no trusted CA/);
  });

  test('is refused with sslmode=require if the server does not offer it', async () => {
    assert.match(await refusal(`${process.env.TEST_DATABASE_URL}?sslmode=require`), /does not offer TLS/);
  });

  describe('through PgBouncer', () => {
    const through = (bouncer) => `postgres://chat@127.0.0.1:${bouncer}/chat?${query(verified())}`;
    const pooler = (mode) => startPgBouncer(mode, { postgresPort: port, user: 'chat', server });

    test('works in session mode', async () => {
      const DATABASE_URL = through(await pooler('session'));
      assert.match(await succeed(['migrate'], DATABASE_URL), /up to date/);
      assert.match(await succeed(['invite', 'list'], DATABASE_URL), /^ID +USES/);
      const node = await startServer({ dir: await freshDirectory(), env: { DATABASE_URL, DRAIN_DELAY: '0' } });
      await node.stop();
    });

    for (const mode of ['transaction', 'statement']) {
      test(`is refused in ${mode} mode`, async () => {
        const DATABASE_URL = through(await pooler(mode));
        for (const command of [
          ['migrate'],
          ['seed', '--users', '5', '--messages', '20', '--append'],
          ['invite', 'list'],
          ['export', 'ada'],
          ['reindex'],
          ['account', 'reset-factors', 'ada'],
          ['reset-cursors'],
        ]) {
          assert.match(await refusal(DATABASE_URL, command), /connection pooler .* session mode/, command[0]);
        }
        const { code, stderr } = await parlance(['serve'], { LISTEN_ADDR: '127.0.0.1:0', DATABASE_URL });
        assert.equal(code, 1);
        assert.match(stderr.at(-1), /^parlance: DATABASE_URL: a connection pooler /);
      });
    }
  });
});

describe('Redis over TLS', () => {
  let port, nodes;
  const url = (parameters, { scheme = 'rediss', to = port } = {}) =>
    `${scheme}://127.0.0.1:${to}?${query(parameters)}`;
  const good = () => ({ sslrootcert: ca.certificate, ...identity(client) });

  before(async () => {
    port = await startRedis(ca, server, { clientCertificates: true });
    const settings = { REDIS_URL: url(good()) };
    nodes = await startNodes(settings, settings);
  });

  test('passes events between two nodes', async () => {
    const [a, b] = nodes;
    const { alice, bob, conversation } = await pair(a);
    const { inbox } = listen(bob, { url: b.socketUrl });
    await inbox.until((event) => event.__typename === 'CaughtUp');
    // Typing is not stored, so it reaches the other node only through Redis.
    await alice.ask(
      `mutation ($input: SetTypingInput!) { setTyping(input: $input) { conversationId } }`,
      { input: { conversationId: conversation, typing: true } },
    );
    await inbox.until((event) => event.__typename === 'TypingChanged');
    await alice.send(conversation, 'over TLS');
    await inbox.until((event) => event.message?.body === 'over TLS');
  });

  for (const [what, parameters, reason, options] of [
    ['a certificate of another CA', () => ({ ...good(), ...wrongCa() }), /no trusted CA .* set sslrootcert/],
    ['a missing client certificate', () => ({ sslrootcert: ca.certificate }), /requires a client certificate/],
    [
      'a client certificate of another CA',
      () => ({ ...good(), ...identity(stranger) }),
      /does not accept the client certificate/,
    ],
    [
      'a missing file',
      () => ({ ...good(), sslkey: '/nonexistent/client.key' }),
      /sslkey: \/nonexistent\/client\.key cannot be read/,
    ],
    ['redis:// if the server requires TLS', () => ({}), /begins with rediss:/, { scheme: 'redis' }],
  ]) {
    test(`refuses ${what} in one line`, async () => {
      assert.match(await startError(url(parameters(), options)), reason);
    });
  }

  test('refuses a certificate for another name in one line', async () => {
    const to = await startRedis(ca, elsewhere, { clientCertificates: false });
    const line = await startError(url({ sslrootcert: ca.certificate }, { to }));
    assert.match(line, /valid for elsewhere\.example\.org, but not for 127\.0\.0\.1/);
  });

  /** Starts a server with this REDIS_URL, which must fail. Returns the last line that it prints. */
  async function startError(REDIS_URL) {
    const { DATABASE_URL } = nodes[0].env;
    const { code, stderr } = await parlance(['serve'], { LISTEN_ADDR: '127.0.0.1:0', DATABASE_URL, REDIS_URL });
    assert.equal(code, 1);
    assert.match(stderr.at(-1), /^parlance: REDIS_URL: no connection to Redis: /);
    return stderr.at(-1);
  }
});
