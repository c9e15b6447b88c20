// The service worker of push notifications. It shows notifications, closes those that are obsolete, sets the badge of
// the app, and opens the conversation of a notification on which the user clicks. `push.js` registers it for a page,
// and docs/clients.md describes how to use both. It is not a module, because not all browsers run modules as service
// workers.
//
// A push starts the worker without a page, so the page gives its settings in the query of the script's address:
// - `open`: template of the address of a conversation, with `{conversationId}` and `{callId}`;
// - `app`: where the addresses of the app's pages begin; by default the scope of the worker;
// - `title`, `body`: texts of a notification whose push has none;
// - `icon`, `badge`: addresses of pictures for the notifications.
//
// Messages to pages: `{type: "open", conversationId, callId}` after a click; `{type: "push", conversationId,
// messageId}` with a port, which expects true if the page shows this conversation; `{type: "resubscribed"}` after the
// browser has replaced its subscription.

const settings = new URL(self.location.href).searchParams;

/** Milliseconds that a visible page has to say whether it shows a conversation. */
const ANSWER_MS = 500;
/** Tag of a notification that belongs to no conversation and no call. A new one replaces it. */
const GENERIC_TAG = 'parlance';
/** Title of a notification if neither the push nor the page has given one. */
const GENERIC_TITLE = 'New notification';
/** The kinds of pushes, each with the field that it needs. */
const KINDS = new Map([
  ['message', { needs: 'conversationId', handle: showMessage }],
  ['dismiss', { needs: 'conversationId', handle: dismiss }],
  ['call', { needs: 'callId', handle: showCall }],
  ['call_ended', { needs: 'callId', handle: endCall }],
  ['test', { needs: 'title', handle: showTest }],
]);

// The worker answers no requests of pages, so a new version can replace the old one while pages are open.
self.addEventListener('install', () => self.skipWaiting());

/** Ends when the last push is handled. They are handled in turn: a `dismiss` must find the notification before it. */
let handled = Promise.resolve();
self.addEventListener('push', (event) => {
  handled = handled.then(() => handle(event.data));
  event.waitUntil(handled);
});

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data));
});

self.addEventListener('pushsubscriptionchange', (event) => event.waitUntil(resubscribe(event)));

/** Handles a push. A push of an unknown kind or without a necessary field shows a generic notification. */
async function handle(data) {
  const push = read(data);
  const kind = KINDS.get(push.kind);
  await setBadge(push.badge);
  try {
    await (kind && push[kind.needs] !== null ? kind.handle(push) : showGeneric());
  } catch (error) {
    // For example, the user has withdrawn the permission.
    console.error('A push could not be handled.', error);
    await showGeneric().catch(() => {});
  }
}

/** Reads the payload. A field that is missing or malformed is null, and `sentAt` is then the present. */
function read(data) {
  let payload;
  try {
    payload = data.json();
  } catch {
    // The push has no payload, or no JSON.
  }
  return {
    kind: text(payload?.kind),
    title: text(payload?.title),
    body: text(payload?.body),
    conversationId: id(payload?.conversationId),
    messageId: id(payload?.messageId),
    callId: id(payload?.callId),
    badge: count(payload?.badge),
    sentAt: time(payload?.sentAt),
  };
}

const text = (value) => (typeof value === 'string' && value.trim() !== '' ? value : null);
const id = (value) => (typeof value === 'string' && /^\w{1,64}$/.test(value) ? value : null);
const count = (value) => (Number.isSafeInteger(value) && value >= 0 ? value : null);

/** Milliseconds since 1970, at most the present, so that a wrong time does not make a message newer than later ones. */
function time(value) {
  const millis = typeof value === 'string' ? Date.parse(value) : NaN;
  return Number.isNaN(millis) ? Date.now() : Math.min(millis, Date.now());
}

/** Shows a message. The conversation is the tag, so a message replaces the notification of the one before. */
async function showMessage(push) {
  if (await isOnScreen(push)) return;
  const tag = push.conversationId;
  const [shown] = await self.registration.getNotifications({ tag });
  if (shown && isNewer(shown, push)) return showAgain(shown);
  // A push that arrives twice replaces its notification without a second sound.
  const isNew = !push.messageId || shown?.data?.messageId !== push.messageId;
  await show(push, { tag, renotify: isNew });
}

/** Closes the notification of a conversation that was read on another device, or whose message was deleted. */
async function dismiss(push) {
  await close(push.conversationId, (notification) => !isNewer(notification, push));
}

/** Shows a call that rings, until it is over or the user acts. */
async function showCall(push) {
  const tag = push.callId;
  const [shown] = await self.registration.getNotifications({ tag });
  await show(push, { tag, renotify: !shown, requireInteraction: true });
}

/** Closes the notification of a call that was answered elsewhere or is over. */
async function endCall(push) {
  await close(push.callId, () => true);
}

async function showTest(push) {
  await show(push, { tag: push.kind, renotify: true });
}

/** Shows that something is new. `push` has the fields that are known. */
async function showGeneric(push = {}, options = { renotify: true }) {
  await show(push, { tag: GENERIC_TAG, ...options });
}

/** Shows a notification. Only texts and ids come from the push; all addresses come from the page that registered. */
function show({ title, body, conversationId, messageId, callId, sentAt = Date.now() }, options) {
  return self.registration.showNotification(title ?? settings.get('title') ?? GENERIC_TITLE, {
    body: body ?? (title ? '' : settings.get('body') ?? ''),
    icon: settings.get('icon') ?? undefined,
    badge: settings.get('badge') ?? undefined,
    timestamp: sentAt,
    data: { conversationId: conversationId ?? null, messageId: messageId ?? null, callId: callId ?? null, sentAt },
    ...options,
  });
}

/** Shows a notification once more, without a sound. */
function showAgain({ title, body, tag, data, requireInteraction }) {
  return show({ ...data, title, body }, { tag, requireInteraction, silent: true });
}

/**
 * Closes the notifications with a tag if `isOver` is true for each of them. A browser that expects each push to show a
 * notification gets one first, without a sound.
 */
async function close(tag, isOver) {
  const shown = await self.registration.getNotifications({ tag });
  if (!shown.every(isOver)) return showAgain(shown[0]);
  if (!canStaySilent()) {
    await (shown.length > 0 ? showAgain(shown[0]) : showGeneric({}, { tag, silent: true }));
  }
  for (const notification of await self.registration.getNotifications({ tag })) notification.close();
}

/** Whether a notification shows a newer message than a push, which arrives late. */
function isNewer({ data }, { messageId, sentAt }) {
  return Boolean(messageId && data?.messageId) && data.messageId !== messageId && data.sentAt > sentAt;
}

/**
 * Whether the browser accepts a push that shows nothing. Chromium does while a page is visible, and otherwise within a
 * budget. The others end the subscription after a few of them. Only Chromium has `userAgentData`.
 */
const canStaySilent = () => 'userAgentData' in navigator;

/** Whether a visible page shows the conversation of a message, and the browser needs no notification. */
async function isOnScreen({ conversationId, messageId }) {
  if (!canStaySilent()) return false;
  const pages = await windows();
  const visible = pages.filter(({ visibilityState }) => visibilityState === 'visible');
  const answers = await Promise.all(visible.map((page) => ask(page, { type: 'push', conversationId, messageId })));
  return answers.includes(true);
}

/** Sends a message to a page. Returns its answer, or false if it does not answer in time. */
async function ask(page, message) {
  const { port1, port2 } = new MessageChannel();
  const answer = new Promise((resolve) => {
    port1.onmessage = ({ data }) => resolve(data);
    setTimeout(resolve, ANSWER_MS, false);
  });
  page.postMessage(message, [port2]);
  return answer.finally(() => port1.close());
}

/** All windows of the origin; first the one that was used last. */
const windows = () => self.clients.matchAll({ type: 'window', includeUncontrolled: true });

/** Sets the badge of the app to a number. Does nothing if it is null. */
async function setBadge(number) {
  if (number === null) return;
  try {
    // Some browsers have no badges.
    await (number > 0 ? navigator.setAppBadge?.(number) : navigator.clearAppBadge?.());
  } catch (error) {
    console.warn('The badge could not be set.', error);
  }
}

/** Shows the conversation of a notification in an open page of the app, or in a new window. */
async function open(data) {
  const { conversationId = null, callId = null } = data ?? {};
  const app = new URL(settings.get('app') ?? './', self.registration.scope).href;
  const page = (await windows()).find(({ url }) => url.startsWith(app));
  if (!page) return self.clients.openWindow(addressOf(app, conversationId, callId));
  page.postMessage({ type: 'open', conversationId, callId });
  // The browser may refuse the focus. The page has the message nevertheless.
  await page.focus().catch(() => {});
}

/** Fills in the template `open`. Without a template or a conversation it is the address of the app. */
function addressOf(app, conversationId, callId) {
  const template = settings.get('open');
  if (!template || !conversationId) return app;
  const path = template.replaceAll('{conversationId}', conversationId).replaceAll('{callId}', callId ?? '');
  const address = new URL(path, app);
  return address.origin === self.location.origin ? address.href : app;
}

/**
 * Subscribes again after the browser has ended a subscription, and tells the pages. Only they have the tokens that the
 * registration at the server needs. Without an open page, the next one that calls `enablePush` registers.
 */
async function resubscribe({ oldSubscription, newSubscription }) {
  const applicationServerKey = oldSubscription?.options?.applicationServerKey;
  if (!newSubscription && applicationServerKey) {
    try {
      await self.registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey });
    } catch (error) {
      console.error('The browser gave no new subscription.', error);
    }
  }
  for (const page of await windows()) page.postMessage({ type: 'resubscribed' });
}
