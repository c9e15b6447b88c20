// Tests of Relay: the compiler accepts the schema, and the runtime works with the code of docs/clients.md.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import compiler from 'relay-compiler';
import relay from 'relay-runtime';
import { directory, documented, numbers, place, SCHEMA_FILE, text, watchFetch, watchSockets } from './clients.mjs';
import { startNodes } from './servers.mjs';
import { assertNoDuplicates, bodies, Mailbox, pair, Person, upTo } from './support.mjs';

const { commitMutation, createOperationDescriptor, fetchQuery, requestSubscription } = relay;
const { connect } = await documented('relay.mjs');

const requests = watchFetch();
const { sockets } = watchSockets();

/** The fragment in docs/clients.md. */
const [, MESSAGES] = text.match(/```graphql\n(fragment Messages_conversation on Conversation\n.*?)```/s);
const DOCUMENTS = [
  MESSAGES,
  `query MessagesQuery($id: ID!, $count: Int!) {
    conversation(id: $id) { ...Messages_conversation @arguments(count: $count) }
  }`,
  `query ConversationsQuery { viewer { id ...Conversations_viewer } }`,
  `fragment Conversations_viewer on Viewer
  @argumentDefinitions(first: {type: "Int", defaultValue: 2}, after: {type: "String"}) {
    conversations(first: $first, after: $after, filter: {unreadOnly: false})
    @connection(key: "Conversations_viewer_conversations") {
      edges { node { id title viewerMembership { id unreadCount } ...Messages_conversation } }
    }
  }`,
  `mutation SendMutation($input: SendMessageInput!) {
    sendMessage(input: $input) { message { id number body sender { id username } } }
  }`,
  `subscription InboxSubscription($after: String) {
    inbox(after: $after) {
      __typename
      ... on DurableEvent { cursor }
      ... on MessageAdded { message { id number body conversation { id lastMessage { id } } } }
      ... on ReceiptAdvanced { participant { id lastReadNumber } conversation { id } }
    }
  }`,
];

/** Compiles the documents, and returns a function that gets an artifact by its name. */
async function compile(name, config) {
  const root = join(directory, name);
  await mkdir(join(root, 'src'), { recursive: true });
  const tags = DOCUMENTS.map((document) => `graphql\`${document}\`;`);
  await writeFile(join(root, 'src', 'documents.js'), `import { graphql } from 'relay-runtime';\n${tags.join('\n')}\n`);
  await symlink(SCHEMA_FILE, join(root, 'schema.graphql'));
  const artifactDirectory = './artifacts';
  await mkdir(join(root, artifactDirectory));
  // The artifacts import each other by names without `.js`, which only CommonJS allows.
  await writeFile(join(root, artifactDirectory, 'package.json'), '{"type": "commonjs"}');
  const options = {
    src: './src',
    schema: './schema.graphql',
    language: 'javascript',
    eagerEsModules: false,
    artifactDirectory,
    noSourceControl: true,
    ...config,
  };
  await writeFile(join(root, 'relay.config.json'), JSON.stringify(options));
  if (config.persistConfig) await writeFile(join(root, config.persistConfig.file), '{}');
  // The compiler fails if the schema lacks something that Relay needs.
  await promisify(execFile)(compiler, ['relay.config.json'], { cwd: root });
  const artifact = async (artifactName) =>
    (await import(pathToFileURL(join(root, artifactDirectory, `${artifactName}.graphql.js`)))).default;
  return { root, artifact };
}

const open = [];
let compiled, server;
before(async () => {
  [compiled, [server]] = await Promise.all([compile('relay', {}), startNodes({})]);
});

function connectAs(person, node = server) {
  const connected = connect(place(node, person));
  open.push(connected);
  return connected.environment;
}

/** Returns the data that a component with this query would get. */
const read = (environment, query, variables) =>
  environment.lookup(createOperationDescriptor(query, variables).fragment).data;

async function send(environment, mutation, input) {
  return new Promise((onCompleted, onError) => {
    commitMutation(environment, { mutation, variables: { input }, onCompleted, onError });
  });
}

function listen(environment, subscription) {
  const inbox = new Mailbox('the inbox');
  const { dispose } = requestSubscription(environment, {
    subscription,
    variables: {},
    onNext: ({ inbox: event }) => inbox.put(event),
    onError: (error) => inbox.end(error.message),
    onCompleted: () => inbox.end(),
  });
  open.push({ environment, socket: { dispose: async () => dispose() } });
  return inbox;
}

describe('Relay', () => {
  afterEach(async () => {
    // `dispose` rejects if the connection was never opened. This error is ignored.
    for (const { socket } of open.splice(0).reverse()) await socket.dispose().catch(() => {});
  });

  test('runs queries and mutations, and loses no inbox event when the connection breaks', async () => {
    const { alice, bob, conversation } = await pair(server);
    const [ofAlice, ofBob] = [alice, bob].map((person) => connectAs(person));
    const inbox = listen(ofBob, await compiled.artifact('InboxSubscription'));
    assert.equal((await inbox.next()).__typename, 'CaughtUp');
    const mutation = await compiled.artifact('SendMutation');
    const { sendMessage } = await send(ofAlice, mutation, { conversationId: conversation, body: 'Hello Bob' });
    assert.equal(sendMessage.message.sender.id, alice.id);
    assert.equal((await inbox.next()).message.id, sendMessage.message.id);
    sockets.at(-1).terminate();
    await alice.sendAll(conversation, bodies('meanwhile', 3));
    await inbox.until((event) => event.message?.number === 4);
    assert.deepEqual(inbox.messages().map((message) => message.number), upTo(4));
    assertNoDuplicates(inbox);
    await assert.rejects(send(ofAlice, mutation, { conversationId: alice.id, body: 'to nobody' }));
  });

  test('connections load pages in both directions', async () => {
    const { alice, conversation } = await pair(server);
    await alice.sendAll(conversation, bodies('message', 7));
    const environment = connectAs(alice);
    const variables = { id: conversation, count: 3 };
    const query = await compiled.artifact('MessagesQuery');
    await fetchQuery(environment, query, variables).toPromise();
    environment.retain(createOperationDescriptor(query, variables));
    const fragment = await compiled.artifact('Messages_conversation');
    const messages = () => {
      const selector = relay.getSelector(fragment, read(environment, query, variables).conversation);
      return environment.lookup(selector).data.messages;
    };
    assert.deepEqual(numbers(messages()), [5, 6, 7]);
    const page = await compiled.artifact('MessagesPage');
    while (messages().pageInfo.hasPreviousPage) {
      const before = messages().pageInfo.startCursor;
      await fetchQuery(environment, page, { id: conversation, count: 3, before }).toPromise();
    }
    assert.deepEqual(numbers(messages()), upTo(7));

    for (const _ of upTo(2)) await alice.openConversationWith(await Person.register(server, 'carol'));
    const all = await compiled.artifact('ConversationsQuery');
    const { viewer } = await fetchQuery(environment, all, {}).toPromise();
    const list = environment.lookup(relay.getSelector(await compiled.artifact('Conversations_viewer'), viewer)).data;
    assert.deepEqual([list.conversations.edges.length, list.conversations.pageInfo.hasNextPage], [2, true]);
  });

  test('the server accepts its persisted queries as a manifest', async () => {
    const { root, artifact } = await compile('persisted', {
      persistConfig: { file: './persisted.json', algorithm: 'SHA256' },
    });
    const manifest = join(root, 'persisted.json');
    const { length } = Object.keys(JSON.parse(await readFile(manifest, 'utf8')));
    assert.equal(length, 5);
    // The manifest does not contain the documents that create accounts, so another node, which accepts all documents,
    // creates the accounts.
    const [anything, registered] = await startNodes({}, { PERSISTED_MANIFEST: manifest });
    const { alice, bob, conversation } = await pair(anything);
    const ofBob = connectAs(bob, registered);
    const inbox = listen(ofBob, await artifact('InboxSubscription'));
    assert.equal((await inbox.next()).__typename, 'CaughtUp');
    const subscribe = sockets.at(-1).sent.find(({ type }) => type === 'subscribe');
    assert.deepEqual(Object.keys(subscribe.payload).toSorted(), ['documentId', 'operationName', 'query', 'variables']);
    requests.length = 0;
    const mutation = await artifact('SendMutation');
    await send(connectAs(alice, registered), mutation, { conversationId: conversation, body: 'by its id' });
    assert.equal((await inbox.next()).message.body, 'by its id');
    assert.ok(JSON.parse(requests[0].body).documentId);
    await assert.rejects(alice.ask('{ viewer { id } }', {}, registered), { code: 'FORBIDDEN' });
  });
});
