// Browsers with push notifications: a node, a push service of the tests, and pages in Chromium with web/push and the
// code of docs/clients.md. Only the push service of a browser's vendor could deliver to the browser, so the server
// pushes to that of the tests, and the DevTools protocol hands pushes to the service worker.

import assert from 'node:assert/strict';
import { setTimeout as later } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { serveFiles, startBrowser } from './browsers.mjs';
import { directory } from './clients.mjs';
import { startPushService } from './push-service.mjs';
import { startNodes } from './servers.mjs';
import { ask, gate, withTimeout } from './support.mjs';

/** Maximum time that a test waits for a condition. Long enough for a machine under load. */
const TIMEOUT_MS = 30_000;
/** Milliseconds between two polls. */
const POLL_MS = 50;

/** The contact of the operator in the pushes: the setting PUSH_CONTACT. */
export const CONTACT = 'mailto:push@example.org';
/** The permissions of a page that may show notifications. */
export const NOTIFICATIONS = ['notifications'];

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

/** Polls until `check` returns a true value. */
export async function until(check, what) {
  for (const end = Date.now() + TIMEOUT_MS; !(await check()); await later(POLL_MS)) {
    assert.ok(Date.now() < end, `timeout after ${TIMEOUT_MS} ms: ${what}`);
  }
}

/** What the tests of pushes need. `key` is the server's key for pushes, `address` that of the page. */
export class Place {
  static async open() {
    const place = new Place();
    [place.browser, place.service, place.address] = await Promise.all([
      startBrowser(),
      startPushService(),
      serveFiles({ '/': [path('push-page'), directory, path('../../web/push')] }),
    ]);
    const settings = { PUSH_ALLOWED_NETWORKS: '127.0.0.0/8', PUSH_CONTACT: CONTACT, CORS_ORIGINS: place.address };
    [place.server] = await startNodes(settings);
    place.key = (await ask(place.server, '{ serverInfo { pushPublicKey } }')).serverInfo.pushPublicKey;
    return place;
  }

  contexts = [];

  /** Opens a page of a new user of the browser, with these permissions. Playwright denies all others. */
  async openPage(permissions) {
    const context = await this.browser.newContext({ permissions });
    this.contexts.push(context);
    const page = await context.newPage();
    await this.load(page);
    return { context, page };
  }

  async load(page) {
    await page.goto(this.address);
    await page.waitForFunction(() => window.push?.watchVisibility);
  }

  /** Turns on notifications in a new page. The browser's push service can make `count` subscriptions. */
  async openDevice(person, count = 1) {
    const device = new Device(this, person, await this.openPage(NOTIFICATIONS));
    await device.load(count);
    return device;
  }

  /** Closes all pages and their service workers. */
  async close() {
    await Promise.all(this.contexts.splice(0).map((context) => context.close()));
  }
}

/** Runs in the service worker. Records what it does in `probe`. Badges and windows are only recorded. */
function watch() {
  const probe = { shown: [], closed: [], badges: [], opened: [], subscribed: [], problems: [], handled: [] };
  self.probe = probe;
  let wake = () => {};
  const { waitUntil } = ExtendableEvent.prototype;
  ExtendableEvent.prototype.waitUntil = function (work) {
    // A browser extends only the lifetime of its own events.
    if (this.isTrusted) waitUntil.call(this, work);
    probe.handled.push(Promise.allSettled([work]));
    wake();
  };
  /** Waits until as many events are handled. */
  probe.settled = async (count) => {
    while (probe.handled.length < count) await new Promise((resolve) => (wake = resolve));
    const [{ status, reason }] = await probe.handled[count - 1];
    if (status === 'rejected') throw reason;
  };
  const { showNotification } = ServiceWorkerRegistration.prototype;
  ServiceWorkerRegistration.prototype.showNotification = function (title, options) {
    const { body, tag, renotify, silent, requireInteraction } = options;
    probe.shown.push({ title, body, tag, renotify, silent, requireInteraction });
    return showNotification.call(this, title, options);
  };
  const { close } = Notification.prototype;
  Notification.prototype.close = function () {
    probe.closed.push(this.tag);
    close.call(this);
  };
  WorkerNavigator.prototype.setAppBadge = async (number) => void probe.badges.push(number);
  WorkerNavigator.prototype.clearAppBadge = async () => void probe.badges.push(0);
  Clients.prototype.openWindow = async (url) => void probe.opened.push(url);
  PushManager.prototype.subscribe = async ({ userVisibleOnly, applicationServerKey }) => {
    probe.subscribed.push({ userVisibleOnly, applicationServerKey: [...new Uint8Array(applicationServerKey)] });
  };
  self.addEventListener('error', ({ message }) => probe.problems.push(message));
  self.addEventListener('unhandledrejection', ({ reason }) => probe.problems.push(String(reason)));
}

/**
 * A browser of a person: a page that has turned on notifications, its service worker, and `receivers`, which has what
 * the push service gets for each subscription.
 */
class Device {
  constructor(place, person, { context, page }) {
    Object.assign(this, { place, person, context, page });
  }

  async load(count) {
    const { service, address } = this.place;
    this.receivers = await Promise.all(Array.from({ length: count }, () => service.subscribe()));
    this.devtools = await this.context.newCDPSession(this.page);
    const registered = gate();
    this.devtools.on('ServiceWorker.workerRegistrationUpdated', ({ registrations }) => {
      const registration = registrations.find(({ scopeURL, isDeleted }) => scopeURL === `${address}/` && !isDeleted);
      if (!registration) return;
      this.registrationId = registration.registrationId;
      registered.open();
    });
    await this.devtools.send('ServiceWorker.enable');
    await this.signIn(this.page);
    [this.worker] = await Promise.all([this.context.waitForEvent('serviceworker'), this.turnOn()]);
    await withTimeout(registered.opened, 'the registration of the service worker');
    await this.worker.evaluate(watch);
  }

  async signIn(page) {
    const subscriptions = this.receivers.map(({ subscription }) => subscription);
    const given = { url: `${this.place.server.url}/graphql`, auth: this.person.auth, subscriptions };
    await page.evaluate((it) => window.push.signIn(it), given);
  }

  async turnOn() {
    assert.deepEqual(await this.page.evaluate(() => window.push.turnOn()), { value: undefined });
  }

  /** Hands a push to the service worker, and waits until it is handled. */
  async deliver(payload) {
    const data = typeof payload === 'string' ? payload : JSON.stringify(payload);
    const handled = await this.worker.evaluate(() => self.probe.handled.length);
    const worker = { origin: this.place.address, registrationId: this.registrationId };
    await this.devtools.send('ServiceWorker.deliverPushMessage', { ...worker, data });
    const settled = this.worker.evaluate((count) => self.probe.settled(count), handled + 1);
    await withTimeout(settled, `the end of the push ${data}`);
  }

  /** Clicks on a notification, as far as a script can: the browser then refuses to give the focus to a page. */
  async click(tag) {
    await this.worker.evaluate(async (its) => {
      const [notification] = await self.registration.getNotifications({ tag: its });
      self.dispatchEvent(new NotificationEvent('notificationclick', { notification }));
      await self.probe.settled(self.probe.handled.length);
    }, tag);
  }

  /** The notifications that the browser shows, in the order of their tags. */
  notifications() {
    return this.worker.evaluate(async () => {
      const shown = await self.registration.getNotifications();
      return shown
        .map(({ title, body, tag, data, icon }) => ({ title, body, tag, data, icon }))
        .sort((one, other) => (one.tag < other.tag ? -1 : 1));
    });
  }

  async assertShown(...tags) {
    const shown = async () => (await this.notifications()).map(({ tag }) => tag);
    await until(async () => (await shown()).join() === tags.toSorted().join(), `the notifications ${tags}`);
  }

  /** Returns what the service worker has done since the last call: a list of `probe`. */
  take(list) {
    return this.worker.evaluate((name) => self.probe[name].splice(0), list);
  }

  /** The subscriptions that the server has. */
  async subscriptions() {
    const query = '{ viewer { pushSubscriptions { id transport session { id } } } }';
    return (await this.person.ask(query)).viewer.pushSubscriptions;
  }
}
