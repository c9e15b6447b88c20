// Tests with raw messages of graphql-transport-ws, which PROTOCOL.md of the npm package graphql-ws specifies.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { before, describe, test } from 'node:test';
import { startNodes } from './servers.mjs';
import { FORBIDDEN, NO_REQUESTS, pair, Person, RawSocket, UNAUTHORIZED, withTimeout } from './support.mjs';

const MESSAGES = 'subscription { messageAdded { message { number body } } }';
const VERSION = '{ serverInfo { version } }';

let server, impatient;
before(async () => {
  [server, impatient] = await startNodes(
    {},
    { SOCKET_INIT_TIMEOUT: '5', SOCKET_PING_INTERVAL: '1', SOCKET_PONG_TIMEOUT: '5' },
  );
});

describe('before the connection is acknowledged', { concurrency: true }, () => {
  test('subscribe closes with 4401', async () => {
    const socket = await RawSocket.open(server);
    socket.subscribe('1', VERSION);
    await socket.assertCloses(4401, UNAUTHORIZED);
  });

  test('a missing connection_init closes with 4408 despite other messages', async () => {
    const begin = Date.now();
    const [silent, talking] = [await RawSocket.open(impatient), await RawSocket.open(impatient)];
    await talking.assertAlive();
    await silent.assertCloses(4408, 'Connection initialisation timeout');
    await talking.assertCloses(4408, 'Connection initialisation timeout');
    assert.ok(Date.now() - begin >= 5000);
  });

  for (const [what, value] of [
    ['an invalid token', 'Bearer nonsense'],
    ['a scheme other than Bearer', 'Basic YWxpY2U6c2VjcmV0'],
    ['a number', 42],
  ]) {
    test(`${what} as Authorization closes with 4403`, async () => {
      const socket = await RawSocket.open(server);
      socket.send({ type: 'connection_init', payload: { Authorization: value } });
      await socket.assertCloses(4403, FORBIDDEN);
    });
  }

  test('a token with a wrong signature closes with 4403', async () => {
    const { token } = await Person.register(server, 'mallory');
    const [head, claims, signature] = token.split('.');
    const forged = [head, claims, signature.replace(/^./, (c) => (c === 'A' ? 'B' : 'A'))].join('.');
    const socket = await RawSocket.open(server);
    socket.send({ type: 'connection_init', payload: { Authorization: `Bearer ${forged}` } });
    await socket.assertCloses(4403, FORBIDDEN);
  });

  test('a socket without a subprotocol closes with 4406', async () => {
    const socket = await RawSocket.open(server, { protocols: [] });
    await socket.assertCloses(4406, 'Subprotocol not acceptable');
  });

  test('a socket with only an unknown subprotocol closes with 4406', async () => {
    assert.deepEqual(await closeAfterUpgrade('nonsense'), { protocol: undefined, code: 4406 });
  });

  test('the known subprotocol is chosen from several', async () => {
    const socket = await RawSocket.open(server, { protocols: ['nonsense', 'graphql-transport-ws'] });
    assert.equal(socket.socket.protocol, 'graphql-transport-ws');
    socket.close();
  });
});

describe('an acknowledged connection', { concurrency: true }, () => {
  test('closes with 4429 on a second connection_init', async () => {
    const socket = await RawSocket.init(server);
    socket.send({ type: 'connection_init' });
    await socket.assertCloses(4429, 'Too many initialisation requests');
  });

  for (const message of [
    'no JSON',
    '"a string"',
    '[]',
    '{}',
    { type: 'nonsense' },
    { type: 'connection_ack' },
    { type: 'next', id: '1', payload: {} },
    { type: 'ping', payload: 'a string' },
    { type: 'pong', payload: [] },
    { type: 'complete' },
    { type: 'subscribe', payload: { query: VERSION } },
    { type: 'subscribe', id: 1, payload: { query: VERSION } },
  ]) {
    test(`closes with 4400 on ${JSON.stringify(message)}`, async () => {
      const socket = await RawSocket.init(server);
      socket.send(message);
      await socket.assertCloses(4400);
    });
  }

  for (const [what, payload] of NO_REQUESTS) {
    test(`ends an operation with an error and stays open after the payload ${what}`, async () => {
      const socket = await RawSocket.init(server);
      socket.send(`{"type":"subscribe","id":"wrong","payload":${payload}}`);
      const { type, id, payload: errors } = await socket.next();
      assert.deepEqual([type, id, errors[0].extensions.code], ['error', 'wrong', 'GRAPHQL_PARSE_FAILED']);
      socket.send({ type: 'subscribe', id: 'next', payload: { query: VERSION } });
      assert.equal((await socket.next()).id, 'next');
      socket.close();
    });
  }

  test('closes with 4400 on a binary message', async () => {
    const socket = await RawSocket.init(server);
    socket.socket.send(Buffer.from('{"type":"ping"}'));
    await socket.assertCloses(4400);
  });

  test('closes with 4409 on the id of a running operation, and accepts the id of an ended one', async () => {
    const { alice, bob, conversation } = await pair(server);
    const socket = await RawSocket.init(server, bob.token);
    socket.subscribe('a', VERSION);
    assert.equal((await socket.next()).type, 'next');
    assert.deepEqual(await socket.next(), { type: 'complete', id: 'a' });
    socket.subscribe('a', MESSAGES);
    socket.send({ type: 'complete', id: 'a' });
    socket.subscribe('a', 'subscription { inbox { __typename ... on MessageAdded { message { number body } } } }');
    assert.equal((await socket.next()).payload.data.inbox.__typename, 'CaughtUp');
    await alice.send(conversation, 'heard once');
    assert.deepEqual(await socket.next(), {
      type: 'next',
      id: 'a',
      payload: { data: { inbox: { __typename: 'MessageAdded', message: { number: 1, body: 'heard once' } } } },
    });
    socket.subscribe('a', VERSION);
    await socket.assertCloses(4409, 'Subscriber for a already exists');
  });

  test('delivers its close code to a client that keeps sending', async () => {
    const socket = await RawSocket.init(server);
    socket.send({ type: 'connection_init' });
    for (let i = 0; i < 200; i += 1) socket.send({ type: 'pong', payload: { filler: 'x'.repeat(1000) } });
    await socket.assertCloses(4429);
  });

  test('answers a ping with its payload, also before the acknowledgement, and accepts any pong', async () => {
    const socket = await RawSocket.open(server);
    const payload = { at: 1, nested: { list: [null, 'ü'] } };
    socket.send({ type: 'ping', payload });
    assert.deepEqual(await socket.next(), { type: 'pong', payload });
    socket.send({ type: 'connection_init', payload: null });
    assert.equal((await socket.next()).type, 'connection_ack');
    socket.send({ type: 'pong', payload: { unasked: true } });
    socket.send({ type: 'ping' });
    assert.deepEqual(await socket.next(), { type: 'pong' });
    socket.close();
  });

  test('gets pings, and is closed only if it does not answer them', async () => {
    const [answering, silent] = [await RawSocket.init(impatient), await RawSocket.init(impatient)];
    answering.socket.on('message', (data) => JSON.parse(data).type === 'ping' && answering.send({ type: 'pong' }));
    assert.deepEqual(await answering.next(), { type: 'ping' });
    const { code } = await withTimeout(silent.closed, 'the end of a silent client');
    assert.equal(code, 1006, 'the server must not wait for a close handshake');
    await answering.assertAlive();
    answering.close();
  });

  test('executes queries and mutations', async () => {
    const { alice, bob, conversation } = await pair(server);
    const socket = await RawSocket.init(server, alice.token);
    socket.subscribe('query', 'query ($id: ID!) { user(by: {id: $id}) { username } }', { id: bob.id });
    assert.deepEqual(await socket.next(), {
      type: 'next',
      id: 'query',
      payload: { data: { user: { username: bob.username } } },
    });
    assert.deepEqual(await socket.next(), { type: 'complete', id: 'query' });

    const send = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { number } } }';
    socket.subscribe('mutation', send, { input: { conversationId: conversation, body: 'over the socket' } });
    assert.deepEqual(await socket.next(), {
      type: 'next',
      id: 'mutation',
      payload: { data: { sendMessage: { message: { number: 1 } } } },
    });
    assert.deepEqual(await socket.next(), { type: 'complete', id: 'mutation' });
    socket.close();
  });

  test('sends an error message for an operation that cannot start, and stays open', async () => {
    const socket = await RawSocket.init(server);
    for (const [query, code] of [
      ['{ serverInfo {', 'GRAPHQL_PARSE_FAILED'],
      ['{ nonsense }', 'GRAPHQL_VALIDATION_FAILED'],
      ['subscription { nonsense }', 'GRAPHQL_VALIDATION_FAILED'],
      ['subscription { inbox { __typename } }', 'UNAUTHENTICATED'],
    ]) {
      socket.subscribe('1', query);
      const { type, id, payload } = await socket.next();
      assert.deepEqual([type, id], ['error', '1'], query);
      assert.deepEqual(payload.map((error) => error.extensions.code), [code], query);
    }
    // The id can be used again, because each error has ended the operation with this id.
    socket.subscribe('1', VERSION);
    assert.match((await socket.next()).payload.data.serverInfo.version, /^\d+\.\d+\.\d+/);
    assert.deepEqual(await socket.next(), { type: 'complete', id: '1' });
    socket.close();
  });

  test('runs several operations concurrently, identified by their ids', async () => {
    const { alice, bob, conversation } = await pair(server);
    const socket = await RawSocket.init(server, bob.token);
    const ids = ['a', 'b', 'c'];
    for (const id of ids) socket.subscribe(id, 'subscription { inbox { __typename } }');
    for (const round of ['CaughtUp', 'MessageAdded']) {
      const messages = await socket.inbox.take(ids.length);
      assert.deepEqual(
        messages.map(({ id, payload }) => `${id} ${payload.data.inbox.__typename}`).sort(),
        ids.map((id) => `${id} ${round}`),
      );
      if (round === 'CaughtUp') await alice.send(conversation, 'to all three');
    }
    socket.send({ type: 'complete', id: 'b' });
    await socket.assertAlive();
    await alice.send(conversation, 'to two');
    assert.deepEqual((await socket.inbox.take(2)).map(({ id }) => id).sort(), ['a', 'c']);
    await socket.assertAlive();
    socket.close();
  });
});

/**
 * Upgrades a plain HTTP request and returns the subprotocol and the close code in the first frame. The package `ws`
 * cannot be used, because it disconnects if the server chooses no subprotocol.
 */
async function closeAfterUpgrade(protocol) {
  const upgrade = request(`${server.url}/graphql`, {
    headers: {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
      'Sec-WebSocket-Protocol': protocol,
    },
  }).end();
  const [response, socket, head] = await withTimeout(once(upgrade, 'upgrade'), 'the upgrade');
  let frame = head;
  // RFC 6455, section 5.2: two bytes of header, then the code.
  while (frame.length < 4) {
    frame = Buffer.concat([frame, ...(await withTimeout(once(socket, 'data'), 'the close frame'))]);
  }
  socket.destroy();
  assert.equal(frame[0], 0x88, 'the first frame must be a close frame');
  return { protocol: response.headers['sec-websocket-protocol'], code: frame.readUInt16BE(2) };
}
