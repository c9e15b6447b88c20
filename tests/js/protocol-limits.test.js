// Tests with raw messages of the WebSocket subprotocols: the older subprotocol, fresh tokens and limits.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, describe, test } from 'node:test';
import { startNodes } from './servers.mjs';
import { FORBIDDEN, NO_REQUESTS, pair, Person, RawSocket } from './support.mjs';

const VERSION = '{ serverInfo { version } }';
const INBOX = 'subscription { inbox { __typename } }';
const bearer = ({ token }) => ({ Authorization: `Bearer ${token}` });

let server, strict;
before(async () => {
  [server, strict] = await startNodes(
    {},
    {
      SOCKET_MAX_MESSAGE_BYTES: '2048',
      SOCKET_MAX_OPERATIONS: '2',
      SOCKET_OPERATIONS_PER_SECOND: '4',
      SOCKET_MAX_PER_USER: '1',
    },
  );
});

describe('graphql-transport-ws', { concurrency: true }, () => {
  for (const message of [
    '',
    'null',
    '["ping"]',
    '{"type":["ping"]}',
    '{"type":"ping"} trailing',
    { type: 'complete', id: '' },
    { type: 'subscribe', id: '', payload: { query: VERSION } },
    { type: 'start', id: '1', payload: { query: VERSION } },
    { type: 'connection_terminate' },
  ]) {
    test(`closes with 4400 on ${JSON.stringify(message)}`, async () => {
      const socket = await RawSocket.init(server);
      socket.send(message);
      await socket.assertCloses(4400, 'Invalid message');
    });
  }

  test('closes with 4401 on complete before the acknowledgement', async () => {
    const socket = await RawSocket.open(server);
    socket.send({ type: 'complete', id: '1' });
    await socket.assertCloses(4401);
  });

  test('ignores unknown members and accepts members in any order', async () => {
    const socket = await RawSocket.init(server);
    socket.send(`{"payload": {"trace": 1, "query": "${VERSION}", "variables": null}, "more": [], "id": "1", "type": "subscribe"}`);
    assert.equal((await socket.next()).type, 'next');
    assert.deepEqual(await socket.next(), { type: 'complete', id: '1' });
    socket.close();
  });

  test('executes the operation selected by operationName', async () => {
    const socket = await RawSocket.init(server);
    const query = 'query A { a: __typename } query B { b: __typename }';
    socket.send({ type: 'subscribe', id: '1', payload: { query, operationName: 'B' } });
    assert.deepEqual((await socket.next()).payload, { data: { b: 'Query' } });
    assert.equal((await socket.next()).type, 'complete');
    socket.send({ type: 'subscribe', id: '2', payload: { query, operationName: 'C' } });
    assert.equal((await socket.next()).type, 'error');
    socket.close();
  });

  test('does not echo complete, and sends nothing after it for the operation', async () => {
    const { alice, bob, conversation } = await pair(server);
    const socket = await RawSocket.init(server, bob.token);
    socket.subscribe('1', INBOX);
    assert.equal((await socket.next()).payload.data.inbox.__typename, 'CaughtUp');
    socket.send({ type: 'complete', id: '1' });
    socket.send({ type: 'complete', id: '1' });
    socket.send({ type: 'complete', id: 'never there' });
    await alice.send(conversation, 'unheard');
    // The next message must be the pong for this ping.
    socket.send({ type: 'ping', payload: { last: true } });
    assert.deepEqual(await socket.next(), { type: 'pong', payload: { last: true } });
    socket.close();
  });

  test('executes a known document by its hash', async () => {
    const socket = await RawSocket.init(server);
    const query = `query ByHash { serverInfo { maxPageSize } }`;
    const sha256Hash = createHash('sha256').update(query).digest('hex');
    const extensions = { persistedQuery: { version: 1, sha256Hash } };
    socket.send({ type: 'subscribe', id: '1', payload: { extensions } });
    const unknown = await socket.next();
    assert.equal(unknown.type, 'error');
    assert.equal(unknown.payload[0].extensions.code, 'PERSISTED_QUERY_NOT_FOUND');
    for (const payload of [{ query, extensions }, { extensions }]) {
      socket.send({ type: 'subscribe', id: '1', payload });
      assert.deepEqual((await socket.next()).payload, { data: { serverInfo: { maxPageSize: 100 } } });
      assert.equal((await socket.next()).type, 'complete');
    }
    socket.close();
  });

  test('uses the token in the headers of the upgrade if the payload has none', async () => {
    const alice = await Person.register(server, 'alice');
    const socket = await RawSocket.open(server, { headers: bearer(alice) });
    socket.send({ type: 'connection_init' });
    assert.equal((await socket.next()).type, 'connection_ack');
    socket.subscribe('1', '{ viewer { user { id } } }');
    assert.equal((await socket.next()).payload.data.viewer.user.id, alice.id);
    socket.close();
  });

  test('accepts a fresh token of the same session in a ping, and closes with 4403 for another session', async () => {
    const [alice, bob] = [await Person.register(server, 'alice'), await Person.register(server, 'bob')];
    const socket = await RawSocket.init(server, alice.token);
    await alice.refresh();
    socket.send({ type: 'ping', payload: bearer(alice) });
    assert.deepEqual(await socket.next(), { type: 'pong', payload: bearer(alice) });
    socket.send({ type: 'ping', payload: bearer(bob) });
    await socket.assertCloses(4403, FORBIDDEN);
  });
});

describe('the limits of a socket', { concurrency: true }, () => {
  const refused = ({ type, id, payload }) => [type, id, payload[0].extensions.code, payload[0].extensions.limit];

  test('a message above the size limit closes with 1009', async () => {
    const socket = await RawSocket.init(strict);
    socket.subscribe('1', `${VERSION} # ${'x'.repeat(3000)}`);
    await socket.assertCloses(1009, 'Message too big');
  });

  test('an operation above the limit is rejected, and the others continue', async () => {
    const alice = await Person.register(strict, 'alice');
    const socket = await RawSocket.init(strict, alice.token);
    for (const id of ['1', '2']) {
      socket.subscribe(id, INBOX);
      assert.equal((await socket.next()).type, 'next');
    }
    socket.subscribe('3', INBOX);
    assert.deepEqual(refused(await socket.next()), ['error', '3', 'RATE_LIMITED', 'SOCKET_MAX_OPERATIONS']);
    await socket.assertAlive();
    socket.close();
  });

  test('operations above the rate are rejected with retryAfter', async () => {
    const socket = await RawSocket.init(strict);
    // The rate allows a burst of four operations, and then one operation every 250 ms.
    let id = 0;
    let answer;
    do {
      id += 1;
      socket.subscribe(`${id}`, VERSION);
      answer = await socket.next();
      if (answer.type === 'next') assert.equal((await socket.next()).type, 'complete');
    } while (answer.type === 'next' && id < 200);
    assert.ok(id > 4);
    assert.deepEqual(refused(answer), ['error', `${id}`, 'RATE_LIMITED', 'SOCKET_OPERATIONS_PER_SECOND']);
    assert.equal(answer.payload[0].extensions.retryAfter, 1);
    socket.close();
  });

  test('a socket above the limit per user closes with 4410', async () => {
    const bob = await Person.register(strict, 'bob');
    const first = await RawSocket.init(strict, bob.token);
    const second = await RawSocket.open(strict);
    second.send({ type: 'connection_init', payload: bearer(bob) });
    await second.assertCloses(4410);
    await first.assertAlive();
    first.close();
  });
});

describe('the older graphql-ws', { concurrency: true }, () => {
  async function init(payload) {
    const socket = await RawSocket.open(server, { protocols: 'graphql-ws' });
    socket.send({ type: 'connection_init', payload });
    return socket;
  }

  async function acknowledged(person) {
    const socket = await init(person && bearer(person));
    assert.deepEqual(await socket.inbox.take(2), [{ type: 'connection_ack' }, { type: 'ka' }]);
    return socket;
  }

  test('executes start and sends data and complete', async () => {
    const socket = await acknowledged();
    socket.send({ type: 'start', id: '1', payload: { query: '{ __typename }' } });
    assert.deepEqual(await socket.next(), { type: 'data', id: '1', payload: { data: { __typename: 'Query' } } });
    assert.deepEqual(await socket.next(), { type: 'complete', id: '1' });
    socket.close();
  });

  test('sends an error as one object', async () => {
    const socket = await acknowledged();
    socket.send({ type: 'start', id: '1', payload: { query: '{ nonsense }' } });
    const { type, id, payload } = await socket.next();
    assert.deepEqual([type, id, payload.extensions.code], ['error', '1', 'GRAPHQL_VALIDATION_FAILED']);
    socket.close();
  });

  for (const [what, payload] of NO_REQUESTS) {
    test(`ends an operation with an error and stays open after the payload ${what}`, async () => {
      const socket = await acknowledged();
      socket.send(`{"type":"start","id":"wrong","payload":${payload}}`);
      const { type, id, payload: error } = await socket.next();
      assert.deepEqual([type, id, error.extensions.code], ['error', 'wrong', 'GRAPHQL_PARSE_FAILED']);
      socket.send({ type: 'start', id: 'next', payload: { query: VERSION } });
      assert.equal((await socket.next()).id, 'next');
      socket.close();
    });
  }

  test('stops an operation on stop', async () => {
    const { alice, bob, conversation } = await pair(server);
    const socket = await acknowledged(bob);
    socket.send({ type: 'start', id: '1', payload: { query: INBOX } });
    assert.equal((await socket.next()).payload.data.inbox.__typename, 'CaughtUp');
    socket.send({ type: 'stop', id: '1' });
    await alice.send(conversation, 'unheard');
    socket.send({ type: 'start', id: '2', payload: { query: '{ __typename }' } });
    assert.equal((await socket.next()).id, '2');
    socket.close();
  });

  test('sends connection_error before it closes with 4403', async () => {
    const socket = await init({ Authorization: 'Bearer nonsense' });
    assert.deepEqual(await socket.next(), { type: 'connection_error', payload: { message: FORBIDDEN } });
    await socket.assertCloses(4403);
  });

  test('closes on connection_terminate', async () => {
    const socket = await acknowledged();
    socket.send({ type: 'connection_terminate' });
    await socket.closed;
  });

  for (const type of ['subscribe', 'ping', 'complete']) {
    test(`closes with 4400 on ${type}, which is not part of it`, async () => {
      const socket = await acknowledged();
      socket.send({ type, id: '1', payload: { query: VERSION } });
      await socket.assertCloses(4400);
    });
  }

  for (const protocols of [
    ['graphql-ws', 'graphql-transport-ws'],
    ['graphql-transport-ws', 'graphql-ws'],
  ]) {
    test(`is used only if the server chooses it from ${protocols}`, async () => {
      const socket = await RawSocket.open(server, { protocols });
      const older = socket.socket.protocol === 'graphql-ws';
      socket.send({ type: 'connection_init' });
      await socket.inbox.take(older ? 2 : 1);
      socket.send({ type: older ? 'start' : 'subscribe', id: '1', payload: { query: VERSION } });
      assert.equal((await socket.next()).type, older ? 'data' : 'next');
      socket.close();
    });
  }
});
