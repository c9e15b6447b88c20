// Tests of access tokens that expire while a client runs, with the code of docs/clients.md.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { gql } from '@apollo/client';
import { documented, place, possibleTypes, tokensOf, watchFetch, watchSockets } from './clients.mjs';
import { startNodes } from './servers.mjs';
import { FORBIDDEN, INBOX, Mailbox, pair, PASSWORD, Person, RawSocket, upTo } from './support.mjs';

const TTL_SECONDS = 10;
const TIMEOUT_MS = 2 * TTL_SECONDS * 1000;

const { connect } = await documented('apollo.mjs');
const { openSocket } = await documented('socket.mjs');
const requests = watchFetch();
const { sockets } = watchSockets();

const disposables = [];
let server;
before(async () => {
  [server] = await startNodes({ ACCESS_TOKEN_TTL: String(TTL_SECONDS) });
});

const VIEWER = gql`{ viewer { id user { id } } }`;

function connectTo({ tokens }) {
  const connected = connect({ ...place(server), tokens, possibleTypes });
  disposables.push(connected.socket);
  return connected;
}

/** Subscribes to the inbox with the documented socket. Returns mailboxes for the events and the close codes. */
function listen(tokens) {
  const inbox = new Mailbox('the inbox');
  const codes = new Mailbox('the closes');
  const socket = openSocket({
    url: server.socketUrl,
    tokens,
    retryWait: async () => {},
    on: { closed: (event) => codes.put(event.code) },
  });
  disposables.push(socket);
  socket.subscribe(
    { query: INBOX },
    { next: ({ data }) => inbox.put(data.inbox), error: (problem) => inbox.end(problem), complete: () => inbox.end() },
  );
  return { inbox, codes };
}

describe('tokens', { concurrency: true }, () => {
  after(() => Promise.all(disposables.map((socket) => socket.dispose().catch(() => {}))));

  test('concurrent refreshes use one refresh token', async () => {
    const alice = await Person.register(server, 'alice');
    const tokens = tokensOf(server, alice);
    const first = await tokens.freshHeaders();
    assert.deepEqual(first, { Authorization: `Bearer ${alice.token}` });
    tokens.refuse(first);
    const fresh = await Promise.all(upTo(5).map(() => tokens.freshHeaders()));
    assert.equal(requests.filter(({ body }) => body.includes(alice.auth.refreshToken)).length, 1);
    for (const headers of fresh) assert.deepEqual(headers, fresh[0]);
    alice.token = fresh[0].Authorization.replace('Bearer ', '');
    await alice.ask('{ viewer { id } }');
  });

  test('the client is signed out after its session has ended', async () => {
    const alice = await Person.register(server, 'alice');
    const tokens = tokensOf(server, alice);
    const { client } = connectTo({ tokens });
    await client.query({ query: VIEWER });
    await alice.ask('mutation { logout { sessionId } }');
    await assert.rejects(client.query({ query: VIEWER, fetchPolicy: 'network-only' }), { name: 'CombinedGraphQLErrors' });
    assert.deepEqual(await tokens.freshHeaders(), {});
  });

  test('a socket reconnects with the tokens of a later login', async () => {
    const alice = await Person.register(server, 'alice');
    const tokens = tokensOf(server);
    const { client, socket } = connectTo({ tokens });
    await assert.rejects(client.query({ query: VIEWER }), { name: 'CombinedGraphQLErrors' });
    const { data } = await client.mutate({
      mutation: gql`mutation ($input: LoginInput!) { login(input: $input) { accessToken refreshToken } }`,
      variables: { input: { identifier: alice.username, password: PASSWORD } },
    });
    tokens.set(data.login);
    socket.terminate();
    assert.equal((await client.query({ query: VIEWER })).data.viewer.user.id, alice.id);
  });

  test('fresh tokens keep a socket open beyond the first token, and other sockets close with 4403', async () => {
    const { alice, bob, conversation } = await pair(server);
    const tokens = tokensOf(server, bob);
    const { client } = connectTo({ tokens });
    const inbox = new Mailbox('the inbox');
    const subscription = client.subscribe({ query: gql(INBOX) }).subscribe({
      next: ({ data, error }) => (error ? inbox.end(error.message) : inbox.put(data.inbox)),
    });
    await inbox.next();
    const mine = sockets.find(({ sent }) => sent[0]?.payload?.Authorization === `Bearer ${bob.token}`);
    const closes = [];
    mine.on('close', (code) => closes.push(code));

    // This socket has the same token, but its client sends no fresh token.
    const other = await RawSocket.init(server, bob.token);
    other.subscribe('inbox', 'subscription { inbox { __typename } }');
    await other.assertCloses(4403, FORBIDDEN, TIMEOUT_MS);

    assert.deepEqual(closes, []);
    const pings = mine.sent.filter(({ type, payload }) => type === 'ping' && payload?.Authorization);
    assert.ok(pings.length >= 1);
    await alice.refresh();
    await alice.send(conversation, 'still there?');
    assert.equal((await inbox.next()).message.body, 'still there?');
    assert.equal(mine.readyState, mine.OPEN);
    subscription.unsubscribe();

    // The client does not know that its token has expired. After the rejection it repeats the request with a new token.
    const { refreshToken } = (await bob.onAnotherDevice()).auth;
    const late = tokensOf(server, { auth: { accessToken: bob.token, refreshToken } });
    const { data } = await connectTo({ tokens: late }).client.query({ query: VIEWER });
    assert.equal(data.viewer.user.id, bob.id);
  });

  test('a failed refresh is retried with the next connection', async () => {
    const { alice, bob, conversation } = await pair(server);
    const tokens = tokensOf(server, bob);
    let failures = 1;
    const flaky = {
      freshHeaders: () => (failures-- > 0 ? Promise.reject(new TypeError('fetch failed')) : tokens.freshHeaders()),
      refuse: (headers) => tokens.refuse(headers),
    };
    const { inbox, codes } = listen(flaky);
    assert.equal(await codes.next(TIMEOUT_MS), 4408);
    await inbox.next();
    await alice.refresh();
    await alice.send(conversation, 'at the second try');
    assert.equal((await inbox.next()).message.body, 'at the second try');
  });

  test('a socket that is closed with 4403 reconnects with a fresh token', async () => {
    const { alice, bob, conversation } = await pair(server);
    const tokens = tokensOf(server, bob);
    // These tokens lack the method that sends fresh tokens to an open socket.
    const lazy = { freshHeaders: () => tokens.freshHeaders(), refuse: (headers) => tokens.refuse(headers) };
    const { inbox, codes } = listen(lazy);
    await inbox.next();
    await alice.send(conversation, 'by the first token');
    await inbox.next();
    assert.equal(await codes.next(TIMEOUT_MS), 4403);
    await alice.refresh();
    await alice.send(conversation, 'by the second token');
    await inbox.until((event) => event.message?.number === 2);
    assert.equal(inbox.messages().length, 2);
  });
});
