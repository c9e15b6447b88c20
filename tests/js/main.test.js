// Tests of the usual operations of a chat app, on a server without configuration.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { startUnconfigured } from './servers.mjs';
import { assertNoDuplicates, bodies, gate, listen, pair, Person, upTo } from './support.mjs';

let server;
before(async () => {
  server = await startUnconfigured();
});

describe('a server with no configuration', { concurrency: true }, () => {
  test('two users find each other, exchange messages and see read receipts', async () => {
    const [alice, bob] = await Promise.all([Person.register(server, 'ada'), Person.register(server, 'bert')]);
    const { searchUsers } = await alice.ask(`query ($query: String!) { searchUsers(query: $query) { nodes { id } } }`, {
      query: bob.username,
    });
    assert.deepEqual(searchUsers.nodes, [{ id: bob.id }]);

    const listeners = [listen(alice), listen(bob)];
    for (const { inbox } of listeners) assert.equal((await inbox.next()).__typename, 'CaughtUp');

    const conversation = await alice.openConversationWith(bob);
    assert.equal(await bob.openConversationWith(alice), conversation, 'two users have one direct conversation');
    for (const { inbox } of listeners) {
      const added = await inbox.next();
      assert.equal(added.__typename, 'ConversationAdded');
      assert.deepEqual(added.conversation, { id: conversation, kind: 'DIRECT' });
    }

    const first = await alice.send(conversation, 'Hello Bert 👋');
    const answer = await bob.send(conversation, 'Hello Ada');
    await Promise.all([
      ...bodies('from Ada', 9).map((body) => alice.send(conversation, body)),
      ...bodies('from Bert', 9).map((body) => bob.send(conversation, body)),
    ]);
    const [heardByAlice, heardByBob] = await Promise.all(listeners.map(({ inbox }) => inbox.take(20)));
    assert.deepEqual(heardByAlice, heardByBob, 'events, their order and their cursors must be the same');
    const messages = heardByAlice.map((event) => event.message);
    assert.deepEqual(messages.map((message) => message.number), upTo(20));
    assert.deepEqual(messages.slice(0, 2).map((message) => [message.id, message.body, message.sender.id]), [
      [first.id, 'Hello Bert 👋', alice.id],
      [answer.id, 'Hello Ada', bob.id],
    ]);

    await bob.markRead(messages.at(-1).id);
    for (const { inbox } of listeners) {
      const receipt = await inbox.next();
      assert.equal(receipt.__typename, 'ReceiptAdvanced');
      assert.deepEqual(receipt.participant, { user: { id: bob.id }, lastReadNumber: 20, lastDeliveredNumber: 20 });
      inbox.assertEmpty();
    }
  });

  test('a stream resumed from a cursor delivers exactly the missed events', async () => {
    const { alice, bob, conversation } = await pair(server);
    const before = listen(bob, { retryAttempts: 0 });
    assert.equal((await before.inbox.next()).__typename, 'CaughtUp');
    await alice.sendAll(conversation, bodies('seen', 3));
    await before.inbox.take(3);
    await before.cut();

    const missed = await alice.sendAll(conversation, bodies('missed', 5));
    await alice.markRead(missed.at(-1).id);

    const back = listen(bob, { after: before.cursor() });
    const events = await back.inbox.until((event) => event.__typename === 'CaughtUp');
    assert.deepEqual(
      events.map((event) => event.message?.body ?? event.__typename),
      [...bodies('missed', 5), 'ReceiptAdvanced', 'CaughtUp'],
    );

    await alice.send(conversation, 'live');
    assert.equal((await back.inbox.next()).message.body, 'live');
    assert.deepEqual([...before.inbox.messages(), ...back.inbox.messages()].map((message) => message.number), upTo(9));
    back.inbox.assertEmpty();
  });

  test('follow() reconnects by itself and loses no event', async () => {
    const { alice, bob, conversation } = await pair(server);
    let away;
    const listener = listen(bob, { retryWait: () => away.opened });
    assert.equal((await listener.inbox.next()).__typename, 'CaughtUp');
    for (const round of upTo(3)) {
      away = gate();
      await listener.cut();
      await alice.sendAll(conversation, bodies(`missed in round ${round}`, 2));
      listener.inbox.assertEmpty();
      away.open();
      const events = await listener.inbox.until((event) => event.__typename === 'CaughtUp');
      assert.deepEqual(events.map((event) => event.message?.number), [round * 3 - 2, round * 3 - 1, undefined]);
      await alice.send(conversation, `live in round ${round}`);
      assert.equal((await listener.inbox.next()).message.number, round * 3);
    }
    assertNoDuplicates(listener.inbox);
  });

  test('a message sent again with the same clientId is stored once', async () => {
    const { alice, bob, conversation } = await pair(server);
    const listener = listen(bob);
    await listener.inbox.next();
    const clientId = crypto.randomUUID();
    const attempts = await Promise.all(upTo(5).map(() => alice.send(conversation, 'once', { clientId })));
    attempts.push(await alice.send(conversation, 'once', { clientId }));
    assert.equal(new Set(attempts.map((message) => message.id)).size, 1);
    await alice.send(conversation, 'and another');
    const events = await listener.inbox.take(2);
    assert.deepEqual(
      events.map(({ message }) => [message.number, message.body, message.clientId]),
      [[1, 'once', clientId], [2, 'and another', null]],
    );
  });

  test('an invalid cursor ends the subscription with BAD_USER_INPUT', async () => {
    const alice = await Person.register(server, 'alice');
    const listener = listen(alice, { after: 'yesterday' });
    await assert.rejects(listener.inbox.next(), /BAD_USER_INPUT/);
  });

  test('users outside the conversation receive no events of it', async () => {
    const { alice, bob, conversation } = await pair(server);
    const eve = await Person.register(server, 'eve');
    const listener = listen(eve);
    assert.equal((await listener.inbox.next()).__typename, 'CaughtUp');
    await alice.send(conversation, 'between us');
    await assert.rejects(eve.send(conversation, 'me too'), { code: 'NOT_FOUND' });
    // Events are delivered in order, so an event for the message would arrive before this event.
    await bob.openConversationWith(eve);
    assert.equal((await listener.inbox.next()).__typename, 'ConversationAdded');
  });
});
