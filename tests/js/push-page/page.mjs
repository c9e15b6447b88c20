// A page that turns on push notifications with web/push/push.js and the code of docs/clients.md.

import { notifications } from './notifications.mjs';
import { enablePush } from './push.js';
import { Tokens } from './tokens.mjs';

/** The state of the page: the conversation on the screen, and what clicks on notifications have opened. */
const push = (window.push = { conversationId: null, opened: [] });

const app = {
  get conversationId() {
    return push.conversationId;
  },
  show: (conversationId, callId) => push.opened.push({ conversationId, callId }),
};

/** Runs `work`. Returns its result, or the name and code of its error, because errors lose their fields on the way. */
const outcome = (work) => work().then((value) => ({ value }), ({ name, code, message }) => ({ name, code, message }));

/** The subscription of the browser, which its vendor's push service would have made. */
let subscription = null;

/** Makes the browser give these subscriptions, one for each call of `subscribe`, as it would with a push service. */
function giveSubscriptions(given) {
  const unsubscribe = async () => {
    subscription = null;
    return true;
  };
  PushManager.prototype.getSubscription = async () => subscription;
  PushManager.prototype.subscribe = async ({ userVisibleOnly, applicationServerKey }) => {
    const { endpoint, keys } = given.shift();
    const options = { userVisibleOnly, applicationServerKey: applicationServerKey.buffer };
    return (subscription = { endpoint, options, toJSON: () => ({ endpoint, keys }), unsubscribe });
  };
}

/** Signs in, and prepares the notifications of the app. */
push.signIn = ({ url, auth, subscriptions }) => {
  let kept = null;
  const tokens = new Tokens({ url, load: () => kept, save: (pair) => (kept = pair) });
  tokens.set(auth);
  giveSubscriptions(subscriptions);
  push.app = notifications({ client: { url, tokens }, app });
};
push.turnOn = () => outcome(() => push.app.turnOn());
push.resume = () => outcome(() => push.app.resume());
push.turnOff = () => outcome(() => push.app.turnOff());

/** Makes the subscription one for another key than the server's. */
push.useAnotherKey = () => {
  subscription.options.applicationServerKey = new Uint8Array(65).fill(4).buffer;
};
/** Ends the subscription, as a browser does before the event `pushsubscriptionchange`. */
push.loseSubscription = () => {
  subscription = null;
};

/** Turns on notifications with the browser's own push service. `key` is the server's key. */
push.subscribeAtVendor = ({ key, subscribeMs }) =>
  outcome(() => enablePush(async () => ({ serverInfo: { pushPublicKey: key } }), { subscribeMs }));

/** Shows or hides the page, as far as its scripts can see. */
push.setVisible = (isVisible) => {
  const state = isVisible ? 'visible' : 'hidden';
  Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state });
  document.dispatchEvent(new Event('visibilitychange'));
};
/** Starts to report whether the page is visible. */
push.watchVisibility = () => {
  push.visibility = push.app.watchVisibility();
};
/** Whether this page or another one waits until no page is visible. */
push.isWaiting = async () => (await navigator.locks.query()).pending.length > 0;
