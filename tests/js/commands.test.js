// Tests of all commands except `serve`, with the private Postgres of a running server and of a stopped server.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launch, startUnconfigured } from './servers.mjs';
import { ask, Person, withTimeout } from './support.mjs';

test('export, seed, reindex and reset-cursors use the private Postgres of a running or stopped server', async () => {
  const server = await startUnconfigured();
  const alice = await Person.register(server, 'ada');
  const run = async (...args) => {
    const child = launch(args, { dir: server.dir });
    const { code } = await withTimeout(child.exited, args[0], 60_000);
    assert.equal(code, 0, child.stderr.join('\n'));
    return child.stdout.join('\n');
  };
  const exported = async () => JSON.parse(await run('export', alice.username)).user.id;

  const postgres = await server.postgresPid();
  assert.equal(await exported(), alice.id);
  assert.equal(await server.postgresPid(), postgres, 'the Postgres of a running server must keep running');
  assert.match(await run('seed', '--append', '--users', '3', '--messages', '5'), /3 users, .* 5 messages/);
  assert.equal(await alice.ask('{ viewer { id } }').then((data) => Boolean(data.viewer.id)), true);

  const found = async () => (await alice.ask('{ searchUsers(query: "ada") { nodes { id } } }')).searchUsers.nodes;
  assert.match(await run('reindex'), /The search index is rebuilt/);
  assert.equal((await found()).length, 1);

  await server.stop();
  assert.match(await run('reindex'), /The search index is rebuilt/);
  assert.equal(await exported(), alice.id);
  assert.match(await run('reset-cursors'), /earlier cursors are invalid/);
  assert.equal(await server.postgresPid(), undefined, 'the command must stop Postgres again');
});

test('invites can be created, listed and revoked while the server runs', async () => {
  const server = await startUnconfigured({ REGISTRATION: 'invite' });
  const run = async (...args) => {
    const child = launch(['invite', ...args], { dir: server.dir });
    const { code } = await withTimeout(child.exited, args[0], 60_000);
    return { code, text: child.stdout.join('\n').trim(), problem: child.stderr.join('\n') };
  };
  const register = (invite) =>
    ask(server, 'mutation ($input: RegisterInput!) { register(input: $input) { viewer { id } } }', {
      input: { username: `user${Math.random().toString(36).slice(2, 10)}`, password: 'correct horse battery staple', invite },
    });

  const { text: code } = await run('create', '--uses', '2', '--expires-in', '1', '--note', 'the team');
  assert.match(code, /^parlance_ri_[\w-]{24}$/);
  await register(code);
  const { text: list } = await run('list');
  assert.match(list, /1 of 2 .* UTC +the team/);
  assert.equal(list.includes(code), false);
  assert.deepEqual(await run('revoke', code).then(({ code, problem }) => [code, problem]), [0, '']);
  await assert.rejects(register(code), /invite code/);
  assert.match((await run('revoke', code)).problem, /the invite does not exist/);
  for (const args of [['--uses', '0'], ['--expires-in', '0']]) {
    assert.equal((await run('create', ...args)).code, 2);
  }
  await server.stop();
});

test('the factors of a user who has lost them can be removed while the server runs', async () => {
  const server = await startUnconfigured();
  const alice = await Person.register(server, 'ada');
  const run = async (user) => {
    const child = launch(['account', 'reset-factors', user], { dir: server.dir });
    const { code } = await withTimeout(child.exited, 'reset-factors', 60_000);
    return { code, text: child.stdout.join('\n'), problem: child.stderr.join('\n') };
  };
  assert.match((await run(alice.username)).text, /: no authenticator app, and no passkey\./);
  await alice.ask('mutation { setUpTotp { secret } }');
  // An app that is not in use is no second factor.
  assert.match((await run(alice.id)).text, /: no authenticator app, /);
  const { code, problem } = await run('nobody');
  assert.deepEqual([code, problem.includes('there is no user nobody')], [1, true]);
  await server.stop();
});
