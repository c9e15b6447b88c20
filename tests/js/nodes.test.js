// Tests of two nodes with one Postgres and one Redis: for clients they behave like one server.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { startNodes } from './servers.mjs';
import { assertNoDuplicates, bodies, listen, pair, Person, upTo } from './support.mjs';

let nodes;
before(async () => {
  nodes = await startNodes({}, {});
});

const on = (node) => ({ url: node.socketUrl });

describe('two nodes', { concurrency: true }, () => {
  test('subscribers on both nodes receive the same messages in the same order', async () => {
    const [a, b] = nodes;
    const [alice, bob, carol] = await Promise.all([
      Person.register(a, 'alice'),
      Person.register(b, 'bob'),
      Person.register(b, 'carol'),
    ]);
    const { createGroup } = await alice.ask(
      `mutation ($input: CreateGroupInput!) { createGroup(input: $input) { conversation { id } } }`,
      { input: { title: 'Everybody', participantIds: [bob.id, carol.id] } },
    );
    const group = createGroup.conversation.id;
    const listeners = [alice, bob, carol].flatMap((person) => nodes.map((node) => listen(person, on(node))));
    for (const { inbox } of listeners) assert.equal((await inbox.next()).__typename, 'CaughtUp');

    await Promise.all(
      [alice, bob, carol].flatMap((person) =>
        nodes.map((node, n) => person.sendAll(group, bodies(`${person.username} by ${n}`, 15), { server: node })),
      ),
    );
    const heard = await Promise.all(listeners.map(({ inbox }) => inbox.take(90)));
    assert.deepEqual(heard[0].map((event) => event.message.number), upTo(90));
    for (const events of heard) assert.deepEqual(events, heard[0]);
    for (const { inbox } of listeners) inbox.assertEmpty();
  });

  test('a stream resumed on another node delivers exactly the missed events', async () => {
    const [a, b] = nodes;
    const { alice, bob, conversation } = await pair(a);
    const first = listen(bob, { ...on(a), retryAttempts: 0 });
    await first.inbox.next();
    await alice.sendAll(conversation, bodies('seen', 2));
    await first.inbox.take(2);
    await first.cut();

    await alice.sendAll(conversation, bodies('missed', 2), { server: a });
    await alice.sendAll(conversation, bodies('missed too', 2), { server: b });

    const second = listen(bob, { ...on(b), after: first.cursor() });
    const events = await second.inbox.until((event) => event.__typename === 'CaughtUp');
    assert.deepEqual(events.map((event) => event.message?.number), [3, 4, 5, 6, undefined]);
    for (const server of nodes) {
      await alice.send(conversation, 'live', { server });
      assert.equal((await second.inbox.next()).message.body, 'live');
    }
    second.inbox.assertEmpty();
  });

  test('a client that reconnects repeatedly to alternating nodes misses nothing', async () => {
    const { alice, bob, conversation } = await pair(nodes[0]);
    let attempts = 0;
    const listener = listen(bob, { url: () => nodes[attempts++ % 2].socketUrl });
    await listener.inbox.next();
    const sending = Promise.all(
      nodes.map((server, n) => alice.sendAll(conversation, bodies(`by ${n}`, 100), { server })),
    );
    let received = 0;
    while (received < 200) {
      const event = await listener.inbox.next();
      if (event.__typename !== 'MessageAdded') continue;
      received += 1;
      if (received % 20 === 0) await listener.cut();
    }
    await sending;
    assert.deepEqual(listener.inbox.messages().map((message) => message.number), upTo(200));
    assertNoDuplicates(listener.inbox);
    assert.ok(attempts >= 10, `${attempts} connections`);
  });

  test('a message stored by one node is immediately visible on the other', async () => {
    const [a, b] = nodes;
    const { alice, bob, conversation } = await pair(a);
    const sent = await alice.send(conversation, 'just now', { server: a });
    const { node } = await bob.ask(
      `query ($id: ID!) {
        node(id: $id) { ... on Conversation { lastMessage { id body } viewerMembership { unreadCount } } }
      }`,
      { id: conversation },
      b,
    );
    assert.deepEqual(node, {
      lastMessage: { id: sent.id, body: 'just now' },
      viewerMembership: { unreadCount: 1 },
    });
  });
});
