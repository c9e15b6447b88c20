// Calls between real browsers, by the code of docs/calls.md: it rings, connects and ends as people expect.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startBrowser, serveFiles } from './browsers.mjs';
import { directory } from './clients.mjs';
import { startCoturn } from './coturn.mjs';
import { startNodes } from './servers.mjs';
import { gate, inTime, pair } from './support.mjs';

/** For what has to come about in a browser; a loaded machine takes its time. */
const PATIENCE_MS = 60_000;
/** Between two looks at a page. */
const POLL_MS = 100;
/** Decoded frames that show that the picture moves. */
const FRAMES = 5;

/** It rings for so long that no test comes to the end of it. */
const RING = { CALL_RING_TIMEOUT: '600' };

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

let nodes, browsers, address;
before(async () => {
  const turn = await startCoturn();
  [nodes, browsers, address] = await Promise.all([
    startNodes({ ...turn, ...RING }, { ...turn, ...RING }),
    Promise.all([startBrowser(), startBrowser()]),
    serveFiles({ '/': [path('call-page'), directory], '/graphql-ws/': [path('node_modules/graphql-ws/dist')] }),
  ]);
});

/** A person's device: a browser's window of its own that is signed in at a node. */
class Device {
  static async open(browser, person, rtc = {}) {
    const context = await browser.newContext();
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const device = new Device(page, context, person);
    await page.goto(address);
    await page.waitForFunction(() => window.phone?.signIn);
    const { url, socketUrl } = person.server;
    const options = { url: `${url}/graphql`, socketUrl, auth: person.auth, rtc };
    await page.evaluate((given) => window.phone.signIn(given), options);
    return device;
  }

  constructor(page, context, person) {
    Object.assign(this, { page, context, person });
  }

  /** Waits until so many calls are in a list of the phone, and returns the last. */
  async last(list, count = 1) {
    const has = ([name, many]) => window.phone[name].length >= many;
    await this.#until(has, [list, count], `${count} in ${list}`);
    return this.page.evaluate((name) => window.phone[name].at(-1), list);
  }

  count(list) {
    return this.page.evaluate((name) => window.phone[name].length, list);
  }

  start(conversation, kind) {
    return this.page.evaluate(([id, how]) => window.phone.calls.start(id, how), [conversation, kind]);
  }

  accept({ id }) {
    return this.page.evaluate((call) => window.phone.calls.accept(call), id);
  }

  decline({ id }) {
    return this.page.evaluate((call) => window.phone.calls.decline(call), id);
  }

  leave() {
    return this.page.evaluate(() => window.phone.calls.leave());
  }

  look() {
    return this.page.evaluate(() => window.phone.look());
  }

  /** Waits until it is connected this way, and sees the other side move. A direct way may be found after another. */
  async watch(relayed) {
    const moves = async ([expected, frames]) => {
      const [{ state, width, time, frames: decoded, way } = {}] = await window.phone.look();
      const fits = way?.every((type) => (type === 'relay') === expected);
      return state === 'connected' && width > 0 && time > 0 && decoded >= frames && fits;
    };
    await this.#until(moves, [relayed, FRAMES], `a moving picture, ${relayed ? 'relayed' : 'directly'}`);
    await this.check();
  }

  /** Keeps an offer back until `released`; `held` is called when there is one. */
  async holdOffer(held, released) {
    await this.page.route('**/graphql', async (route) => {
      if (route.request().postData()?.includes('"type":"OFFER"')) {
        held();
        await released;
      }
      await route.continue();
    });
  }

  /** Makes an offer. */
  restart() {
    return this.page.evaluate(() => window.phone.calls.connections.forEach((connection) => connection.restartIce()));
  }

  /** Waits until the connection has gone through another negotiation, and the picture moves as before. */
  async renewed({ ice }) {
    const over = async (former) => {
      const [seen] = await window.phone.look();
      return seen.ice !== former && seen.settled && seen.state === 'connected';
    };
    await this.#until(over, ice, 'a new negotiation');
    const [{ frames }] = await this.look();
    await this.#until(async (before) => (await window.phone.look())[0].frames > before, frames + FRAMES, 'a picture');
  }

  close() {
    return this.context.close();
  }

  /** Asserts that nothing went wrong on the way; what is sent as a call ends may well come too late. */
  async check() {
    assert.deepEqual(await this.page.evaluate(() => window.phone.problems), []);
  }

  /** Asks again and again, for what a page shows comes by no event. */
  async #until(condition, argument, what) {
    for (const end = Date.now() + PATIENCE_MS; !(await this.page.evaluate(condition, argument)); await later(POLL_MS)) {
      if (Date.now() < end) continue;
      const [seen, problems] = [await this.look(), await this.page.evaluate(() => window.phone.problems)];
      assert.fail(`${this.person.username} has not ${what}: ${JSON.stringify({ problems, seen })}`);
    }
  }
}

/** Alice on one node and browser, Bob on the others. */
async function twoPeople(rtc) {
  const { alice, bob, conversation } = await pair(nodes[0]);
  bob.server = nodes[1];
  const devices = await Promise.all([Device.open(browsers[0], alice, rtc), Device.open(browsers[1], bob, rtc)]);
  return { devices, conversation, bob };
}

/** Both make an offer, and neither gets that of the other before. */
async function crossOffers(devices) {
  const { opened, open } = gate();
  let held = 0;
  await Promise.all(devices.map((device) => device.holdOffer(() => ++held === devices.length && open(), opened)));
  await Promise.all(devices.map((device) => device.restart()));
  await inTime(opened, 'an offer from both', PATIENCE_MS);
}

async function systemMessages(person, id) {
  const query = `query ($id: ID!) {
    conversation(id: $id) { messages(last: 10) { nodes { systemEvent { kind text actor { id } } } } }
  }`;
  const { conversation } = await person.ask(query, { id });
  return conversation.messages.nodes.map(({ systemEvent }) => systemEvent);
}

describe('a call between browsers', { concurrency: 1 }, () => {
  test('connects from one to the other, survives crossing offers, and ends for both', async () => {
    const { devices, conversation, bob } = await twoPeople();
    const [alice, ...others] = devices;
    // Bob is at home with two devices.
    others.push(await Device.open(browsers[1], await bob.onAnotherDevice(nodes[0])));
    await alice.start(conversation, 'VIDEO');
    const [ring, same] = await Promise.all(others.map((device) => device.last('rings')));
    assert.equal(ring.kind, 'VIDEO');
    assert.equal(ring.id, same.id);
    assert.equal(ring.startedBy.id, alice.person.id);
    assert.equal(await alice.count('rings'), 0);

    const [answering, ringing] = others;
    await answering.accept(ring);
    assert.equal((await ringing.last('quiet')).id, ring.id);
    await Promise.all([alice, answering].map((device) => device.watch(false)));

    const former = await Promise.all([alice, answering].map((device) => device.look()));
    await crossOffers([alice, answering]);
    await Promise.all([alice.renewed(former[0][0]), answering.renewed(former[1][0])]);
    await Promise.all([alice, answering].map((device) => device.check()));

    await alice.leave();
    assert.equal((await answering.last('ended')).endReason, 'HUNG_UP');
    assert.deepEqual(await Promise.all(others.map((device) => device.look())), [[], []]);
    assert.deepEqual(await Promise.all([alice, ...others].map((device) => device.count('rings'))), [0, 1, 1]);
    const [told] = await systemMessages(alice.person, conversation);
    assert.equal(told.kind, 'CALL_ENDED');
    assert.equal(told.actor.id, alice.person.id);
    await Promise.all([alice, ...others].map((device) => device.close()));
  });

  test('connects by the TURN server alone', async () => {
    const { devices, conversation } = await twoPeople({ iceTransportPolicy: 'relay' });
    const [alice, bob] = devices;
    await alice.start(conversation, 'VIDEO');
    await bob.accept(await bob.last('rings'));
    await Promise.all(devices.map((device) => device.watch(true)));
    await bob.leave();
    assert.equal((await alice.last('ended')).endReason, 'HUNG_UP');
    await Promise.all(devices.map((device) => device.close()));
  });

  test('that ended while a device was away rings on it no more', async () => {
    const { devices, conversation } = await twoPeople();
    const [alice, bob] = devices;
    await alice.start(conversation, 'AUDIO');
    const ring = await bob.last('rings');
    await nodes[1].stop();
    await alice.leave();
    await nodes[1].start();
    assert.equal((await bob.last('quiet')).id, ring.id);
    await Promise.all(devices.map((device) => device.close()));
  });

  test('that is declined ends for the caller', async () => {
    const { devices, conversation } = await twoPeople();
    const [alice, bob] = devices;
    await alice.start(conversation, 'AUDIO');
    const ring = await bob.last('rings');
    assert.equal(ring.kind, 'AUDIO');
    await bob.decline(ring);
    assert.equal((await alice.last('ended')).endReason, 'DECLINED');
    await Promise.all(devices.map((device) => device.close()));
  });
});
