// Starts coturn, a TURN server, on loopback as a child process.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { freePort } from './servers.mjs';
import { withTimeout } from './support.mjs';

const SECRET = 'a secret of the tests that the TURN server shares';

const children = [];
const end = () => children.forEach((child) => child.kill());
after(end);
// The test runner may end this file without calling `after`.
process.on('exit', end);

/** Starts coturn. Resolves to the settings with which a node sends the address of this TURN server to clients. */
export async function startCoturn() {
  const port = await freePort();
  const options = [
    ...['-n', '--use-auth-secret', `--static-auth-secret=${SECRET}`, '--realm=parlance.test'],
    ...[`--listening-port=${port}`, '--listening-ip=127.0.0.1', '--relay-ip=127.0.0.1', '--allow-loopback-peers'],
    ...['--no-tls', '--no-dtls', '--no-cli', '--pidfile=/dev/null', '--verbose', '--log-file=stdout', '--simple-log'],
  ];
  const child = spawn('turnserver', options, { stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  // All output is read, because coturn blocks when its pipe is full.
  const lines = createInterface(child.stdout);
  const listening = new Promise((resolve, reject) => {
    lines.on('line', (line) => line.includes('UDP listener opened') && resolve());
    lines.on('close', () => reject(new Error('turnserver exited')));
    child.on('error', reject);
  });
  await withTimeout(listening, 'turnserver to listen');
  assert.equal(child.exitCode, null);
  const address = `127.0.0.1:${port}`;
  return { STUN_URLS: `stun:${address}`, TURN_URLS: `turn:${address}?transport=udp`, TURN_SECRET: SECRET };
}
