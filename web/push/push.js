// Push notifications for a page: registers the service worker, subscribes at the browser's push service, registers the
// subscription at the server, and reports whether the page is visible. docs/clients.md describes how to use it.
//
// `client` is `{ url, tokens }`, with the address of the API and an object of tokens.mjs, or a function `(query,
// variables)` that returns a promise of the data, or throws an Error with the `code` of the server's error.

const PUBLIC_KEY = 'query PushPublicKey { serverInfo { pushPublicKey } }';
const REGISTER = `mutation RegisterPushSubscription($input: RegisterPushSubscriptionInput!) {
  registerPushSubscription(input: $input) { pushSubscription { id } }
}`;
const REMOVE = `mutation RemovePushSubscription($input: RemovePushSubscriptionInput!) {
  removePushSubscription(input: $input) { removedId }
}`;
const SET_PRESENCE = `mutation SetPresence($input: SetPresenceInput!) {
  setPresence(input: $input) { presence { status } }
}`;

/** Milliseconds after which a subscription has failed. Some browsers never give up if their push service is down. */
const SUBSCRIBE_MS = 30_000;
/** Milliseconds after which a request to the server has failed. */
const REQUEST_MS = 30_000;
/** Milliseconds that a change from one page of the app to another may take. */
const CHANGE_MS = 300;
/** Name of the lock that the visible pages of the app share. */
const VISIBLE = 'parlance-visible';

/**
 * Why this browser gets no pushes. `code` is UNSUPPORTED (the browser has no push), PERMISSION_DENIED (the user has
 * refused, or has closed the question), UNAVAILABLE (the server has no key for pushes) or SUBSCRIPTION_FAILED (the push
 * service of the browser has failed, and `cause` is its error).
 */
export class PushError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = 'PushError';
    this.code = code;
  }
}

/**
 * Turns notifications on for this browser, and for the user who is signed in. Asks for the permission if the user was
 * not asked before, so call it during a click; call it again at each start of the page, which asks nothing. It
 * subscribes again if the server has another key. Returns the id of the subscription at the server.
 *
 * Options for the service worker:
 * - `worker`: address of `service-worker.js`; `scope`: its scope, if the app has another service worker;
 * - `open`, `app`, `title`, `body`, `icon`, `badge`: see `service-worker.js`.
 *
 * Options for this page:
 * - `isOpen(conversationId)`: whether the page shows this conversation, so that no notification is needed;
 * - `onOpen({ conversationId, callId })`: the user has clicked on a notification; both ids may be null;
 * - `onError(error)`: the subscription that the browser has replaced could not be registered;
 * - `subscribeMs`: milliseconds after which a subscription has failed.
 *
 * Throws a PushError, or the error of a request.
 */
export async function enablePush(client, options = {}) {
  const names = ['Notification', 'PushManager'];
  if (!('serviceWorker' in navigator) || !names.every((name) => name in globalThis)) {
    throw new PushError('UNSUPPORTED', 'This browser has no push notifications for this page.');
  }
  // Before any other step, because browsers show the question only during a click.
  const permission = await Notification.requestPermission();
  if (permission !== 'granted') {
    throw new PushError('PERMISSION_DENIED', `The permission for notifications is "${permission}".`);
  }
  const registration = await register(options);
  const subscribe = () => renew(client, registration, options.subscribeMs ?? SUBSCRIBE_MS);
  listen(options, subscribe);
  return subscribe();
}

/**
 * Turns notifications off for this browser. Call it before the user signs out. `scope` is that of `enablePush`. If the
 * request to the server fails, the browser is unsubscribed nevertheless, and the error is thrown.
 */
export async function disablePush(client, { scope } = {}) {
  stopListening();
  const registration = await navigator.serviceWorker?.getRegistration(scope);
  if (!registration) return;
  for (const notification of await registration.getNotifications()) notification.close();
  await navigator.clearAppBadge?.().catch(() => {});
  const subscription = await registration.pushManager?.getSubscription();
  if (subscription) await remove(client, subscription);
}

/**
 * Closes the notification of a conversation that this page has shown to the user. The server closes those of the other
 * devices after `markRead`. `scope` is that of `enablePush`.
 */
export async function closeNotifications(conversationId, { scope } = {}) {
  const registration = await navigator.serviceWorker?.getRegistration(scope);
  const shown = (await registration?.getNotifications({ tag: conversationId })) ?? [];
  for (const notification of shown) notification.close();
}

/**
 * Sets the presence to ONLINE while a page of the app is visible in this browser, and otherwise to AWAY, so that the
 * server pushes although a page is connected. AWAY ends with the last connection of the user, so call `report` after
 * each connection. `stop` ends the reports of this page. `onError(error)` gets the errors of requests.
 */
export function reportVisibility(client, { onError = console.error } = {}) {
  const set = (status) => ask(client, SET_PRESENCE, { input: { status } }).catch(onError);
  let last = new AbortController();
  const report = () => {
    last.abort();
    last = new AbortController();
    const follow = document.visibilityState === 'visible' ? whileVisible : whileHidden;
    // AbortError: a later report has taken the place of this one.
    follow(set, last.signal).catch((error) => error.name === 'AbortError' || onError(error));
  };
  document.addEventListener('visibilitychange', report);
  report();
  const stop = () => {
    document.removeEventListener('visibilitychange', report);
    last.abort();
  };
  return { report, stop };
}

/** Reports a visible page. All pages of a browser have the same session, so the visible ones share a lock. */
function whileVisible(set, signal) {
  return navigator.locks.request(VISIBLE, { mode: 'shared', signal }, async () => {
    await set('ONLINE');
    await aborted(signal);
  });
}

/** Reports a hidden page as soon as no page is visible. */
async function whileHidden(set, signal) {
  for (let isReported = false; !isReported && !signal.aborted; ) {
    await navigator.locks.request(VISIBLE, { signal }, () => {});
    // The user may be changing to another page, which becomes visible in a moment.
    await Promise.race([aborted(signal), new Promise((resolve) => setTimeout(resolve, CHANGE_MS))]);
    isReported = await navigator.locks.request(VISIBLE, { ifAvailable: true }, async (lock) => {
      if (!lock || signal.aborted) return false;
      await set('AWAY');
      return true;
    });
  }
}

const aborted = (signal) =>
  new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', resolve)));

/** Registers the service worker and waits until it is active. */
async function register({ worker = 'service-worker.js', scope, open, app, title, body, icon, badge }) {
  const address = new URL(worker, document.baseURI);
  for (const [name, value] of Object.entries({ open, app, title, body, icon, badge })) {
    if (value !== undefined) address.searchParams.set(name, value);
  }
  const registration = await navigator.serviceWorker.register(address, { scope });
  const newest = registration.installing ?? registration.waiting ?? registration.active;
  await new Promise((resolve, reject) => {
    const check = () => {
      if (newest.state === 'activated') resolve();
      if (newest.state === 'redundant') reject(new Error('The service worker was replaced while it was installed.'));
    };
    newest.addEventListener('statechange', check);
    check();
  });
  return registration;
}

/** Registers the subscription of the browser at the server. Makes a new one if there is none for the server's key. */
async function renew(client, registration, subscribeMs) {
  const { serverInfo } = await ask(client, PUBLIC_KEY);
  if (!serverInfo.pushPublicKey) throw new PushError('UNAVAILABLE', 'The server has no key for push notifications.');
  const key = bytes(serverInfo.pushPublicKey);
  let subscription = await registration.pushManager.getSubscription();
  if (subscription && !isFor(subscription, key)) {
    await remove(client, subscription);
    subscription = null;
  }
  subscription ??= await subscribe(registration, key, subscribeMs);
  const { endpoint, keys } = subscription.toJSON();
  const input = { webPush: { endpoint, p256dh: keys.p256dh, auth: keys.auth } };
  const { registerPushSubscription } = await ask(client, REGISTER, { input });
  return registerPushSubscription.pushSubscription.id;
}

async function subscribe(registration, applicationServerKey, subscribeMs) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`It did not answer within ${subscribeMs} ms.`)), subscribeMs);
  });
  try {
    const options = { userVisibleOnly: true, applicationServerKey };
    return await Promise.race([registration.pushManager.subscribe(options), late]);
  } catch (cause) {
    const message = `The push service of the browser gave no subscription. ${cause.message}`;
    throw new PushError('SUBSCRIPTION_FAILED', message, { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** Removes a subscription from the server and from the browser. */
async function remove(client, subscription) {
  try {
    await ask(client, REMOVE, { input: { endpoint: subscription.endpoint } });
  } catch (error) {
    // The server has removed it already, for example at the end of its session.
    if (error.code !== 'NOT_FOUND') throw error;
  } finally {
    await subscription.unsubscribe();
  }
}

/** Whether a subscription is for pushes that are signed with this key. */
function isFor({ options }, key) {
  const own = new Uint8Array(options.applicationServerKey ?? []);
  return own.length === key.length && own.every((byte, index) => byte === key[index]);
}

/** Decodes base64url. */
function bytes(text) {
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0));
}

let stopListening = () => {};

/** Receives the messages of the service worker. A second call replaces the first one. */
function listen({ isOpen, onOpen, onError = console.error }, subscribe) {
  stopListening();
  const receive = ({ data, ports }) => {
    if (data?.type === 'open') onOpen?.({ conversationId: data.conversationId, callId: data.callId });
    if (data?.type === 'push') ports[0]?.postMessage(isOpen?.(data.conversationId) === true);
    if (data?.type === 'resubscribed') subscribe().catch(onError);
  };
  navigator.serviceWorker.addEventListener('message', receive);
  stopListening = () => navigator.serviceWorker.removeEventListener('message', receive);
}

async function ask(client, query, variables) {
  if (typeof client === 'function') return client(query, variables);
  const response = await fetch(client.url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...(await client.tokens.freshHeaders()) },
    body: JSON.stringify({ query, variables }),
    signal: AbortSignal.timeout(REQUEST_MS),
  });
  const { data, errors } = await response.json();
  // The error has the `code` of the server's error.
  if (errors) throw Object.assign(new Error(errors[0].message), errors[0].extensions);
  return data;
}
