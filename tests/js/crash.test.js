// A server with a private Postgres gets SIGKILL. After a restart all acknowledged messages are stored.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { startUnconfigured } from './servers.mjs';
import { assertNoDuplicates, listen, pair, upTo, withTimeout } from './support.mjs';

const COUNT = 60;

test('a server that is killed during sends loses no acknowledged message', async () => {
  const server = await startUnconfigured();
  const { alice, bob, conversation } = await pair(server);
  const listener = listen(bob);
  await listener.inbox.next();
  const postgres = await server.postgresPid();

  // The test sends eight messages at a time. After the restart it retries the messages without a response.
  const todo = upTo(COUNT).map((n) => ({ body: `message ${n}`, clientId: `client-${n}` }));
  const unanswered = [];
  const acknowledged = new Map();
  const sender = async () => {
    for (let next = todo.shift(); next; next = todo.shift()) {
      try {
        acknowledged.set(next.body, await alice.send(conversation, next.body, { clientId: next.clientId }));
      } catch {
        unanswered.push(next);
      }
    }
  };
  const sending = Promise.all(Array.from({ length: 8 }, sender));
  await listener.inbox.take(COUNT / 3);
  await server.kill();
  await sending;
  assert.ok(acknowledged.size >= COUNT / 3 - 8 && acknowledged.size < COUNT, `${acknowledged.size} acknowledged`);
  assert.ok((await processes()).some(({ pid }) => pid === postgres), 'Postgres must keep running');

  await server.start();
  assert.equal(await server.postgresPid(), postgres, 'the server must use the running Postgres again');
  await withTimeout(server.child.seen(/picked up again/), 'the message about the running Postgres');
  const stored = await readAll(alice, conversation);
  for (const message of acknowledged.values()) assert.deepEqual(stored.get(message.id), message);

  for (const { body, clientId } of unanswered) {
    acknowledged.set(body, await alice.send(conversation, body, { clientId }));
  }
  await listener.inbox.until((event) => event.message?.number === COUNT);
  const heard = listener.inbox.messages();
  assert.deepEqual(heard.map((message) => message.number), upTo(COUNT));
  assert.deepEqual(
    new Map(heard.map(({ id, number, body }) => [body, { id, number, body }]).sort(byNumber)),
    new Map([...acknowledged].sort(byNumber)),
    'each message must be delivered once, as it was acknowledged',
  );
  assertNoDuplicates(listener.inbox);

  const family = (await processes()).filter(({ pid, parent }) => pid === postgres || parent === postgres);
  assert.ok(family.length > 1);
  await server.stop();
  const pids = family.map(({ pid }) => pid);
  const left = (await processes()).filter(({ pid, command }) => pids.includes(pid) || command.includes(server.dir));
  assert.deepEqual(left, [], 'Postgres must stop with the server');
});

const byNumber = ([, a], [, b]) => a.number - b.number;

async function readAll(person, conversation) {
  const { node } = await person.ask(
    `query ($id: ID!) {
      node(id: $id) { ... on Conversation { messages(last: ${COUNT}) { nodes { id number body } } } }
    }`,
    { id: conversation },
  );
  return new Map(node.messages.nodes.map((message) => [message.id, message]));
}

/** Lists all processes of the machine except zombies. */
async function processes() {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=,stat=,args=']);
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().match(/^(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/))
    .map(([, pid, parent, state, command]) => ({ pid: Number(pid), parent: Number(parent), state, command }))
    .filter(({ state }) => !state.startsWith('Z'));
}
