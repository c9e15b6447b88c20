// Tests of the older WebSocket subprotocol with its original client, subscriptions-transport-ws.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { SubscriptionClient } from 'subscriptions-transport-ws';
import { SEND, watchSockets } from './clients.mjs';
import { startNodes } from './servers.mjs';
import { FORBIDDEN, INBOX, Mailbox, pair, RawSocket, withTimeout } from './support.mjs';

const { sockets } = watchSockets();

const clients = [];
let server, beating;
before(async () => {
  [[server], [beating]] = await Promise.all([startNodes({}), startNodes({ SOCKET_PING_INTERVAL: '1' })]);
});

function connect(node, person, options) {
  const connectionParams = person && { Authorization: `Bearer ${person.token}` };
  const client = new SubscriptionClient(node.socketUrl, { connectionParams, ...options }, globalThis.WebSocket);
  clients.push(client);
  return Object.assign(client, { socket: sockets.at(-1) });
}

function run(client, query, variables) {
  const results = new Mailbox(`the results of ${query}`);
  const subscription = client.request({ query, variables }).subscribe({
    next: (result) => results.put(result),
    error: (error) => results.end(error),
    complete: () => results.end(),
  });
  return { ...subscription, results };
}

const of = (socket, type) => socket.received.filter((message) => message.type === type);

describe('subscriptions-transport-ws', { concurrency: true }, () => {
  after(() => clients.forEach((client) => client.close()));

  test('runs queries, mutations and subscriptions until they are stopped', async () => {
    const { alice, bob, conversation } = await pair(server);
    const ofBob = connect(server, bob);
    const inbox = run(ofBob, INBOX);
    assert.equal((await inbox.results.next()).data.inbox.__typename, 'CaughtUp');
    assert.equal(ofBob.socket.protocol, 'graphql-ws');

    const ofAlice = connect(server, alice);
    const query = run(ofAlice, '{ viewer { user { id } } }');
    assert.equal((await query.results.next()).data.viewer.user.id, alice.id);
    await assert.rejects(query.results.next(), /it was completed/);
    const send = (body) => run(ofAlice, SEND, { input: { conversationId: conversation, body } }).results.next();
    const { data } = await send('Hello Bob');
    assert.equal((await inbox.results.next()).data.inbox.message.id, data.sendMessage.message.id);

    // The server handles the messages of a socket in order, so this query is answered after `stop`.
    inbox.unsubscribe();
    await run(ofBob, '{ viewer { id } }').results.next();
    await send('nobody listens');
    await run(ofBob, '{ viewer { id } }').results.next();
    inbox.results.assertEmpty();
    const events = of(ofBob.socket, 'data').filter(({ payload }) => payload.data.inbox);
    assert.equal(events.length, 2);
  });

  test('an invalid operation gets one error object', async () => {
    const { alice } = await pair(server);
    const client = connect(server, alice);
    for (const [query, code] of [
      ['subscription { nope }', 'GRAPHQL_VALIDATION_FAILED'],
      ['{ viewer { nope } }', 'GRAPHQL_VALIDATION_FAILED'],
      ['{', 'GRAPHQL_PARSE_FAILED'],
      ['subscription { inbox(after: "yesterday") { __typename } }', 'BAD_USER_INPUT'],
    ]) {
      const { results } = run(client, query);
      await assert.rejects(results.next(), new RegExp(code));
      const { id, payload } = of(client.socket, 'error').at(-1);
      assert.equal(typeof id, 'string');
      assert.equal(payload.extensions.code, code);
      assert.equal(typeof payload.message, 'string');
    }
    // The socket stays open.
    assert.ok((await run(client, '{ viewer { id } }').results.next()).data);
  });

  test('an invalid token gets connection_error', async () => {
    const refused = new Promise((resolve) => {
      connect(server, { token: 'no token' }, { connectionCallback: resolve });
    });
    assert.deepEqual(await withTimeout(refused, 'the rejection'), { message: FORBIDDEN });
    const accepted = new Promise((resolve) => {
      connect(server, undefined, { connectionCallback: (error) => resolve(error ?? 'accepted') });
    });
    assert.equal(await withTimeout(accepted, 'the acknowledgement'), 'accepted');
  });

  test('keep-alive messages keep a client with a short timeout connected', async () => {
    const { alice, bob, conversation } = await pair(beating);
    const client = connect(beating, bob, { timeout: 6000 });
    const { results } = run(client, INBOX);
    assert.equal((await results.next()).data.inbox.__typename, 'CaughtUp');
    assert.deepEqual(client.socket.received.slice(0, 2).map(({ type }) => type), ['connection_ack', 'ka']);
    const lost = once(client.socket, 'close').then(() => assert.fail('the client disconnected'));
    while (of(client.socket, 'ka').length < 8) await Promise.race([once(client.socket, 'message'), lost]);
    await alice.send(conversation, 'still there?');
    assert.equal((await results.next()).data.inbox.message.body, 'still there?');
    client.close();
    lost.catch(() => {});
  });

  test('connection_terminate closes the socket', async () => {
    const { alice } = await pair(server);
    const raw = await RawSocket.open(server, { protocols: 'graphql-ws' });
    raw.send({ type: 'connection_init', payload: { Authorization: `Bearer ${alice.token}` } });
    assert.deepEqual(await raw.inbox.take(2), [{ type: 'connection_ack' }, { type: 'ka' }]);
    raw.send({ id: '1', type: 'start', payload: { query: '{ serverInfo { maxPageSize } }' } });
    assert.deepEqual(await raw.inbox.take(2), [
      { type: 'data', id: '1', payload: { data: { serverInfo: { maxPageSize: 100 } } } },
      { type: 'complete', id: '1' },
    ]);
    raw.send({ type: 'connection_terminate' });
    await withTimeout(raw.closed, 'the close');
  });
});
