// Starts the built binary as a child process, with a new directory and database.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { promisify } from 'node:util';
import { withTimeout } from './support.mjs';

const run = promisify(execFile);

/** Maximum time of a start. Long, because the first start creates a database cluster. */
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;

const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'parlance');
export const BINARY =
  process.env.PARLANCE_BIN || join(process.env.CARGO_TARGET_DIR || join(cache, 'target'), 'debug', 'parlance');

/** Settings for fast tests: the cheapest allowed password hashes, and no DRAIN_DELAY, as there is no load balancer. */
const QUICK = { PASSWORD_MEMORY_KIB: '19456', PASSWORD_PASSES: '2', DRAIN_DELAY: '0' };

/** Starts a server with default settings in a new directory. The server runs a private Postgres. */
export async function startUnconfigured(env = {}) {
  return startServer({ dir: await freshDirectory(), env });
}

/** Starts one node for each object of settings. All nodes share a new database, Redis and the JWT secret. */
export async function startNodes(...settings) {
  const missing = ['TEST_DATABASE_URL', 'TEST_REDIS_URL'].filter((name) => !process.env[name]);
  assert.deepEqual(missing, [], 'scripts/services, which `npm test` calls, sets these variables');
  const name = `parlance_js_${process.pid}_${databases.size}`;
  databases.add(name);
  const shared = {
    ...QUICK,
    DATABASE_URL: await makeDatabase(name),
    REDIS_URL: process.env.TEST_REDIS_URL,
    REDIS_PREFIX: name,
    JWT_SECRET: 'a secret of the tests that all the nodes share',
  };
  return Promise.all(
    settings.map(async (own) => startServer({ dir: await freshDirectory(), env: { ...shared, ...own } })),
  );
}

export async function startServer({ dir, env = {}, port }) {
  const server = new Server(dir, env, port ?? (await freePort()));
  await server.start();
  return server;
}

/** A server that can be stopped and started again at the same address. */
export class Server {
  constructor(dir, env, port) {
    Object.assign(this, { dir, env, port });
    this.url = `http://127.0.0.1:${port}`;
    this.socketUrl = `ws://127.0.0.1:${port}/graphql`;
    servers.add(this);
  }

  async start() {
    // SSL_CERT_FILE is read by the TLS library, so it is no setting and has no flag.
    const { SSL_CERT_FILE, ...settings } = { ...this.env, LISTEN_ADDR: `127.0.0.1:${this.port}` };
    // Uses flags, because hidden settings, which tests change, have no environment variables.
    const flags = Object.entries(settings).map(([name, value]) => `${flagOf(name)}=${value}`);
    const child = launch(['serve', ...flags], { dir: this.dir, env: SSL_CERT_FILE ? { SSL_CERT_FILE } : {} });
    this.child = child;
    await withTimeout(
      Promise.race([
        child.seen(/is ready/),
        child.exited.then(({ code }) => assert.fail(`the server ended with ${code}: ${child.stderr.join('\n')}`)),
      ]),
      'the server to be ready',
      START_TIMEOUT_MS,
    );
  }

  /** Sends SIGTERM and asserts that the server exits with code 0. */
  async stop() {
    this.signal('SIGTERM');
    const { code } = await withTimeout(this.child.exited, 'the server to end after SIGTERM', STOP_TIMEOUT_MS);
    assert.equal(code, 0, this.child.stderr.join('\n'));
  }

  /** Sends SIGKILL. */
  async kill() {
    this.signal('SIGKILL');
    await withTimeout(this.child.exited, 'the server to end after SIGKILL');
  }

  signal(name) {
    this.child.process.kill(name);
  }

  /** The lines of the log that contain errors or panics. */
  get errors() {
    return this.child?.stderr.filter((line) => /panicked|ERROR/.test(line)) ?? [];
  }

  get running() {
    return Boolean(this.child) && !this.child.ended;
  }

  /** Reads the pid in the pid file of the private Postgres. Resolves to undefined if Postgres does not run. */
  async postgresPid() {
    const file = await readFile(join(this.dir, '.parlance', 'postgres', 'postmaster.pid'), 'utf8').catch(() => '');
    return Number(file.split('\n')[0]) || undefined;
  }
}

/** Returns the flag of a setting, such as `--listen-addr` for LISTEN_ADDR. */
export const flagOf = (name) => `--${name.toLowerCase().replaceAll('_', '-')}`;

/**
 * Starts the binary in a directory with these settings. Does not pass on settings from the environment.
 * The returned `exited` resolves to the exit code and signal after all output is read.
 */
export function launch(args, { dir, env = {} }) {
  const { PATH, HOME, TMPDIR, LANG } = process.env;
  const child = spawn(BINARY, args, {
    cwd: dir,
    // Rate limits are off, because all users of a test share one address.
    env: { PATH, HOME, TMPDIR, LANG, RATE_LIMITS: 'off', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const launched = { process: child, ended: false, stdout: [], stderr: [] };
  const readers = { stdout: createInterface(child.stdout), stderr: createInterface(child.stderr) };
  for (const [name, reader] of Object.entries(readers)) reader.on('line', (line) => launched[name].push(line));
  /** Returns a promise that resolves when a line of stdout matches. */
  launched.seen = (pattern) =>
    new Promise((resolve) => {
      const check = (line) => pattern.test(line) && resolve();
      launched.stdout.forEach(check);
      readers.stdout.on('line', check);
    });
  launched.exited = once(child, 'close').then(([code, signal]) => {
    launched.ended = true;
    return { code, signal };
  });
  return launched;
}

let lastPort = 20_000 + ((process.pid * 16) % 12_000);

/**
 * Returns a free port below the ephemeral ports of the system, so that no other program gets the port of a server while
 * the server restarts. Each test file is a separate process and begins its search at a different port.
 */
export async function freePort() {
  for (;;) {
    lastPort += 1;
    const probe = createServer();
    try {
      await once(probe.listen(lastPort, '127.0.0.1'), 'listening');
      return lastPort;
    } catch (error) {
      if (error.code !== 'EADDRINUSE') throw error;
    } finally {
      probe.close();
    }
  }
}

export async function freshDirectory() {
  const dir = await mkdtemp(join(tmpdir(), 'parlance-js-'));
  directories.add(dir);
  // If the tests run as root, Postgres runs as another user, who needs access to the directory.
  await chmod(dir, 0o755);
  return dir;
}

async function makeDatabase(name) {
  const url = new URL(process.env.TEST_DATABASE_URL);
  url.pathname = `/${name}`;
  await psql(`CREATE DATABASE ${name}`);
  await run(BINARY, ['migrate'], { env: { DATABASE_URL: url.href }, cwd: await freshDirectory() });
  return url.href;
}

async function psql(statement) {
  await run('psql', ['--no-psqlrc', '--quiet', '--command', statement, process.env.TEST_DATABASE_URL]);
}

const servers = new Set();
const directories = new Set();
const databases = new Set();

/** Stops all servers and deletes databases and directories. Fails if a server does not stop or has logged errors. */
after(async () => {
  const problems = [];
  const attempt = (work) => work.catch((error) => problems.push(error));
  await Promise.all(
    [...servers].map(async (server) => {
      if (server.running) await attempt(server.stop());
      if (server.errors.length > 0) problems.push(new Error(`a server's log has errors:\n${server.errors.join('\n')}`));
      killIfRunning(server, await server.postgresPid());
    }),
  );
  await Promise.all([...databases].map((name) => attempt(psql(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`))));
  await Promise.all([...directories].map((dir) => rm(dir, { recursive: true, force: true })));
  if (problems.length > 0) throw new AggregateError(problems, problems.map(String).join('\n'));
});

function killIfRunning(server, postgresPid) {
  if (server.running) server.signal('SIGKILL');
  if (postgresPid) {
    try {
      process.kill(postgresPid, 'SIGQUIT');
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }
}

// The test runner may end this file without calling `after`. On SIGTERM a server also stops its private Postgres.
process.on('exit', () => servers.forEach((server) => server.running && server.signal('SIGTERM')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
