// Tests of Apollo Client with the code of docs/clients.md.

import assert from 'node:assert/strict';
import { afterEach, before, describe, test } from 'node:test';
import { gql } from '@apollo/client';
import {
  CONVERSATIONS,
  documented,
  MESSAGES,
  numbers,
  place,
  possibleTypes,
  SEND,
  watchFetch,
  watchSockets,
} from './clients.mjs';
import { startNodes } from './servers.mjs';
import { assertNoDuplicates, bodies, INBOX, Mailbox, pair, Person, upTo } from './support.mjs';

const { connect } = await documented('apollo.mjs');
const multipart = await documented('apollo-multipart.mjs');
const { persistedLink } = await documented('persisted.mjs');

const requests = watchFetch();
const { sockets } = watchSockets();
const open = [];
const following = [];
let server;
before(async () => {
  [server] = await startNodes({});
});

function connectAs(person, options) {
  const connected = connect({ ...place(server, person), possibleTypes, ...options });
  open.push(connected);
  return connected.client;
}

function listen(client, variables) {
  const inbox = new Mailbox('the inbox');
  const subscription = client.subscribe({ query: gql(INBOX), variables }).subscribe({
    next: ({ data, error }) => (error ? inbox.end(error.message) : inbox.put(data.inbox)),
    error: (error) => inbox.end(error.message),
    complete: () => inbox.end(),
  });
  following.push(subscription);
  return inbox;
}

/** Watches a paginated list. The returned `more` fetches the next page and waits until the list contains the page. */
async function watchList(client, options, listOf) {
  const query = client.watchQuery(options);
  const results = new Mailbox('the results');
  following.push(query.subscribe((result) => results.put(result)));
  const shown = async (matches) => {
    const { data } = (await results.until(({ data, loading }) => !loading && data && matches(listOf(data)))).at(-1);
    return listOf(data);
  };
  let list = await shown(() => true);
  return {
    list: () => list,
    async more(variables) {
      const { length } = list.edges;
      await query.fetchMore({ variables });
      list = await shown(({ edges }) => edges.length > length);
    },
  };
}

describe('Apollo Client', () => {
  afterEach(async () => {
    following.splice(0).forEach((subscription) => subscription.unsubscribe());
    for (const { client, socket } of open.splice(0)) {
      client.stop();
      // `dispose` rejects if the connection was never opened. This error is ignored.
      await socket?.dispose().catch(() => {});
    }
  });

  test('runs queries and mutations, and receives inbox events', async () => {
    const { alice, bob, conversation } = await pair(server);
    const [ofAlice, ofBob] = [alice, bob].map((person) => connectAs(person));
    const { data } = await ofAlice.query({ query: gql`{ viewer { id user { id username } } }` });
    assert.equal(data.viewer.user.username, alice.username);
    const inbox = listen(ofBob);
    assert.equal((await inbox.next()).__typename, 'CaughtUp');
    const sent = await ofAlice.mutate({
      mutation: gql(SEND),
      variables: { input: { conversationId: conversation, body: 'Hello Bob' } },
    });
    const event = await inbox.next();
    assert.deepEqual([event.message.id, event.message.body], [sent.data.sendMessage.message.id, 'Hello Bob']);
    await assert.rejects(ofAlice.query({ query: gql`{ viewer { nope } }` }), /nope/);
  });

  test('relayStylePagination merges pages in both directions', async () => {
    const { alice, bob, conversation } = await pair(server);
    const client = connectAs(alice);
    await alice.sendAll(conversation, bodies('message', 7));
    const options = { query: gql(MESSAGES), variables: { id: conversation, last: 3 } };
    const messages = await watchList(client, options, (data) => data.conversation.messages);
    assert.deepEqual(numbers(messages.list()), [5, 6, 7]);
    while (messages.list().pageInfo.hasPreviousPage) {
      await messages.more({ last: 3, before: messages.list().pageInfo.startCursor });
    }
    assert.deepEqual(numbers(messages.list()), upTo(7));
    // The client fetches new messages with the end cursor.
    await bob.sendAll(conversation, bodies('newer', 2));
    await messages.more({ last: undefined, first: 50, after: messages.list().pageInfo.endCursor });
    assert.deepEqual(numbers(messages.list()), upTo(9));
    assert.deepEqual(numbers(client.readQuery(options).conversation.messages), upTo(9));

    for (const _ of upTo(4)) await alice.openConversationWith(await Person.register(server, 'carol'));
    const conversations = await watchList(
      client,
      { query: gql(CONVERSATIONS), variables: { first: 2 } },
      (data) => data.viewer.conversations,
    );
    while (conversations.list().pageInfo.hasNextPage) {
      await conversations.more({ after: conversations.list().pageInfo.endCursor });
    }
    const ids = conversations.list().edges.map(({ node }) => node.id);
    assert.deepEqual([ids.length, new Set(ids).size, ids.at(-1)], [5, 5, conversation]);
  });

  test('no event is lost when the server is killed and restarted', async () => {
    const { alice, bob, conversation } = await pair(server);
    const inbox = listen(connectAs(bob));
    assert.equal((await inbox.next()).__typename, 'CaughtUp');
    await alice.sendAll(conversation, bodies('before', 3));
    await inbox.take(3);
    await server.kill();
    await server.start();
    await alice.sendAll(conversation, bodies('after', 3));
    await inbox.until((event) => event.message?.number === 6);
    assert.deepEqual(inbox.messages().map((message) => message.number), upTo(6));
    assertNoDuplicates(inbox);
  });

  test('automatic persisted queries send only the hash, by GET', async () => {
    const alice = await Person.register(server, 'alice');
    const query = gql`query Hashed { serverInfo { maxPageSize } viewer { id } }`;
    for (const hit of [false, true]) {
      requests.length = 0;
      const { data } = await connectAs(alice, { links: [persistedLink()] }).query({ query });
      assert.equal(data.serverInfo.maxPageSize, 100);
      assert.deepEqual(requests.map(({ method }) => method), hit ? ['GET'] : ['GET', 'POST']);
      assert.ok(!requests[0].url.includes('maxPageSize'));
    }
    // Responses to anonymous queries can be cached by a CDN.
    requests.length = 0;
    for (const _ of upTo(2)) {
      const anonymous = connectAs(undefined, { links: [persistedLink()] });
      const { data } = await anonymous.query({ query: gql`query Public { serverInfo { maxPageSize } }` });
      assert.equal(data.serverInfo.maxPageSize, 100);
    }
    assert.equal(requests.at(-1).method, 'GET');
    assert.match(requests.at(-1).response.headers.get('cache-control'), /^public/);
  });

  test('multipart subscriptions over HttpLink survive a restart', async () => {
    const { alice, bob, conversation } = await pair(server);
    const { url, tokens } = place(server, bob);
    const client = multipart.connect({ url, tokens, possibleTypes, delay: 50 });
    open.push({ client });
    const before = sockets.length;
    const inbox = listen(client);
    assert.equal((await inbox.next()).__typename, 'CaughtUp');
    await alice.sendAll(conversation, bodies('before', 2));
    await inbox.take(2);
    for (const end of [() => server.stop(), () => server.kill()]) {
      await end();
      await server.start();
      await alice.send(conversation, 'and then');
      await inbox.until((event) => event.__typename === 'MessageAdded');
    }
    assert.deepEqual(inbox.messages().map((message) => message.number), upTo(4));
    assertNoDuplicates(inbox);
    assert.equal(sockets.length, before, 'no socket was opened');
  });
});
