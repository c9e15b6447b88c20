// Compares responses and events of a server with the documents that select them. The rules of the specification decide
// which fields a response has, and in which order. The documents are random with fixed seeds, or known to be hard.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import { buildSchema, parse, validate } from 'graphql';
import { Queries } from './random-queries.mjs';
import { assertSelected, TYPE, withTypes } from './selections.mjs';
import { startNodes } from './servers.mjs';
import { Mailbox, Person, RawSocket } from './support.mjs';

const QUERIES = 400;
/** Random subscriptions to each field. */
const SUBSCRIPTIONS = 15;
/** Requests that are sent at the same time. */
const AT_ONCE = 8;
const TIMEOUT_MS = 110_000;

/** The documents have many aliases and lists, but limits are not tested here. */
const LIMITS = {
  OPERATION_MAX_ALIASES: '10000',
  OPERATION_MAX_COMPLEXITY: '1000000',
  SUBSCRIPTION_BUDGET: '100000000',
};

/** Subscriptions with fragments on unions and interfaces inside each other. */
const INBOX = [
  'subscription { inbox { ... on CaughtUp { ...E } } } fragment E on InboxEvent { ... on CaughtUp { cursor } }',
  'subscription { inbox { ... on CallRinging { ... on CallEvent { ... on CallRinging { call { id } } } } } }',
  'subscription { inbox { ... on CallEvent { ... on InboxEvent { ... on CallRinging { call { kind } } } } } }',
  'subscription { inbox { ...E ...E } } fragment E on InboxEvent { ... on CallEvent { ...R } } fragment R on CallRinging { call { state ... on Node { id } } }',
  'subscription { inbox { ... on DurableEvent { ... on InboxEvent { ... on MessageAdded { cursor message { body } } } } } }',
  'subscription { inbox { ... on MessageAdded { ... on DurableEvent { c: cursor ... on InboxEvent { ... on MessageAdded { message { id } } } } } } }',
  'subscription { inbox { ... on MessageAdded { message { ... on Node { ... on Message { body sender { ... on Node { id } } } } } } } }',
  'subscription { inbox { ... on MessageAdded { ... { ... on InboxEvent { ...M } } } } } fragment M on MessageAdded { message { body } message { number } }',
  'subscription { ...A ...B } fragment A on Subscription { inbox { ... on CallEvent { ... on CallEnded { call { endReason } } } } } fragment B on Subscription { inbox { ... on CallEnded { call { id } } ... on CaughtUp { ... on InboxEvent { __typename } } } }',
  'subscription ($on: Boolean!, $off: Boolean = false) { inbox { ... on InboxEvent @include(if: $on) { ... on CaughtUp { cursor @skip(if: $off) } ... on CallEvent @include(if: $off) { __typename } } } }',
];
const CALL_EVENTS = [
  'subscription { callEvents { ... on CallRinging { ... on InboxEvent { ... on CallEvent { ... on CallRinging { call { id } } } } } } }',
  'subscription { callEvents { ...E } } fragment E on CallEvent { ... on InboxEvent { ... on CallEnded { call { endReason } } ... on CallRinging { call { kind } } } }',
  'subscription { callEvents { ... on CallsCaughtUp { ... on CallEvent { ... on CallsCaughtUp { ringing { id } current { id } } } } } }',
];

const schema = buildSchema(readFileSync(new URL('../../schema.graphql', import.meta.url), 'utf8'));
let server, alice, bob, carol, dave, conversation, group, data;

/** Runs a mutation with one input. */
async function mutate(person, name, input, selection) {
  const type = schema.getMutationType().getFields()[name].args[0].type;
  const answer = await person.ask(`mutation ($input: ${type}) { ${name}(input: $input) { ${selection} } }`, { input });
  return answer[name];
}

before(async () => {
  [server] = await startNodes(LIMITS);
  const names = ['alice', 'bob', 'carol', 'dave', 'erin'];
  const people = await Promise.all(names.map((name) => Person.register(server, name)));
  const erin = people[4];
  [alice, bob, carol, dave] = people;
  conversation = await alice.openConversationWith(bob);
  const members = { title: 'Group of three', participantIds: [bob.id, carol.id] };
  group = (await mutate(alice, 'createGroup', members, 'conversation { id }')).conversation.id;
  const [hello] = await alice.sendAll(conversation, ['Hello Bob', 'How are you?']);
  const { message: reply } = await mutate(
    bob,
    'sendMessage',
    { conversationId: conversation, body: 'Well', replyToId: hello.id },
    'message { id }',
  );
  const word = await carol.send(group, `Hello @${alice.username}`);
  await mutate(bob, 'addReaction', { messageId: hello.id, emoji: '👍' }, 'message { id }');
  await mutate(alice, 'pinMessage', { messageId: word.id }, 'message { id }');
  const { invite } = await mutate(alice, 'createInvite', { conversationId: group, maxUses: 5 }, 'invite { id code }');
  const sendAt = new Date(Date.now() + 3_600_000).toISOString();
  const later = { conversationId: conversation, body: 'Later', sendAt };
  const { scheduledMessage } = await mutate(alice, 'scheduleMessage', later, 'scheduledMessage { id }');
  const { request } = await mutate(carol, 'sendContactRequest', { userId: alice.id }, 'request { id }');
  const { request: accepted } = await mutate(alice, 'sendContactRequest', { userId: bob.id }, 'request { id }');
  await mutate(bob, 'acceptContactRequest', { requestId: accepted.id }, 'contact { id }');
  await mutate(alice, 'sendContactRequest', { userId: dave.id }, 'request { id }');
  await mutate(alice, 'blockUser', { userId: erin.id }, 'user { id }');
  const { viewer } = await alice.ask('{ viewer { conversations { nodes { participants { nodes { id } } } } } }');
  const participants = viewer.conversations.nodes.flatMap(({ participants: { nodes } }) => nodes.map(({ id }) => id));
  const messages = [hello.id, reply.id, word.id];
  const owned = [alice.auth.session.id, invite.id, request.id, scheduledMessage.id];
  data = {
    ids: [alice.id, bob.id, conversation, group, ...messages, ...owned, participants[0]],
    conversations: [conversation, group],
    users: people.map(({ id }) => id),
    usernames: people.map(({ username }) => username),
    code: invite.code,
    words: ['hello', 'well'],
  };
});

/** Yields the first `count` requests of the generators that are valid, with `t__` in each selection set. */
function* requests(count, generate) {
  let found = 0;
  for (let seed = 1; found < count; seed += 1) {
    assert.ok(seed < 20 * count, 'the generators make too few valid documents');
    const { query, variables } = generate(new Queries(schema, seed, data));
    const request = { seed, query: withTypes(schema, query), variables };
    if (validate(schema, parse(request.query)).length > 0) continue;
    found += 1;
    yield request;
  }
}

/** Does `work` for a request. An error shows the request. */
async function explained(request, work) {
  try {
    return await work();
  } catch (error) {
    error.message += `\n${JSON.stringify(request.variables)} with the seed ${request.seed}:\n${request.query}`;
    throw error;
  }
}

describe('a query', () => {
  test('selects exactly the fields of the specification in random documents', { timeout: TIMEOUT_MS }, async () => {
    const random = requests(QUERIES, (generator) => generator.query());
    const seen = [];
    const work = async () => {
      for (const request of random) {
        await explained(request, async () => {
          const answer = await alice.ask(request.query, request.variables);
          seen.push(...assertSelected(schema, request, answer));
        });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    // The test is useful only if the documents select many objects of many types.
    assert.ok(seen.length > 3 * QUERIES, `${seen.length} objects`);
    const types = new Set(seen);
    for (const name of ['User', 'Conversation', 'Message', 'Participant', 'Invite', 'Session', 'ContactRequest']) {
      assert.ok(types.has(name), `no object of the type ${name}`);
    }
  });

  test('is the same with a variable that is given, omitted or null, in any order', async () => {
    const query = `query ($id: ID!, $n: Int, $direction: ContactRequestDirection, $on: Boolean = true) {
      conversation(id: $id) { participants(first: $n) { nodes { role } } id @include(if: $on) }
      viewer { contactRequests(direction: $direction) { nodes { to { id } } } }
    }`;
    const [incoming, outgoing] = [alice.id, dave.id];
    for (const [given, count, to, on] of [
      [{ n: 2, direction: 'OUTGOING', on: false }, 2, outgoing, false],
      [{}, 3, incoming, true],
      [{ n: null }, 3, incoming, true],
      [{ n: 1, on: true }, 1, incoming, true],
      [{ direction: 'INCOMING' }, 3, incoming, true],
      [{ n: null, direction: 'OUTGOING' }, 3, outgoing, true],
      [{ n: 2, direction: 'OUTGOING', on: false }, 2, outgoing, false],
    ]) {
      const answer = await alice.ask(query, { id: group, ...given });
      const what = JSON.stringify(given);
      assert.equal(answer.conversation.participants.nodes.length, count, what);
      assert.deepEqual(answer.viewer.contactRequests.nodes, [{ to: { id: to } }], what);
      assert.equal('id' in answer.conversation, on, what);
    }
  });

  test('fails if a variable is null where null is not allowed', async () => {
    // The default of the argument or of the variable allows the nullable type, but not null (section 5.8.5).
    for (const query of [
      'query ($v: ContactRequestDirection) { viewer { contactRequests(direction: $v) { nodes { id } } } }',
      'query ($v: Boolean = true) { viewer { id @skip(if: $v) } }',
      'query ($v: Boolean = true) { viewer { ... @include(if: $v) { id } } }',
      'query ($v: ID = "usr_none") { node(id: $v) { id } }',
    ]) {
      await assert.rejects(alice.ask(query, { v: null }), ({ errors }) => errors.length > 0, query);
    }
  });
});

describe('a mutation', () => {
  const A = 'fragment A on Mutation { createInvite(input: $input) { invite { id } } }';
  const B = 'fragment B on Mutation { createInvite(input: $input) { invite { code } } }';

  for (const [what, selections, invites] of [
    ['through two fragments under one response key', `{ ...A ...B } ${A} ${B}`, 1],
    ['through one fragment twice', `{ ...A ...A } ${A}`, 1],
    ['through inline fragments and a field', '{ ... { createInvite(input: $input) { invite { id } } } ... on Mutation { createInvite(input: $input) { invite { code } } } createInvite(input: $input) { invite { uses } } }', 1],
    ['twice in one selection set', '{ createInvite(input: $input) { invite { id } } createInvite(input: $input) { invite { code } } }', 1],
    ['under two response keys', `{ ...A other: createInvite(input: $input) { invite { code } } } ${A}`, 2],
    ['in a fragment that is skipped', `{ ...A @skip(if: true) ... @include(if: false) { ...A } other: createInvite(input: $input) { invite { code } } } ${A}`, 1],
  ]) {
    test(`selected ${what} creates ${invites === 1 ? 'one invite' : 'two invites'}`, async () => {
      const count = async () => {
        const answer = await alice.ask('query ($id: ID!) { conversation(id: $id) { invites(first: 100) { nodes { id } } } }', { id: group });
        return answer.conversation.invites.nodes.length;
      };
      const variables = { input: { conversationId: group } };
      const request = { query: withTypes(schema, `mutation ($input: CreateInviteInput!) ${selections}`), variables };
      const known = await count();
      const answer = await alice.ask(request.query, variables);
      await explained(request, () => assertSelected(schema, request, answer));
      assert.equal((await count()) - known, invites);
    });
  }
});

/** Subscribes to all requests over one socket of `person`. Returns the events of each request. */
async function subscribeAll(person, all) {
  const socket = await RawSocket.init(server, person.token);
  const boxes = all.map(({ query }) => new Mailbox(`the events of ${query}`));
  socket.socket.on('message', (text) => {
    const { type, id, payload } = JSON.parse(text);
    if (type === 'next' && payload.data && !payload.errors) boxes[id].put(payload.data);
    else if (id !== undefined) boxes[id].end(payload ?? type);
  });
  all.forEach(({ query, variables }, id) => socket.subscribe(`${id}`, query, variables));
  return { all, boxes, close: () => socket.close() };
}

/** Asserts that each event up to the first one of the type `name` has exactly the selected fields. */
async function assertEvents({ all, boxes }, name) {
  for (const [index, box] of boxes.entries()) {
    const isLast = (event) => Object.values(event)[0][TYPE] === name;
    const events = await explained(all[index], () => box.until(isLast));
    for (const event of events) await explained(all[index], () => assertSelected(schema, all[index], event));
  }
}

describe('a subscription', () => {
  test('selects exactly the fields of the specification in each event', { timeout: TIMEOUT_MS }, async () => {
    const byHand = (queries) => queries.map((query) => ({ query: withTypes(schema, query), variables: { on: true } }));
    const random = (name) => [...requests(SUBSCRIPTIONS, (generator) => generator.subscription(name))];
    const all = [
      [...byHand(INBOX), ...random('inbox')],
      [...byHand(CALL_EVENTS), ...random('callEvents')],
      random('room'),
    ];
    const [inbox, calls, rooms] = await Promise.all(all.map((some) => subscribeAll(bob, some)));
    await assertEvents(rooms, 'RoomSnapshot');
    await assertEvents(inbox, 'CaughtUp');
    await assertEvents(calls, 'CallsCaughtUp');
    await mutate(alice, 'setTyping', { conversationId: conversation, typing: true }, 'conversationId');
    await alice.send(conversation, 'Can I call you?');
    await assertEvents(inbox, 'MessageAdded');
    const start = { conversationId: conversation, kind: 'AUDIO' };
    const { call } = await mutate(alice, 'startCall', start, 'call { id }');
    for (const subscriptions of [inbox, calls]) await assertEvents(subscriptions, 'CallRinging');
    await mutate(alice, 'leaveCall', { callId: call.id }, 'call { id }');
    for (const subscriptions of [inbox, calls]) await assertEvents(subscriptions, 'CallEnded');
    for (const { close } of [inbox, calls, rooms]) close();
  });

  test('is the same with a variable that is given, omitted or null, in any order', { timeout: TIMEOUT_MS }, async () => {
    const query = `subscription ($after: String, $id: ID, $n: Int) {
      messageAdded(after: $after, conversationId: $id) {
        message { body conversation { participants(first: $n) { nodes { role } } } }
      }
    }`;
    const caughtUp = [{ query: 'subscription { inbox { ... on CaughtUp { cursor } } }', variables: {} }];
    const { boxes: [start], close: end } = await subscribeAll(bob, caughtUp);
    // The streams begin at a cursor, so that they get all messages.
    const after = (await start.next()).inbox.cursor;
    const all = [{ id: group, n: 1 }, {}, { id: null, n: null }, { id: group, n: null }, { n: 2 }, { id: group, n: 1 }];
    const { boxes, close } = await subscribeAll(bob, all.map((given) => ({ query, variables: { after, ...given } })));
    for (const [place, body] of [[group, 'first'], [conversation, 'direct'], [group, 'last']]) await alice.send(place, body);
    for (const [index, { id, n }] of all.entries()) {
      const events = await boxes[index].until(({ messageAdded }) => messageAdded.message.body === 'last');
      const found = events.map(({ messageAdded: { message } }) => [message.body, message.conversation.participants.nodes.length]);
      const expected = [['first', Math.min(n ?? 3, 3)], ['direct', Math.min(n ?? 2, 2)], ['last', Math.min(n ?? 3, 3)]];
      assert.deepEqual(found, expected.filter(([body]) => body !== 'direct' || id !== group), JSON.stringify(all[index]));
    }
    for (const stop of [close, end]) stop();
  });
});
