// Tests of the end of a session: its sockets on all nodes close.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { startNodes } from './servers.mjs';
import { assertNoDuplicates, FORBIDDEN, listen, pair, PASSWORD, Person, RawSocket, upTo } from './support.mjs';

const SIGNED_OUT = [4403, FORBIDDEN];
const TTL_SECONDS = 10;

let nodes, shortLived;
before(async () => {
  [nodes, [shortLived]] = await Promise.all([
    startNodes({}, {}),
    startNodes({ ACCESS_TOKEN_TTL: String(TTL_SECONDS) }),
  ]);
});

/** Signs in two devices of one account. Each device has a socket on every node. */
async function twoDevices() {
  const phone = await Person.register(nodes[0], 'phone');
  const laptop = await phone.onAnotherDevice(nodes[1]);
  const [onPhone, onLaptop] = await Promise.all(
    [phone, laptop].map((device) => Promise.all(nodes.map((node) => RawSocket.init(node, device.token)))),
  );
  for (const socket of [...onPhone, ...onLaptop]) {
    socket.subscribe('inbox', 'subscription { inbox { __typename } }');
    assert.equal((await socket.next()).payload.data.inbox.__typename, 'CaughtUp');
  }
  return { phone, laptop, onPhone, onLaptop };
}

async function assertLoggedOut(device, sockets) {
  await Promise.all(sockets.map((socket) => socket.assertCloses(...SIGNED_OUT)));
  for (const node of nodes) {
    await assert.rejects(device.ask('{ viewer { id } }', {}, node), { code: 'UNAUTHENTICATED' });
    const socket = await RawSocket.open(node);
    socket.send({ type: 'connection_init', payload: { Authorization: `Bearer ${device.token}` } });
    await socket.assertCloses(...SIGNED_OUT);
  }
}

async function assertLoggedIn(device, sockets) {
  for (const socket of sockets) {
    await socket.assertAlive();
    socket.close();
  }
  for (const node of nodes) await device.ask('{ viewer { id } }', {}, node);
}

describe('sessions', { concurrency: true }, () => {
  test('revoking a session closes its sockets on every node with 4403, and no others', async () => {
    const { phone, laptop, onPhone, onLaptop } = await twoDevices();
    const { viewer } = await phone.ask('{ viewer { sessions { id viewerIsCurrent } } }');
    assert.deepEqual(
      new Set(viewer.sessions.map((session) => `${session.id} ${session.viewerIsCurrent}`)),
      new Set([`${phone.auth.session.id} true`, `${laptop.auth.session.id} false`]),
    );
    await phone.ask(`mutation ($input: RevokeSessionInput!) { revokeSession(input: $input) { sessionId } }`, {
      input: { sessionId: laptop.auth.session.id },
    });
    await assertLoggedOut(laptop, onLaptop);
    await assertLoggedIn(phone, onPhone);
  });

  test('logging out closes the sockets of the session on every node with 4403', async () => {
    const { phone, laptop, onPhone, onLaptop } = await twoDevices();
    await laptop.ask('mutation { logout { sessionId } }');
    await assertLoggedOut(laptop, onLaptop);
    await assertLoggedIn(phone, onPhone);
  });

  test('changing the password closes the sockets of all other sessions with 4403', async () => {
    const { phone, laptop, onPhone, onLaptop } = await twoDevices();
    await laptop.ask(`mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { viewer { id } } }`, {
      input: { currentPassword: PASSWORD, newPassword: 'nine loud gulls at dawn' },
    });
    await assertLoggedOut(phone, onPhone);
    await assertLoggedIn(laptop, onLaptop);
  });

  test('an expired token closes its socket with 4403', async () => {
    const alice = await Person.register(shortLived, 'alice');
    const socket = await RawSocket.init(shortLived, alice.token);
    await socket.assertCloses(...SIGNED_OUT, 2 * TTL_SECONDS * 1000);
    const late = Date.now() - Date.parse(alice.auth.accessTokenExpiresAt);
    assert.ok(late > -1000 && late < 5000, `closed ${late} ms after the token expired`);
    await assert.rejects(alice.ask('{ viewer { id } }'), { code: 'UNAUTHENTICATED' });
  });

  test('follow() with refreshed tokens continues after the first token expires', async () => {
    const { alice, bob, conversation } = await pair(shortLived);
    let first = true;
    const token = async () => {
      if (!first) await bob.refresh();
      first = false;
      return bob.token;
    };
    const listener = listen(bob, { token });
    await listener.inbox.next();
    await alice.send(conversation, 'by the first token');
    await listener.inbox.next();
    const close = await listener.closes.next(2 * TTL_SECONDS * 1000);
    assert.equal(close.code, SIGNED_OUT[0]);

    await alice.refresh();
    await alice.send(conversation, 'by the second token');
    await listener.inbox.until((event) => event.message?.number === 2);
    assert.deepEqual(listener.inbox.messages().map((message) => message.number), upTo(2));
    assertNoDuplicates(listener.inbox);
  });
});
