// The service worker web/push/service-worker.js in Chromium: what it does for each kind of push, and for hostile ones.

import assert from 'node:assert/strict';
import { afterEach, before, beforeEach, describe, test } from 'node:test';
import { Place } from './push-devices.mjs';
import { Person } from './support.mjs';

/** The tag and the title of a notification without content. docs/clients.md sets the title. */
const GENERIC = { tag: 'parlance', title: 'Chat' };

const [CONVERSATION, OTHER, CALL] = ['conversation_1', 'conversation_2', 'call_1'];

const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();

/** The payload of a message. `sentAgo` is in seconds. */
const message = ({ id = 'message_1', body = 'hello', conversationId = CONVERSATION, sentAgo = 60, ...more } = {}) => ({
  ...{ kind: 'message', title: 'Ada', body, conversationId, messageId: id, callId: null, count: 1, badge: 1 },
  ...{ sentAt: ago(sentAgo), ...more },
});
const call = { kind: 'call', title: 'Ada', body: 'is calling', conversationId: CONVERSATION, callId: CALL };

describe('the service worker', () => {
  let place, device;
  before(async () => {
    place = await Place.open();
  });
  beforeEach(async () => {
    device = await place.openDevice(await Person.register(place.server, 'bob'));
  });
  afterEach(() => place.close());

  test('shows the newest message of each conversation, and makes a sound for each new one', async () => {
    await device.deliver(message({ body: 'first' }));
    await device.deliver(message({ id: 'message_2', body: 'second', sentAgo: 30 }));
    // Pushes are delivered at least once, in any order.
    await device.deliver(message({ id: 'message_2', body: 'second', sentAgo: 30 }));
    await device.deliver(message({ body: 'first' }));
    const shown = (await device.take('shown')).map(({ body, renotify, silent }) => [body, renotify, silent]);
    assert.deepEqual(shown, [
      ['first', true, undefined],
      ['second', true, undefined],
      ['second', false, undefined],
      ['second', undefined, true],
    ]);
    await device.deliver(message({ id: 'message_3', body: 'third', conversationId: OTHER }));
    const bodies = (await device.notifications()).map(({ body, tag }) => [body, tag]);
    assert.deepEqual(bodies, [['second', CONVERSATION], ['third', OTHER]]);
  });

  test('closes the notification of a conversation that was read', async () => {
    const dismiss = (more) => ({ kind: 'dismiss', conversationId: CONVERSATION, badge: 0, sentAt: ago(5), ...more });
    await device.deliver(call);
    await device.deliver(message());
    await device.deliver(dismiss({ conversationId: OTHER }));
    assert.deepEqual(await device.take('closed'), []);
    await device.deliver(dismiss());
    assert.deepEqual(await device.take('closed'), [CONVERSATION]);
    await device.assertShown(CALL);
    // This push is late: the message is newer than the one that was read.
    await device.deliver(message({ id: 'message_2', sentAgo: 2 }));
    await device.deliver(dismiss({ messageId: 'message_1', sentAt: ago(600) }));
    assert.deepEqual(await device.take('closed'), []);
    await device.deliver(dismiss({ messageId: 'message_2' }));
    assert.deepEqual(await device.take('closed'), [CONVERSATION]);
    await device.assertShown(CALL);
  });

  test('leaves it to the page to close what the page has shown', async () => {
    await device.deliver(call);
    await device.deliver(message());
    await device.assertShown(CALL, CONVERSATION);
    await device.page.evaluate((id) => window.push.app.hasRead(id), CONVERSATION);
    await device.assertShown(CALL);
  });

  test('shows a notification for each push in a browser that expects one', async () => {
    await device.worker.evaluate(() => delete WorkerNavigator.prototype.userAgentData);
    await device.page.evaluate((id) => (window.push.conversationId = id), CONVERSATION);
    const dismiss = { kind: 'dismiss', conversationId: CONVERSATION, badge: 0 };
    for (const push of [message(), dismiss, dismiss, call, { kind: 'call_ended', callId: CALL }]) {
      await device.deliver(push);
    }
    const shown = (await device.take('shown')).map(({ title, tag, silent }) => [title, tag, silent]);
    assert.deepEqual(shown, [
      ['Ada', CONVERSATION, undefined],
      ['Ada', CONVERSATION, true],
      [GENERIC.title, CONVERSATION, true],
      ['Ada', CALL, undefined],
      ['Ada', CALL, true],
    ]);
    assert.deepEqual(await device.take('closed'), [CONVERSATION, CONVERSATION, CALL]);
    await device.assertShown();
  });

  test('shows nothing in Chromium if a visible page shows the conversation', async () => {
    await device.page.evaluate((id) => (window.push.conversationId = id), CONVERSATION);
    await device.deliver(message({ badge: 4 }));
    assert.deepEqual([await device.take('shown'), await device.take('badges')], [[], [4]]);
    await device.deliver(message({ conversationId: OTHER }));
    await device.assertShown(OTHER);
  });

  test('shows a call until it is over', async () => {
    await device.deliver(call);
    await device.deliver(call);
    const shown = await device.take('shown');
    assert.deepEqual(shown.map(({ renotify }) => renotify), [true, false]);
    assert.deepEqual(shown.map(({ requireInteraction }) => requireInteraction), [true, true]);
    await device.assertShown(CALL);
    await device.deliver({ kind: 'call_ended', callId: CALL });
    assert.deepEqual(await device.take('closed'), [CALL]);
    await device.assertShown();
  });

  test('shows a test, and sets the badge', async () => {
    await device.deliver({ kind: 'test', title: 'It works', badge: 7 });
    const [{ title, tag }] = await device.notifications();
    assert.deepEqual([title, tag], ['It works', 'test']);
    for (const badge of [3, -1, 1.5, '5', null, undefined, 2 ** 60, 0]) await device.deliver(message({ badge }));
    await device.deliver({ kind: 'dismiss', conversationId: CONVERSATION, badge: 2 });
    assert.deepEqual(await device.take('badges'), [7, 3, 0, 2]);
  });

  test('shows a generic notification for each push that it does not understand', async () => {
    for (const data of [
      '',
      'no JSON',
      'null',
      '5',
      '"message"',
      '[]',
      '{}',
      `${'['.repeat(1000)}${']'.repeat(1000)}`,
      '{"kind":"constructor","title":"x","conversationId":"conversation_1"}',
      '{"kind":"__proto__","title":"x"}',
      '{"__proto__":{"kind":"message","title":"x","conversationId":"conversation_1"}}',
      '{"kind":["message"],"title":"x","conversationId":"conversation_1"}',
      '{"kind":"reminder","title":"of a later version \\ud800","conversationId":"conversation_1"}',
      '{"kind":"message","title":"x"}',
      '{"kind":"message","title":"x","conversationId":{"length":1}}',
      '{"kind":"message","title":"x","conversationId":"../../evil"}',
      '{"kind":"message","title":"x","conversationId":""}',
      '{"kind":"dismiss"}',
      '{"kind":"call","title":"x","conversationId":"conversation_1"}',
      '{"kind":"call_ended","callId":5}',
      '{"kind":"test","title":" "}',
    ]) {
      await device.deliver(data);
      const shown = (await device.take('shown')).map(({ tag, title }) => ({ tag, title }));
      assert.deepEqual(shown, [GENERIC], data);
    }
    await device.assertShown(GENERIC.tag);
    assert.deepEqual(await device.take('problems'), []);
  });

  test('shows a message with wrong fields', async () => {
    const wrong = { title: 5, body: { toString: 'x' }, messageId: [], callId: '\n', badge: {}, sentAt: 'yesterday' };
    await device.deliver({ kind: 'message', conversationId: CONVERSATION, ...wrong });
    // A time in the future does not outlast later messages.
    await device.deliver(message({ sentAt: '9999-01-01T00:00:00Z', body: 'of the future' }));
    await device.deliver(message({ id: 'message_2', sentAt: new Date().toISOString(), body: 'of today' }));
    const shown = (await device.take('shown')).map(({ title, body }) => [title, body]);
    assert.deepEqual(shown, [
      [GENERIC.title, 'Open the app to see what is new.'],
      ['Ada', 'of the future'],
      ['Ada', 'of today'],
    ]);
    assert.deepEqual(await device.take('problems'), []);
  });

  test('takes only texts and ids from a push', async () => {
    const texts = { title: '<img src=x onerror=alert(1)>', body: '</script> ${1+1} {callId} \u202e <a href=x>' };
    const evil = 'https://evil.example/';
    const addresses = { icon: evil, image: evil, badge: evil, url: evil, open: evil, app: evil, navigate: evil };
    const more = { tag: 'evil', actions: [{ action: 'evil', title: 'evil' }], data: { conversationId: 'evil' } };
    await device.deliver({ ...message(), ...texts, ...addresses, ...more });
    const [notification] = await device.notifications();
    const { title, body, tag, data, icon } = notification;
    assert.deepEqual({ title, body, tag, icon }, { ...texts, tag: CONVERSATION, icon: '' });
    assert.deepEqual(Object.keys(data).sort(), ['callId', 'conversationId', 'messageId', 'sentAt']);
    assert.equal(data.conversationId, CONVERSATION);
    await device.page.goto('about:blank');
    await device.click(CONVERSATION);
    assert.deepEqual(await device.take('opened'), [`${place.address}/?conversation=${CONVERSATION}&call=`]);
  });

  test('opens the conversation of a click in the open page', async () => {
    await device.deliver(call);
    await device.click(CALL);
    await device.page.waitForFunction(() => window.push.opened.length > 0);
    const opened = await device.page.evaluate(() => window.push.opened);
    assert.deepEqual(opened, [{ conversationId: CONVERSATION, callId: CALL }]);
    assert.deepEqual([await device.take('opened'), await device.take('closed')], [[], [CALL]]);
  });

  test('opens a window for a click if no page is open', async () => {
    await device.page.goto('about:blank');
    await device.deliver(call);
    await device.click(CALL);
    await device.deliver('a generic notification');
    await device.click(GENERIC.tag);
    const withCall = `${place.address}/?conversation=${CONVERSATION}&call=${CALL}`;
    assert.deepEqual(await device.take('opened'), [withCall, `${place.address}/`]);
  });

  test('subscribes again with the same key if the browser ends a subscription', async () => {
    await device.worker.evaluate(async () => {
      const oldSubscription = { options: { applicationServerKey: new Uint8Array([4, 1, 2]).buffer } };
      self.dispatchEvent(Object.assign(new ExtendableEvent('pushsubscriptionchange'), { oldSubscription }));
      await self.probe.settled(self.probe.handled.length);
    });
    const subscribed = [{ userVisibleOnly: true, applicationServerKey: [4, 1, 2] }];
    assert.deepEqual(await device.take('subscribed'), subscribed);
  });
});
