// Push notifications from the server to the browser: registration, encryption, and what web/push/push.js reports.

import assert from 'node:assert/strict';
import { afterEach, before, describe, test } from 'node:test';
import { CONTACT, NOTIFICATIONS, Place, until } from './push-devices.mjs';
import { pair, Person, RawSocket } from './support.mjs';

const DAY_SECONDS = 24 * 60 * 60;

const REGISTER = `mutation ($input: RegisterPushSubscriptionInput!) {
  registerPushSubscription(input: $input) { pushSubscription { id } }
}`;

let place, server;
before(async () => {
  place = await Place.open();
  ({ server } = place);
});

describe('the way from the server to the browser', () => {
  afterEach(() => place.close());

  test('a message is shown, and closed when the user reads it on another device', async () => {
    const { alice, bob, conversation } = await pair(server);
    const device = await place.openDevice(bob);
    const [{ pushes }] = device.receivers;
    const body = '<b>not bold</b> & "quoted" {conversationId} \u05d0 \u{1f426}';
    const sent = await alice.send(conversation, body);

    const push = await pushes.next();
    assert.equal(push.headers['content-encoding'], 'aes128gcm');
    assert.ok(Number(push.headers.ttl) > 0, push.headers.ttl);
    assert.match(push.headers.urgency, /^(high|normal)$/);
    assert.match(push.headers.topic, /^[\w-]{1,32}$/);
    assert.equal(push.vapid.key, place.key);
    const { aud, sub, exp } = push.vapid.claims;
    assert.deepEqual([aud, sub], [place.service.url, CONTACT]);
    const now = Date.now() / 1000;
    assert.ok(exp > now && exp <= now + DAY_SECONDS, String(exp));
    const { payload } = push;
    assert.deepEqual([payload.kind, payload.conversationId, payload.messageId], ['message', conversation, sent.id]);
    assert.deepEqual([payload.count, payload.badge], [1, 1]);
    assert.ok(payload.body.includes(body), payload.body);

    await device.deliver(push.text);
    const [notification, ...others] = await device.notifications();
    assert.deepEqual(others, []);
    const { title, tag } = notification;
    assert.deepEqual([title, notification.body, tag], [payload.title, payload.body, conversation]);
    assert.deepEqual(await device.take('badges'), [1]);

    const phone = await bob.onAnotherDevice();
    await phone.markRead(sent.id);
    const dismissal = await pushes.next();
    const { kind, conversationId, badge } = dismissal.payload;
    assert.deepEqual([kind, conversationId, badge], ['dismiss', conversation, 0]);
    assert.equal(dismissal.headers.topic, push.headers.topic);
    await device.deliver(dismissal.text);
    assert.deepEqual(await device.take('closed'), [conversation]);
    assert.deepEqual(await device.take('badges'), [0]);
    await device.assertShown();
  });

  test('a subscription is registered once for its session, until it is turned off', async () => {
    const bob = await Person.register(server, 'bob');
    const device = await place.openDevice(bob);
    const [subscription, ...others] = await device.subscriptions();
    assert.deepEqual(others, []);
    assert.deepEqual([subscription.transport, subscription.session.id], ['WEB_PUSH', bob.auth.session.id]);
    await device.turnOn();
    assert.deepEqual(await device.page.evaluate(() => window.push.resume()), { value: undefined });
    assert.deepEqual(await device.subscriptions(), [subscription]);

    await device.deliver({ kind: 'test', title: 'It works' });
    await device.assertShown('test');
    assert.deepEqual(await device.page.evaluate(() => window.push.turnOff()), { value: undefined });
    assert.deepEqual(await device.subscriptions(), []);
    await device.assertShown();
    // The user has turned them off, so the next start of the page does not turn them on.
    assert.deepEqual(await device.page.evaluate(() => window.push.resume()), { value: undefined });
    assert.deepEqual(await device.subscriptions(), []);
  });

  test('a subscription for another key is replaced', async () => {
    const { alice, bob, conversation } = await pair(server);
    const device = await place.openDevice(bob, 2);
    const [before] = await device.subscriptions();
    await device.page.evaluate(() => window.push.useAnotherKey());
    await device.turnOn();
    const [after, ...others] = await device.subscriptions();
    assert.deepEqual(others, []);
    assert.notEqual(after.id, before.id);
    const sent = await alice.send(conversation, 'by the new subscription');
    assert.equal((await device.receivers[1].pushes.next()).payload.messageId, sent.id);
    device.receivers[0].pushes.assertEmpty();
  });

  test('a page registers the subscription that the browser has replaced', async () => {
    const device = await place.openDevice(await Person.register(server, 'bob'), 2);
    const [before] = await device.subscriptions();
    await device.page.evaluate(() => window.push.loseSubscription());
    await device.worker.evaluate(() => self.dispatchEvent(new ExtendableEvent('pushsubscriptionchange')));
    await until(async () => (await device.subscriptions()).length === 2, 'the second subscription');
    assert.ok((await device.subscriptions()).some(({ id }) => id === before.id));
    assert.deepEqual(await device.take('subscribed'), []);
  });

  test('a connected device gets pushes only while its page is hidden', async () => {
    const { alice, bob, conversation } = await pair(server);
    const device = await place.openDevice(bob);
    const [{ pushes }] = device.receivers;
    // A device that is not connected gets all pushes, so it shows that the server has handled a message.
    const phone = await place.service.subscribe();
    const { endpoint, keys } = phone.subscription;
    await (await bob.onAnotherDevice()).ask(REGISTER, { input: { webPush: { endpoint, ...keys } } });
    const socket = await RawSocket.init(server, bob.token);
    const has = (status) => async () =>
      (await bob.ask('{ viewer { user { presence { status } } } }')).viewer.user.presence.status === status;
    const show = (isVisible) => device.page.evaluate((it) => window.push.setVisible(it), isVisible);
    await device.page.evaluate(() => window.push.watchVisibility());
    await until(has('ONLINE'), 'ONLINE at the start');

    const first = await alice.send(conversation, 'while the page is visible');
    assert.equal((await phone.pushes.next()).payload.messageId, first.id);
    await show(false);
    await until(has('AWAY'), 'AWAY of a hidden page');
    const sent = await alice.send(conversation, 'while the page is hidden');
    assert.equal((await pushes.next()).payload.messageId, sent.id);
    await show(true);
    await until(has('ONLINE'), 'ONLINE of a visible page');
    pushes.assertEmpty();
    socket.close();
  });

  test('a hidden page changes nothing while another page of the app is visible', async () => {
    const device = await place.openDevice(await Person.register(server, 'bob'));
    const reported = [];
    device.context.on('request', (request) => {
      const body = request.postData();
      if (body?.includes('SetPresence')) reported.push(JSON.parse(body).variables.input.status);
    });
    const [first, second] = [device.page, await device.context.newPage()];
    await place.load(second);
    await device.signIn(second);
    const show = (page, isVisible) => page.evaluate((it) => window.push.setVisible(it), isVisible);
    for (const page of [first, second]) await show(page, true);
    await first.evaluate(() => window.push.watchVisibility());
    await until(() => reported.length === 1, 'the report of the first page');
    await second.evaluate(() => window.push.watchVisibility());
    await until(() => reported.length === 2, 'the report of the second page');

    await show(first, false);
    await until(() => first.evaluate(() => window.push.isWaiting()), 'the first page to wait');
    assert.deepEqual(reported, ['ONLINE', 'ONLINE']);
    await show(second, false);
    await until(() => reported.length === 4, 'the reports of two hidden pages');
    await show(second, true);
    await until(() => reported.length === 5, 'the report of a visible page');
    assert.deepEqual(reported, ['ONLINE', 'ONLINE', 'AWAY', 'AWAY', 'ONLINE']);
  });
});

describe('a browser without pushes', () => {
  afterEach(() => place.close());

  const subscribe = async (permissions, given) => {
    const { page } = await place.openPage(permissions);
    return page.evaluate((it) => window.push.subscribeAtVendor(it), given);
  };

  test('reports that the user has denied the permission', async () => {
    const { name, code } = await subscribe(['geolocation'], { key: place.key });
    assert.deepEqual([name, code], ['PushError', 'PERMISSION_DENIED']);
  });

  test('reports that its push service gives no subscription', async () => {
    const { name, code, message } = await subscribe(NOTIFICATIONS, { key: place.key, subscribeMs: 5000 });
    assert.deepEqual([name, code], ['PushError', 'SUBSCRIPTION_FAILED']);
    assert.match(message, /^The push service of the browser gave no subscription\. \S/);
  });

  test('reports that the server has no key', async () => {
    const { name, code } = await subscribe(NOTIFICATIONS, { key: null });
    assert.deepEqual([name, code], ['PushError', 'UNAVAILABLE']);
  });
});
