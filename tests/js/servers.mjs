// The server's side: the built binary as a child process, its directory, its database.

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
import { inTime } from './support.mjs';

const run = promisify(execFile);

/** A first start makes a database cluster. */
const START_MS = 60_000;
const STOP_MS = 30_000;

const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'parlance');
export const BINARY =
  process.env.PARLANCE_BIN || join(process.env.CARGO_TARGET_DIR || join(cache, 'target'), 'debug', 'parlance');

/** Hashes as cheap as the settings allow, and no wait for load balancers that are not there. */
const QUICK = { PASSWORD_MEMORY_KIB: '19456', PASSWORD_PASSES: '2', DRAIN_DELAY: '0' };

/** A server that was told nothing but its port: it runs in a new directory, with its own Postgres. */
export async function startUnconfigured(env = {}) {
  return startServer({ dir: await freshDirectory(), env });
}

/** Nodes over one new database and Redis, each with its further settings. */
export async function startNodes(...settings) {
  const missing = ['TEST_DATABASE_URL', 'TEST_REDIS_URL'].filter((name) => !process.env[name]);
  assert.deepEqual(missing, [], 'these come from scripts/services, which `npm test` calls');
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

/** One server at one address, which can be stopped and started again. */
export class Server {
  constructor(dir, env, port) {
    Object.assign(this, { dir, env, port });
    this.url = `http://127.0.0.1:${port}`;
    this.socketUrl = `ws://127.0.0.1:${port}/graphql`;
    servers.add(this);
  }

  async start() {
    const child = launch(['serve'], { dir: this.dir, env: { ...this.env, LISTEN_ADDR: `127.0.0.1:${this.port}` } });
    this.child = child;
    await inTime(
      Promise.race([
        child.seen(/is ready/),
        child.exited.then(({ code }) => assert.fail(`the server ended with ${code}: ${child.stderr.join('\n')}`)),
      ]),
      'the server to be ready',
      START_MS,
    );
  }

  /** Sends SIGTERM and asserts that the server leaves in order. */
  async stop() {
    this.signal('SIGTERM');
    const { code } = await inTime(this.child.exited, 'the server to end after SIGTERM', STOP_MS);
    assert.equal(code, 0, this.child.stderr.join('\n'));
  }

  /** It gets no chance to do anything. */
  async kill() {
    this.signal('SIGKILL');
    await inTime(this.child.exited, 'the server to end after SIGKILL');
  }

  signal(name) {
    this.child.process.kill(name);
  }

  /** What its log has that wakes an operator up. */
  get errors() {
    return this.child?.stderr.filter((line) => /panicked|ERROR/.test(line)) ?? [];
  }

  get running() {
    return Boolean(this.child) && !this.child.ended;
  }

  /** The pid in the private Postgres's own file, where it runs. */
  async postgresPid() {
    const file = await readFile(join(this.dir, '.parlance', 'postgres', 'postmaster.pid'), 'utf8').catch(() => '');
    return Number(file.split('\n')[0]) || undefined;
  }
}

/**
 * Starts the binary in a directory, with these settings and none of the caller's.
 * `exited` tells code and signal once all output has been read.
 */
export function launch(args, { dir, env = {} }) {
  const { PATH, HOME, TMPDIR, LANG } = process.env;
  const child = spawn(BINARY, args, {
    cwd: dir,
    env: { PATH, HOME, TMPDIR, LANG, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const launched = { process: child, ended: false, stdout: [], stderr: [] };
  const readers = { stdout: createInterface(child.stdout), stderr: createInterface(child.stderr) };
  for (const [name, reader] of Object.entries(readers)) reader.on('line', (line) => launched[name].push(line));
  /** Resolves once a line of the output fits. */
  launched.seen = (pattern) =>
    new Promise((resolve) => {
      const look = (line) => pattern.test(line) && resolve();
      launched.stdout.forEach(look);
      readers.stdout.on('line', look);
    });
  launched.exited = once(child, 'close').then(([code, signal]) => {
    launched.ended = true;
    return { code, signal };
  });
  return launched;
}

let lastPort = 20_000 + ((process.pid * 16) % 12_000);

/**
 * Below the ports that systems hand out by themselves, so that a server that is down for a moment
 * finds its port free again; test files, which are processes of their own, start at different ones.
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
  // Where the tests run as root, Postgres runs as somebody else, who must be able to come in.
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

/** Ends what the tests have started; a server that does not end well fails the file. */
after(async () => {
  const problems = [];
  const attempt = (work) => work.catch((error) => problems.push(error));
  await Promise.all(
    [...servers].map(async (server) => {
      if (server.running) await attempt(server.stop());
      if (server.errors.length > 0) problems.push(new Error(`a server's log has errors:\n${server.errors.join('\n')}`));
      endAtOnce(server, await server.postgresPid());
    }),
  );
  await Promise.all([...databases].map((name) => attempt(psql(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`))));
  await Promise.all([...directories].map((dir) => rm(dir, { recursive: true, force: true })));
  if (problems.length > 0) throw new AggregateError(problems, problems.map(String).join('\n'));
});

function endAtOnce(server, postgresPid) {
  if (server.running) server.signal('SIGKILL');
  if (postgresPid) {
    try {
      process.kill(postgresPid, 'SIGQUIT');
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }
}

/** Where the runner ends this file before its time; a server then stops its Postgres too. */
process.on('exit', () => servers.forEach((server) => server.running && server.signal('SIGTERM')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
