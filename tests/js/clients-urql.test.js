// Tests of urql with the code of docs/clients.md.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { introspectionFromSchema } from 'graphql';
import { CONVERSATIONS, documented, MESSAGES, numbers, place, schema, SEND, watchFetch, watchSockets } from './clients.mjs';
import { startNodes } from './servers.mjs';
import { assertNoDuplicates, bodies, INBOX, Mailbox, pair, Person, upTo } from './support.mjs';

const { connect } = await documented('urql.mjs');
const { persisted } = await documented('persisted.mjs');

const requests = watchFetch();
const { sockets } = watchSockets();
const introspection = introspectionFromSchema(schema, { descriptions: false });
const warnings = [];
console.warn = (...args) => warnings.push(args.join(' '));

const open = [];
let server;
before(async () => {
  [server] = await startNodes({});
});

function connectAs(person, options) {
  const where = place(server, person);
  const connected = { ...connect({ ...where, schema: introspection, ...options }), tokens: where.tokens, following: [] };
  open.push(connected);
  return connected;
}

function listen({ client, following }) {
  const inbox = new Mailbox('the inbox');
  const results = client.subscription(INBOX, {});
  following.push(results.subscribe(({ data, error }) => (error ? inbox.end(error.message) : inbox.put(data.inbox))));
  return inbox;
}

/** Waits for the result, and returns its data. Throws the error of the result. */
async function ask(results) {
  const { data, error } = await results.toPromise();
  if (error) throw error;
  return data;
}

describe('urql', () => {
  after(() => assert.deepEqual(warnings, []));
  afterEach(async () => {
    for (const { socket, following } of open.splice(0)) {
      following.forEach((subscription) => subscription.unsubscribe());
      // `dispose` rejects if the connection was never opened. This error is ignored.
      await socket.dispose().catch(() => {});
    }
  });

  test('runs queries and mutations, and loses no inbox event when the connection breaks', async () => {
    const { alice, bob, conversation } = await pair(server);
    const [ofAlice, ofBob] = [alice, bob].map((person) => connectAs(person));
    const { viewer } = await ask(ofAlice.client.query('{ viewer { id user { id username } } }', {}));
    assert.equal(viewer.user.username, alice.username);
    const inbox = listen(ofBob);
    assert.equal((await inbox.next()).__typename, 'CaughtUp');
    const input = { conversationId: conversation, body: 'Hello Bob' };
    const { sendMessage } = await ask(ofAlice.client.mutation(SEND, { input }));
    assert.equal((await inbox.next()).message.id, sendMessage.message.id);
    sockets.at(-1).terminate();
    await alice.sendAll(conversation, bodies('meanwhile', 3));
    await inbox.until((event) => event.message?.number === 4);
    assert.deepEqual(inbox.messages().map((message) => message.number), upTo(4));
    assertNoDuplicates(inbox);
    const nowhere = { ...input, conversationId: alice.id };
    await assert.rejects(ask(ofAlice.client.mutation(SEND, { input: nowhere })), ({ graphQLErrors: [error] }) => {
      assert.match(error.extensions.code, /^(BAD_USER_INPUT|NOT_FOUND)$/);
      return true;
    });
  });

  test('relayPagination merges pages in both directions', async () => {
    const { alice, bob, conversation } = await pair(server);
    const { client } = connectAs(alice);
    await alice.sendAll(conversation, bodies('message', 7));
    const messages = (variables) => ask(client.query(MESSAGES, { id: conversation, ...variables }));
    const first = (await messages({ last: 3 })).conversation.messages;
    assert.deepEqual(numbers(first), [5, 6, 7]);
    let page = first;
    while (page.pageInfo.hasPreviousPage) {
      page = (await messages({ last: 3, before: page.pageInfo.startCursor })).conversation.messages;
    }
    assert.deepEqual(numbers(page), upTo(7));
    await bob.sendAll(conversation, bodies('newer', 2));
    const newer = await messages({ first: 50, after: page.pageInfo.endCursor });
    assert.deepEqual(numbers(newer.conversation.messages), upTo(9));
    const { length } = requests;
    assert.deepEqual(numbers((await messages({ last: 3 })).conversation.messages), upTo(9));
    assert.equal(requests.length, length, 'the cache must answer the query');

    for (const _ of upTo(4)) await alice.openConversationWith(await Person.register(server, 'carol'));
    let list = (await ask(client.query(CONVERSATIONS, { first: 2 }))).viewer.conversations;
    while (list.pageInfo.hasNextPage) {
      list = (await ask(client.query(CONVERSATIONS, { first: 2, after: list.pageInfo.endCursor }))).viewer.conversations;
    }
    assert.equal(new Set(list.edges.map(({ node }) => node.id)).size, 5);
  });

  test('a rejected token is replaced', async () => {
    const alice = await Person.register(server, 'alice');
    const { client, tokens } = connectAs(alice);
    tokens.set({ ...alice.auth, accessToken: `${alice.token.slice(0, -4)}AAAA` });
    const { viewer } = await ask(client.query('{ viewer { id user { id } } }', {}));
    assert.equal(viewer.user.id, alice.id);
    // A token that is known to be invalid is refreshed before the request is sent.
    tokens.refuse(tokens.headers);
    const { length } = requests;
    await ask(client.query('{ viewer { id unreadCount } }', {}));
    assert.equal(requests.length, length + 2, 'the refresh, and the query');
  });

  test('persisted queries send only the hash, by GET', async () => {
    for (const hit of [false, true]) {
      const { client } = connectAs(undefined, { exchanges: [persisted()] });
      requests.length = 0;
      const { serverInfo } = await ask(client.query('query Hashed { serverInfo { maxGroupSize } }', {}));
      assert.equal(serverInfo.maxGroupSize, 1000);
      const asked = requests.map(({ method, url }) => [method, url.includes('maxGroupSize')]);
      assert.deepEqual(asked, hit ? [['GET', false]] : [['GET', false], ['GET', true]]);
    }
  });
});
