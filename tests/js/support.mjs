// Helpers for clients: requests, inbox subscriptions, raw sockets, and waiting with a timeout.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { after as afterAll } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import { createClient, GRAPHQL_TRANSPORT_WS_PROTOCOL } from 'graphql-ws';
import WebSocket from 'ws';

/** Maximum time that a test waits for a condition before it fails. Long enough for a machine under load. */
const TIMEOUT_MS = 30_000;
/** Pause between two connection attempts. A real app should use the default of graphql-ws, which is exponential. */
const BACKOFF_MS = 50;
export const PASSWORD = 'seven quiet herons at dusk';
/** The reasons with which the server closes a socket, with 4401 and 4403. They name the next step. */
export const UNAUTHORIZED = 'Unauthorized: send connection_init first';
export const FORBIDDEN = 'Forbidden: access token invalid or expired, or session ended. Call refreshSession or login';

/** More levels than serde_json decodes. */
const DEEP = `${'['.repeat(200)}${']'.repeat(200)}`;
/** Payloads that are not a GraphQL request, as JSON, with their names. Some of them cannot be decoded. */
export const NO_REQUESTS = [
  ...[
    'null',
    '[]',
    '"{ serverInfo { version } }"',
    '{}',
    '{"query":null}',
    '{"query":1}',
    '{"query":"{ serverInfo { version } }","variables":[]}',
    '{"query":"{ serverInfo { version } }","variables":"{}"}',
    '{"query":"{ serverInfo { version } }","operationName":1}',
    '{"query":"{ serverInfo { version } }","extensions":1}',
    '{"query":"{ serverInfo { version } }","extensions":{"persistedQuery":{"version":2}}}',
    '{"query":"query ($a: String) { user(by: {username: $a}) { id } }","variables":{"a":"nice \\ud83d"}}',
    '{"query":"{ serverInfo { version } }","variables":{"a":"\\ude00\\ud83d"}}',
    '{"query":"{ serverInfo { version } }","variables":{"a":1e999}}',
    '{"query":"\\ud83d"}',
  ].map((payload) => [payload, payload]),
  ['with deeply nested variables', `{"query":"{ serverInfo { version } }","variables":{"a":${DEEP}}}`],
  ['of deeply nested lists', DEEP],
];

export const INBOX = `
  subscription Inbox($after: String) {
    inbox(after: $after) {
      __typename
      ... on DurableEvent { cursor }
      ... on MessageAdded { message { id number body clientId sender { id } conversation { id } } }
      ... on ConversationAdded { conversation { id kind } }
      ... on ReceiptAdvanced {
        conversation { id }
        participant { user { id } lastReadNumber lastDeliveredNumber }
      }
    }
  }`;

/**
 * Subscribes to the viewer's inbox, also across reconnects: graphql-ws reconnects by itself, and then the subscription
 * resumes after the last event that was passed to `onEvent`. A web app can copy this function.
 *
 * `url` is an address, or a function that returns an address for each attempt. `token` returns a valid access token.
 * `options` are passed to graphql-ws.
 */
export function follow({ url, token, after = null, onEvent, onEnd = () => {}, options = {} }) {
  let cursor = after;
  const client = createClient({
    url,
    connectionParams: async () => ({ Authorization: `Bearer ${await token()}` }),
    retryAttempts: Infinity,
    // By default graphql-ws retries after a close, but not after a refused connection.
    shouldRetry: () => true,
    ...options,
  });
  const variables = {
    // graphql-ws serializes the variables for each connection, so this getter returns the cursor at that time.
    get after() {
      return cursor;
    },
  };
  client.subscribe(
    { query: INBOX, variables },
    {
      next({ data, errors }) {
        if (!data) return onEnd(errors);
        onEvent(data.inbox);
        cursor = data.inbox.cursor;
      },
      error: onEnd,
      complete: onEnd,
    },
  );
  // `dispose` rejects if the connection was never opened. This error is ignored.
  return { cursor: () => cursor, stop: () => client.dispose().catch(() => {}) };
}

/** Calls `follow` and records its events, so that a test can wait for them. A test can also cut the connection. */
export function listen(person, { url = person.server.socketUrl, token = () => person.token, after, ...options } = {}) {
  const inbox = new Mailbox(`${person.username}'s inbox`);
  const closes = new Mailbox(`the closes of ${person.username}'s socket`);
  let socket;
  let connection = gate();
  const following = follow({
    url,
    token,
    after,
    onEvent: (event) => inbox.put(event),
    onEnd: (reason) => inbox.end(reason),
    options: {
      webSocketImpl: WebSocket,
      retryWait: () => later(BACKOFF_MS),
      on: {
        connected: (connected) => {
          socket = connected;
          connection.open();
        },
        closed: (event) => {
          connection = gate();
          closes.put(event);
        },
      },
      ...options,
    },
  });
  listeners.push(following);
  return {
    ...following,
    inbox,
    closes,
    /**
     * Cuts the connection without a close frame. Resolves when the client has noticed the cut. Unread events may be of
     * an earlier connection, so the client may first have to reconnect.
     */
    async cut() {
      await withTimeout(connection.opened, 'a connection to cut');
      const closed = once(socket, 'close');
      socket.terminate();
      await withTimeout(closed, 'the end of a cut socket');
    },
  };
}

/** Clients to stop after the tests, because otherwise they would reconnect without end. */
const listeners = [];
afterAll(() => Promise.all(listeners.map(({ stop }) => stop())));

/** A queue of received items. A test can wait for the next item. */
export class Mailbox {
  #read = 0;
  #ended = false;
  #wake = () => {};

  constructor(name) {
    this.name = name;
    this.all = [];
  }

  put(item) {
    this.all.push(item);
    this.#wake();
  }

  /** Ends the queue. When a test then waits for a further item, an error with this reason is thrown. */
  end(reason = 'it was completed') {
    this.#ended = reason;
    this.#wake();
  }

  async next(timeout = TIMEOUT_MS) {
    while (this.#read === this.all.length) {
      assert.ok(!this.#ended, `${this.name} ended: ${JSON.stringify(this.#ended)}`);
      await withTimeout(new Promise((wake) => (this.#wake = wake)), `the next item of ${this.name}`, timeout);
    }
    return this.all[this.#read++];
  }

  /** Returns all unread items up to and including the first one that matches. */
  async until(matches) {
    const items = [];
    do {
      items.push(await this.next());
    } while (!matches(items.at(-1)));
    return items;
  }

  async take(count) {
    const items = [];
    while (items.length < count) items.push(await this.next());
    return items;
  }

  messages() {
    return this.all.filter((event) => event.__typename === 'MessageAdded').map((event) => event.message);
  }

  /** Asserts that there are no unread items. */
  assertEmpty() {
    assert.deepEqual(this.all.slice(this.#read), []);
  }
}

export async function withTimeout(promise, what, timeout = TIMEOUT_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timeout after ${timeout} ms: ${what}`)), timeout);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Returns a promise and the function that resolves it. */
export function gate() {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { opened, open };
}

/**
 * Sends a GraphQL request over HTTP, with further headers if there are any. Throws an Error with `code` if the response
 * has errors.
 */
export async function ask(server, query, variables = {}, token, more = {}) {
  const headers = { 'Content-Type': 'application/json', ...(token && { Authorization: `Bearer ${token}` }), ...more };
  const request = fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ query, variables }),
  });
  const response = await withTimeout(request, `the answer to ${query}`);
  const { data, errors } = await response.json();
  if (errors) throw Object.assign(new Error(errors[0].message), { code: errors[0].extensions?.code, errors });
  return data;
}

const SIGNED_IN = `accessToken accessTokenExpiresAt refreshToken session { id } viewer { user { id username } }`;

/** An account that is signed in on one device. Its requests go to `server` by default. */
export class Person {
  static async register(server, name) {
    const username = `${name}_${randomBytes(6).toString('hex')}`;
    const { register } = await ask(
      server,
      `mutation ($input: RegisterInput!) { register(input: $input) { ${SIGNED_IN} } }`,
      { input: { username, password: PASSWORD } },
    );
    return new Person(server, register);
  }

  constructor(server, auth) {
    this.server = server;
    this.signIn(auth);
  }

  signIn(auth) {
    this.auth = auth;
    this.token = auth.accessToken;
    ({ id: this.id, username: this.username } = auth.viewer.user);
  }

  ask(query, variables, server = this.server) {
    return ask(server, query, variables, this.token);
  }

  /** Signs in to the same account on another device. */
  async onAnotherDevice(server = this.server) {
    const { login } = await ask(server, `mutation ($input: LoginInput!) { login(input: $input) { ${SIGNED_IN} } }`, {
      input: { identifier: this.username, password: PASSWORD },
    });
    return new Person(server, login);
  }

  async refresh() {
    const { refreshSession } = await ask(
      this.server,
      `mutation ($input: RefreshSessionInput!) { refreshSession(input: $input) { ${SIGNED_IN} } }`,
      { input: { refreshToken: this.auth.refreshToken } },
    );
    this.signIn(refreshSession);
  }

  async openConversationWith(other) {
    const { openDirectConversation } = await this.ask(
      `mutation ($input: OpenDirectConversationInput!) {
        openDirectConversation(input: $input) { conversation { id } }
      }`,
      { input: { userId: other.id } },
    );
    return openDirectConversation.conversation.id;
  }

  async send(conversationId, body, { clientId, server } = {}) {
    const { sendMessage } = await this.ask(
      `mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id number body } } }`,
      { input: { conversationId, body, clientId } },
      server,
    );
    return sendMessage.message;
  }

  /** Sends messages one after another, so that their order is known. */
  async sendAll(conversationId, bodies, options) {
    const sent = [];
    for (const body of bodies) sent.push(await this.send(conversationId, body, options));
    return sent;
  }

  async markRead(messageId) {
    await this.ask(`mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation { id } } }`, {
      input: { messageId },
    });
  }
}

/** Registers two accounts and opens their direct conversation. */
export async function pair(server) {
  const [alice, bob] = await Promise.all([Person.register(server, 'alice'), Person.register(server, 'bob')]);
  return { alice, bob, conversation: await alice.openConversationWith(bob) };
}

/** A socket that sends and receives raw protocol messages. */
export class RawSocket {
  static async open(server, { protocols = GRAPHQL_TRANSPORT_WS_PROTOCOL, headers } = {}) {
    const raw = new RawSocket(new WebSocket(server.socketUrl, protocols, { headers }));
    await withTimeout(once(raw.socket, 'open'), 'a socket to open');
    return raw;
  }

  /** Opens a socket, sends connection_init and waits for connection_ack. */
  static async init(server, token) {
    const raw = await RawSocket.open(server);
    raw.send({ type: 'connection_init', payload: token && { Authorization: `Bearer ${token}` } });
    assert.deepEqual(await raw.next(), { type: 'connection_ack' });
    return raw;
  }

  constructor(socket) {
    this.socket = socket;
    this.inbox = new Mailbox('the socket');
    socket.on('message', (data) => this.inbox.put(JSON.parse(data)));
    this.closed = once(socket, 'close').then(([code, reason]) => {
      this.inbox.end(`closed with ${code}`);
      return { code, reason: reason.toString() };
    });
  }

  send(message) {
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  subscribe(id, query, variables) {
    this.send({ type: 'subscribe', id, payload: { query, variables } });
  }

  next() {
    return this.inbox.next();
  }

  close() {
    this.socket.close(1000);
  }

  async assertCloses(code, reason, timeout) {
    const closed = await withTimeout(this.closed, `the close with ${code}`, timeout);
    assert.deepEqual(closed, { code, reason: reason ?? closed.reason });
  }

  /** Asserts that the server answers a ping on the socket. */
  async assertAlive() {
    const payload = { here: randomBytes(4).toString('hex') };
    this.send({ type: 'ping', payload });
    await this.inbox.until((message) => message.type === 'pong' && message.payload?.here === payload.here);
  }
}

/** Returns `n` message bodies that start with `prefix`. */
export const bodies = (prefix, n) => Array.from({ length: n }, (_, i) => `${prefix} ${i + 1}`);

/** Returns the numbers from 1 to `n`. */
export const upTo = (n) => Array.from({ length: n }, (_, i) => i + 1);

/** Asserts that no durable event was delivered twice. Each event has a unique cursor. */
export function assertNoDuplicates(inbox) {
  const cursors = inbox.all.filter((event) => event.__typename !== 'CaughtUp').map((event) => event.cursor);
  assert.equal(new Set(cursors).size, cursors.length, 'an event was delivered twice');
}
