// Tests of GraphQL over Server-Sent Events in the distinct connections mode, with the client graphql-sse.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createClient } from 'graphql-sse';
import { documented, SEND, tokensOf } from './clients.mjs';
import { startNodes } from './servers.mjs';
import { assertNoDuplicates, bodies, INBOX, Mailbox, pair, upTo } from './support.mjs';

const { follow } = await documented('sse.mjs');

const stops = [];
let server;
before(async () => {
  [server] = await startNodes({});
});

const at = (node) => `${node.url}/graphql`;

/** Starts the documented client and records its events. */
function listen(person, options) {
  const inbox = new Mailbox(`${person.username}'s inbox`);
  const stop = follow({
    url: at(server),
    tokens: tokensOf(server, person),
    query: INBOX,
    onEvent: (event) => inbox.put(event),
    onEnd: (reason) => inbox.end(reason),
    retry: async () => {},
    ...options,
  });
  stops.push(stop);
  return { inbox, stop };
}

describe('graphql-sse', () => {
  after(() => stops.forEach((stop) => stop()));

  test('runs queries, mutations and subscriptions', async () => {
    const { alice, bob, conversation } = await pair(server);
    const client = createClient({ url: at(server), headers: { Authorization: `Bearer ${alice.token}` } });
    const only = async (request) => {
      const results = [];
      for await (const result of client.iterate(request)) results.push(result);
      assert.equal(results.length, 1);
      return results[0];
    };
    assert.equal((await only({ query: '{ viewer { user { id } } }' })).data.viewer.user.id, alice.id);
    const { inbox, stop } = listen(bob);
    assert.equal((await inbox.next()).__typename, 'CaughtUp');
    const { data } = await only({ query: SEND, variables: { input: { conversationId: conversation, body: 'Hello' } } });
    assert.equal((await inbox.next()).message.id, data.sendMessage.message.id);
    stop();

    for (const [query, code] of [
      ['{ viewer { nope } }', 'GRAPHQL_VALIDATION_FAILED'],
      ['subscription { nope }', 'GRAPHQL_VALIDATION_FAILED'],
      ['subscription { inbox(after: "yesterday") { __typename } }', 'BAD_USER_INPUT'],
    ]) {
      const result = await only({ query });
      assert.deepEqual(result.errors.map(({ extensions }) => extensions.code), [code]);
    }
    client.dispose();
  });

  test('no event is lost when the server stops or is killed, and restarts', async () => {
    const { alice, bob, conversation } = await pair(server);
    const { inbox } = listen(bob);
    assert.equal((await inbox.next()).__typename, 'CaughtUp');
    await alice.sendAll(conversation, bodies('before', 2));
    await inbox.take(2);
    for (const end of [() => server.stop(), () => server.kill()]) {
      await end();
      await server.start();
      await alice.sendAll(conversation, bodies('after', 2));
      const { number } = (await inbox.until((event) => event.__typename === 'MessageAdded')).at(-1).message;
      await inbox.until((event) => event.message?.number === number + 1);
    }
    assert.deepEqual(inbox.messages().map((message) => message.number), upTo(6));
    assertNoDuplicates(inbox);
  });

  test('a rejected token is replaced', async () => {
    const { alice, bob, conversation } = await pair(server);
    const tokens = tokensOf(server, bob);
    tokens.set({ ...bob.auth, accessToken: `${bob.token.slice(0, -4)}AAAA` });
    const { inbox } = listen(bob, { tokens });
    assert.equal((await inbox.next()).__typename, 'CaughtUp');
    await alice.send(conversation, 'Hello');
    assert.equal((await inbox.next()).message.body, 'Hello');
  });

  test('the stream has the exact bytes of the specification', async () => {
    const { alice } = await pair(server);
    const request = (query, headers) =>
      fetch(at(server), {
        method: 'POST',
        headers: {
          Accept: 'text/event-stream',
          'Content-Type': 'application/json; charset=utf-8',
          Authorization: `Bearer ${alice.token}`,
          ...headers,
        },
        body: JSON.stringify({ query }),
      });
    const response = await request('{ serverInfo { maxPageSize } }');
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type'), /^text\/event-stream/);
    assert.equal(response.headers.get('cache-control'), 'no-store');
    const events = (await response.text()).replace(/^(:\n\n)*/, '');
    assert.equal(
      events,
      'event: next\ndata: {"data":{"serverInfo":{"maxPageSize":100}}}\n\nevent: complete\ndata: \n\n',
    );
    const failed = (await (await request('{ nope }')).text()).replace(/^(:\n\n)*/, '');
    assert.match(failed, /^event: next\ndata: \{[^\n]*"errors":\[[^\n]*\]\}\n\nevent: complete\ndata: \n\n$/);
    // The single connection mode, which starts with PUT, is not supported.
    const reservation = await fetch(at(server), { method: 'PUT' });
    assert.equal(reservation.status, 405);
  });
});
