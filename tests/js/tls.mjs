// Certificates, and a Postgres, a Redis and a PgBouncer that use them, as child processes on loopback.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { appendFile, chmod, chown, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from './servers.mjs';
import { withTimeout } from './support.mjs';

const run = promisify(execFile);

const START_TIMEOUT_MS = 30_000;
const POLL_MS = 50;
/** Options of openssl for a new key, which needs no passphrase. */
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

const stops = [];
after(async () => {
  for (const stop of stops.reverse()) await stop();
});

/** Makes a directory that is deleted after everything that is started later has stopped. */
export async function makeDirectory() {
  const dir = await mkdtemp(join(tmpdir(), 'parlance-tls-'));
  // Postgres and PgBouncer may run as another user.
  await chmod(dir, 0o755);
  stops.push(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** Makes a CA with this name. */
export async function makeCa(dir, name) {
  const [certificate, key] = [join(dir, `${name}.pem`), join(dir, `${name}.key`)];
  const names = ['-subj', `/CN=${name}`, '-keyout', key, '-out', certificate];
  await run('openssl', ['req', '-x509', ...NEW_KEY, '-days', '2', ...names]);
  return { dir, certificate, key };
}

let serial = 1;

/** Makes a certificate that the CA signs. `names` are its subject alternative names, such as `DNS:localhost`. */
export async function makeCertificate(ca, name, ...names) {
  const path = (extension) => join(ca.dir, `${name}.${extension}`);
  const [certificate, key, request, extensions] = ['pem', 'key', 'csr', 'ext'].map(path);
  await run('openssl', ['req', '-new', ...NEW_KEY, '-subj', `/CN=${name}`, '-keyout', key, '-out', request]);
  const alternatives = names.length > 0 ? `subjectAltName=${names.join(',')}\n` : '';
  await writeFile(extensions, `basicConstraints=critical,CA:FALSE\n${alternatives}`);
  const signer = ['-CA', ca.certificate, '-CAkey', ca.key, '-set_serial', String((serial += 1))];
  const output = ['-days', '2', '-extfile', extensions, '-out', certificate];
  await run('openssl', ['x509', '-req', '-in', request, ...signer, ...output]);
  return { certificate, key };
}

/**
 * Options of a child process that run it as a user who is not root, because Postgres and PgBouncer refuse to run as
 * root. Empty if the current user is not root.
 */
async function unprivileged() {
  if (process.getuid() !== 0) return {};
  for (const name of ['postgres', 'nobody']) {
    const ids = await Promise.all(['-u', '-g'].map((flag) => run('id', [flag, name]))).catch(() => undefined);
    if (ids) {
      const [uid, gid] = ids.map(({ stdout }) => Number(stdout));
      return { uid, gid };
    }
  }
  return assert.fail('Postgres needs a user that is not root');
}

async function own(user, path) {
  if (user.uid !== undefined) await chown(path, user.uid, user.gid);
}

/** Copies a certificate and its key into a directory of the user, who must own the key. */
async function give(user, { certificate, key }, dir) {
  const copies = { certificate: join(dir, 'server.pem'), key: join(dir, 'server.key') };
  await copyFile(certificate, copies.certificate);
  await copyFile(key, copies.key);
  await chmod(copies.key, 0o600);
  for (const path of Object.values(copies)) await own(user, path);
  return copies;
}

/**
 * Starts a Postgres that accepts only connections over TLS, for any user. The user `certified` also needs a client
 * certificate of the CA with this name. Resolves to its port.
 */
export async function startPostgres(ca, server) {
  const user = await unprivileged();
  const dir = await makeDirectory();
  await own(user, dir);
  const data = join(dir, 'data');
  const runInDir = (program, ...args) => run(program, args, { cwd: dir, ...user });
  const locale = process.platform === 'darwin' ? 'en_US.UTF-8' : 'C.UTF-8';
  const encoding = ['-E', 'UTF8', '--locale', locale];
  await runInDir('initdb', '-D', data, '-U', 'postgres', '-A', 'trust', ...encoding, '--no-sync');
  const files = await give(user, server, dir);
  const authority = join(dir, 'ca.pem');
  await copyFile(ca.certificate, authority);
  const port = await freePort();
  const settings = {
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    fsync: 'off',
    ssl: 'on',
    ssl_cert_file: files.certificate,
    ssl_key_file: files.key,
    ssl_ca_file: authority,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value}'\n`);
  await appendFile(join(data, 'postgresql.conf'), lines.join(''));
  const access = ['hostssl all certified 127.0.0.1/32 cert', 'hostssl all all 127.0.0.1/32 trust'];
  await writeFile(join(data, 'pg_hba.conf'), `${access.join('\n')}\n`);
  // The output goes to a file, because Postgres would keep the pipe of pg_ctl open.
  await runInDir('pg_ctl', 'start', '--silent', '--wait', '-D', data, '-l', join(dir, 'log'));
  stops.push(() => runInDir('pg_ctl', 'stop', '--silent', '-D', data, '-m', 'immediate'));
  return port;
}

/** Starts a PgBouncer in front of a Postgres with TLS, and TLS itself. It logs in as `user`. Resolves to its port. */
export async function startPgBouncer(mode, { postgresPort, user: role, server }) {
  const user = await unprivileged();
  const dir = await makeDirectory();
  await own(user, dir);
  const files = await give(user, server, dir);
  const port = await freePort();
  const settings = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: dir,
    auth_type: 'any',
    pool_mode: mode,
    server_tls_sslmode: 'require',
    client_tls_sslmode: 'require',
    client_tls_cert_file: files.certificate,
    client_tls_key_file: files.key,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
  const databases = ['[databases]', `* = host=127.0.0.1 port=${postgresPort} user=${role}`, '[pgbouncer]'];
  const file = join(dir, 'pgbouncer.ini');
  await writeFile(file, `${[...databases, ...lines].join('\n')}\n`);
  const programs = ['/usr/sbin/pgbouncer', '/opt/homebrew/bin/pgbouncer', '/usr/local/bin/pgbouncer'];
  const program = programs.find(existsSync) ?? 'pgbouncer';
  await start([program, file], { cwd: dir, ...user }, port);
  return port;
}

/** Starts a Redis that accepts only connections over TLS. Resolves to its port. */
export async function startRedis(ca, server, { clientCertificates }) {
  const dir = await makeDirectory();
  const port = await freePort();
  const files = ['--tls-cert-file', server.certificate, '--tls-key-file', server.key];
  const clients = ['--tls-ca-cert-file', ca.certificate, '--tls-auth-clients', clientCertificates ? 'yes' : 'no'];
  const listening = ['--bind', '127.0.0.1', '--port', '0', '--tls-port', String(port)];
  const command = ['redis-server', ...listening, ...files, ...clients, '--save', '', '--appendonly', 'no'];
  await start(command, { cwd: dir }, port);
  return port;
}

/** Starts a program and waits until it accepts connections. */
async function start([program, ...args], options, port) {
  const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => output.push(String(data)));
  const ended = once(child, 'close');
  stops.push(async () => {
    child.kill();
    await withTimeout(ended, `${program} to end`);
  });
  await withTimeout(accepts(child, port), `${program} to start`, START_TIMEOUT_MS);
  assert.equal(child.exitCode, null, `${program} ended: ${output.join('')}`);
}

/** Resolves when the port accepts connections, or when the child process has ended. */
async function accepts(child, port) {
  while (child.exitCode === null && child.signalCode === null) {
    const socket = connect(port, '127.0.0.1');
    const connected = await once(socket, 'connect').then(() => true, () => false);
    socket.destroy();
    if (connected) return;
    await later(POLL_MS);
  }
}
