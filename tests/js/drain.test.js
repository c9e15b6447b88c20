// Tests of the drain, the graceful shutdown after SIGTERM: clients lose no events.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import WebSocket from 'ws';
import { startNodes } from './servers.mjs';
import { assertNoDuplicates, bodies, listen, pair, RawSocket, upTo, withTimeout } from './support.mjs';

const RESTART = [1012, 'Service Restart'];

describe('a server that gets SIGTERM', { concurrency: true }, () => {
  test('becomes not ready, closes its sockets with 1012, and exits with 0', async () => {
    const [server] = await startNodes({ DRAIN_DELAY: '6', DRAIN_TIMEOUT: '10' });
    const { alice, conversation } = await pair(server);
    const sockets = [await RawSocket.init(server, alice.token), await RawSocket.init(server)];
    sockets[0].subscribe('inbox', 'subscription { inbox { __typename ... on MessageAdded { message { body } } } }');
    assert.equal((await sockets[0].next()).payload.data.inbox.__typename, 'CaughtUp');
    assert.equal((await fetch(`${server.url}/health/ready`)).status, 200);

    const begin = Date.now();
    server.signal('SIGTERM');
    await withTimeout(untilNotReady(server), 'the server to become not ready');
    // During DRAIN_DELAY the server still accepts requests, so that load balancers have time to notice the change.
    assert.equal((await fetch(`${server.url}/health/live`)).status, 200);
    await alice.send(conversation, 'still here');
    assert.equal((await sockets[0].next()).payload.data.inbox.message.body, 'still here');
    await Promise.all(sockets.map((socket) => socket.assertAlive()));
    const [, refused] = await once(new WebSocket(server.socketUrl, 'graphql-transport-ws'), 'unexpected-response');
    assert.equal(refused.statusCode, 503, 'a draining node must reject new sockets');

    await Promise.all(sockets.map((socket) => socket.assertCloses(...RESTART)));
    assert.ok(Date.now() - begin >= 6000, 'sockets were closed before DRAIN_DELAY had passed');
    const { code } = await withTimeout(server.child.exited, 'the exit');
    assert.equal(code, 0);
    assert.ok(Date.now() - begin < 6000 + 10_000, 'the exit took longer than DRAIN_DELAY and DRAIN_TIMEOUT');
  });

  test('closes a socket without connection_init with 1012 and does not wait for it', async () => {
    const [server] = await startNodes({ SOCKET_INIT_TIMEOUT: '60', DRAIN_TIMEOUT: '20' });
    const socket = await RawSocket.open(server);
    const begin = Date.now();
    server.signal('SIGTERM');
    await socket.assertCloses(...RESTART);
    assert.equal((await withTimeout(server.child.exited, 'the exit')).code, 0);
    assert.ok(Date.now() - begin < 10_000, `it took ${Date.now() - begin} ms`);
  });

  test('loses no events of its clients when it is started again', async () => {
    const [server] = await startNodes({ DRAIN_DELAY: '6' });
    const { alice, bob, conversation } = await pair(server);
    const listener = listen(bob);
    await listener.inbox.next();
    await alice.sendAll(conversation, bodies('before', 3));
    await listener.inbox.take(3);

    const stopped = server.stop();
    await withTimeout(untilNotReady(server), 'the server to become not ready');
    await alice.send(conversation, 'while it drains');
    await stopped;
    const close = await listener.closes.next();
    assert.deepEqual([close.code, close.reason], RESTART);

    await server.start();
    await alice.sendAll(conversation, bodies('after', 3));
    await listener.inbox.until((event) => event.message?.body === 'after 3');
    assert.deepEqual(listener.inbox.messages().map((message) => message.number), upTo(7));
    assertNoDuplicates(listener.inbox);
  });

  test('loses no events of clients that move to another node during sends', async () => {
    const nodes = await startNodes({}, {});
    const [leaving, staying] = nodes;
    const { alice, bob, conversation } = await pair(staying);
    let attempts = 0;
    const listener = listen(bob, { url: () => nodes[attempts++ % 2].socketUrl });
    await listener.inbox.next();
    const sending = alice.sendAll(conversation, bodies('message', 60));
    await listener.inbox.take(10);
    await leaving.stop();
    await sending;
    await listener.inbox.until((event) => event.message?.number === 60);
    assert.equal((await listener.closes.next()).code, 1012);
    assert.deepEqual(listener.inbox.messages().map((message) => message.number), upTo(60));
    assertNoDuplicates(listener.inbox);
  });
});

/** Polls until the server is not ready, because no event reports the change. */
async function untilNotReady(server) {
  for (;;) {
    const { status } = await fetch(`${server.url}/health/ready`);
    if (status === 503) return;
    assert.equal(status, 200);
  }
}
