// The commands beside the server, on the private Postgres of a server that runs, and of one that has ended.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launch, startUnconfigured } from './servers.mjs';
import { inTime, Person } from './support.mjs';

test('export and seed find the private Postgres, whether its server runs or not', async () => {
  const server = await startUnconfigured();
  const alice = await Person.register(server, 'ada');
  const run = async (...args) => {
    const child = launch(args, { dir: server.dir });
    const { code } = await inTime(child.exited, args[0], 60_000);
    assert.equal(code, 0, child.stderr.join('\n'));
    return child.stdout.join('\n');
  };
  const exported = async () => JSON.parse(await run('export', alice.username)).user.id;

  const postgres = await server.postgresPid();
  assert.equal(await exported(), alice.id);
  assert.equal(await server.postgresPid(), postgres, 'it is left to its server');
  assert.match(await run('seed', '--append', '--users', '3', '--messages', '5'), /3 users, .* 5 messages/);
  assert.equal(await alice.ask('{ viewer { id } }').then((data) => Boolean(data.viewer.id)), true);

  await server.stop();
  assert.equal(await exported(), alice.id);
  assert.match(await run('reset-cursors'), /void/);
  assert.equal(await server.postgresPid(), undefined, 'it is stopped again');
});
