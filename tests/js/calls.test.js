// Calls between real browsers with the code of docs/calls.md: ringing, connecting, reconnecting and ending.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startBrowser, serveFiles } from './browsers.mjs';
import { directory } from './clients.mjs';
import { startCoturn } from './coturn.mjs';
import { startNodes } from './servers.mjs';
import { gate, pair, Person, withTimeout } from './support.mjs';

/** Maximum time that a test waits for a condition in a browser. Long enough for a machine under load. */
const TIMEOUT_MS = 60_000;
/** Milliseconds between two polls of a page. */
const POLL_MS = 100;
/** Number of further decoded frames after which a test treats the video as moving. */
const FRAMES = 5;

/** Setting for the time that a call rings, in seconds. Longer than any test. */
const RING = { CALL_RING_TIMEOUT: '600' };

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

let nodes, browsers, address;
before(async () => {
  const turn = await startCoturn();
  [nodes, browsers, address] = await Promise.all([
    startNodes({ ...turn, ...RING }, { ...turn, ...RING }),
    Promise.all([startBrowser(), startBrowser(), startBrowser()]),
    serveFiles({ '/': [path('call-page'), directory], '/graphql-ws/': [path('node_modules/graphql-ws/dist')] }),
  ]);
});

/** A device of a person: a page in a separate browser context that is signed in to a node. */
class Device {
  static async open(browser, person, rtc = {}) {
    const context = await browser.newContext();
    const page = await context.newPage();
    page.setDefaultTimeout(TIMEOUT_MS);
    const device = new Device(page, context, person, rtc);
    await device.load();
    return device;
  }

  constructor(page, context, person, rtc) {
    Object.assign(this, { page, context, person, rtc, offers: [] });
    page.on('request', (request) => {
      const body = request.postData();
      if (body?.includes('"type":"OFFER"')) this.offers.push(JSON.parse(body).variables.input.toSessionId);
    });
  }

  get session() {
    return this.person.auth.session.id;
  }

  /** Loads or reloads the page. A reload keeps the session, but clears the state of the page. */
  async load() {
    await this.page.goto(address);
    await this.page.waitForFunction(() => window.phone?.signIn);
    const { server, auth } = this.person;
    const options = { url: `${server.url}/graphql`, socketUrl: server.socketUrl, auth, rtc: this.rtc };
    await this.page.evaluate((given) => window.phone.signIn(given), options);
  }

  /** Waits until a list of the page has at least `count` calls, and returns the last call. */
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

  /** Starts two calls at once, like a double click. Returns both results and the number of microphone requests. */
  startTwice(conversation) {
    return this.page.evaluate(async (id) => {
      const { mediaDevices } = navigator;
      const ask = mediaDevices.getUserMedia.bind(mediaDevices);
      let asked = 0;
      mediaDevices.getUserMedia = (constraints) => {
        asked += 1;
        return ask(constraints);
      };
      const start = () => window.phone.calls.start(id, 'AUDIO');
      const done = await Promise.allSettled([start(), start()]);
      return { asked, statuses: done.map(({ status }) => status) };
    }, conversation);
  }

  accept({ id }) {
    return this.page.evaluate((call) => window.phone.calls.accept(call), id);
  }

  decline({ id }) {
    return this.page.evaluate((call) => window.phone.calls.decline(call), id);
  }

  /** Leaves `call`. Without `call`, leaves the call of this page. */
  leave(call) {
    return this.page.evaluate((id) => window.phone.calls.leave(id), call?.id);
  }

  connectionStates() {
    return this.page.evaluate(() => window.phone.connectionStates());
  }

  /**
   * Waits until the page is connected to `others` devices, relayed or directly, and their videos are moving. Waiting
   * is needed because a relayed connection may become a direct connection later.
   */
  async watch(relayed, others = 1) {
    const moves = async ([expected, frames, many]) => {
      const seen = await window.phone.connectionStates();
      const fits = (way) => way?.every((type) => (type === 'relay') === expected);
      const shown = seen.filter(
        ({ state, width, time, frames: decoded, way }) =>
          state === 'connected' && width > 0 && time > 0 && decoded >= frames && fits(way),
      );
      return seen.length === many && shown.length === many;
    };
    await this.#until(moves, [relayed, FRAMES, others], `a moving video, ${relayed ? 'relayed' : 'direct'}`);
    await this.check();
  }

  /** Waits until the video of the only other device has `FRAMES` more frames. */
  async watchOn() {
    const [{ frames }] = await this.connectionStates();
    const moved = async (before) => (await window.phone.connectionStates())[0].frames > before;
    await this.#until(moved, frames + FRAMES, 'new frames');
  }

  /** Applies each hindrance to one request that sends a signal, in order. Further requests are not changed. */
  async hinderSignals(...hindrances) {
    await this.page.route('**/graphql', (route) => {
      const hinder = route.request().postData()?.includes('sendCallSignal') && hindrances.shift();
      return hinder ? hinder(route) : route.continue();
    });
  }

  /** Holds offers back until `released` resolves. Calls `held` for each offer that is held back. */
  async holdOffer(held, released) {
    await this.page.route('**/graphql', async (route) => {
      if (route.request().postData()?.includes('"type":"OFFER"')) {
        held();
        await released;
      }
      await route.continue();
    });
  }

  /** Restarts ICE, so that the device sends an offer. */
  restart() {
    return this.page.evaluate(() => window.phone.calls.connections.forEach((connection) => connection.restartIce()));
  }

  /** Waits until the connection has finished another negotiation and the video moves again. */
  async renewed({ ice }) {
    const over = async (former) => {
      const [seen] = await window.phone.connectionStates();
      return seen.ice !== former && seen.settled && seen.state === 'connected';
    };
    await this.#until(over, ice, 'a new negotiation');
    await this.watchOn();
  }

  close() {
    return this.context.close();
  }

  /** Asserts that the page has reported no problem. Not for use after a call, when late signals can fail. */
  async check() {
    assert.deepEqual(await this.page.evaluate(() => window.phone.problems), []);
  }

  /** Polls a condition in the page until it is true, because a page sends no event when its state changes. */
  async #until(condition, argument, what) {
    for (const end = Date.now() + TIMEOUT_MS; !(await this.page.evaluate(condition, argument)); await later(POLL_MS)) {
      if (Date.now() < end) continue;
      const [seen, problems] = [await this.connectionStates(), await this.page.evaluate(() => window.phone.problems)];
      assert.fail(`${this.person.username} did not get ${what} in time: ${JSON.stringify({ problems, seen })}`);
    }
  }
}

/** Signs in Alice and Bob on different nodes and in different browsers. */
async function twoPeople(rtc) {
  const { alice, bob, conversation } = await pair(nodes[0]);
  bob.server = nodes[1];
  const devices = await Promise.all([Device.open(browsers[0], alice, rtc), Device.open(browsers[1], bob, rtc)]);
  return { devices, conversation, bob };
}

/** Makes both devices send an offer before either receives the offer of the other. */
async function crossOffers(devices) {
  const { opened, open } = gate();
  let held = 0;
  await Promise.all(devices.map((device) => device.holdOffer(() => ++held === devices.length && open(), opened)));
  await Promise.all(devices.map((device) => device.restart()));
  await withTimeout(opened, 'an offer from both', TIMEOUT_MS);
}

/** A hindrance: the server receives the request, but the browser does not receive the response. */
async function cutAfter(route) {
  await route.fetch();
  await route.abort();
}

const refuseWith = (extensions) => (route) =>
  route.fulfill({
    headers: { 'Access-Control-Allow-Origin': '*' },
    contentType: 'application/json',
    body: JSON.stringify({ data: null, errors: [{ message: 'Not now.', extensions }] }),
  });

async function systemMessages(person, id) {
  const query = `query ($id: ID!) {
    conversation(id: $id) { messages(last: 10) { nodes { systemEvent { kind text actor { id } } } } }
  }`;
  const { conversation } = await person.ask(query, { id });
  return conversation.messages.nodes.map(({ systemEvent }) => systemEvent);
}

describe('a call between browsers', { concurrency: 1 }, () => {
  test('connects two devices, survives crossing offers, and ends for both', async () => {
    const { devices, conversation, bob } = await twoPeople();
    const [alice, ...others] = devices;
    // Bob has two devices.
    others.push(await Device.open(browsers[2], await bob.onAnotherDevice(nodes[0])));
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

    const former = await Promise.all([alice, answering].map((device) => device.connectionStates()));
    await crossOffers([alice, answering]);
    await Promise.all([alice.renewed(former[0][0]), answering.renewed(former[1][0])]);
    await Promise.all([alice, answering].map((device) => device.check()));

    await alice.leave();
    assert.equal((await answering.last('ended')).endReason, 'HUNG_UP');
    assert.deepEqual(await Promise.all(others.map((device) => device.connectionStates())), [[], []]);
    assert.deepEqual(await Promise.all([alice, ...others].map((device) => device.count('rings'))), [0, 1, 1]);
    const [told] = await systemMessages(alice.person, conversation);
    assert.equal(told.kind, 'CALL_ENDED');
    assert.equal(told.actor.id, alice.person.id);
    await Promise.all([alice, ...others].map((device) => device.close()));
  });

  test('connects when only the TURN server can be used', async () => {
    const { devices, conversation } = await twoPeople({ iceTransportPolicy: 'relay' });
    const [alice, bob] = devices;
    await alice.start(conversation, 'VIDEO');
    await bob.accept(await bob.last('rings'));
    await Promise.all(devices.map((device) => device.watch(true)));
    await bob.leave();
    assert.equal((await alice.last('ended')).endReason, 'HUNG_UP');
    await Promise.all(devices.map((device) => device.close()));
  });

  test('of three devices connects each pair, and continues when one leaves', async () => {
    const people = await Promise.all(['alice', 'bob', 'carol'].map((name) => Person.register(nodes[0], name)));
    const { createGroup } = await people[0].ask(
      `mutation ($input: CreateGroupInput!) { createGroup(input: $input) { conversation { id } } }`,
      { input: { title: 'Three', participantIds: people.slice(1).map(({ id }) => id) } },
    );
    people[1].server = nodes[1];
    const devices = await Promise.all(people.map((person, place) => Device.open(browsers[place], person)));
    const [alice, bob, carol] = devices;
    await alice.start(createGroup.conversation.id, 'VIDEO');
    await bob.accept(await bob.last('rings'));
    await Promise.all([alice, bob].map((device) => device.watch(false)));
    await carol.accept(await carol.last('rings'));
    await Promise.all(devices.map((device) => device.watch(false, 2)));
    assert.deepEqual(carol.offers.toSorted(), [alice.session, bob.session].toSorted());
    assert.deepEqual([alice.offers, bob.offers], [[], [alice.session]]);

    await bob.leave();
    for (const device of [alice, carol]) assert.equal(await device.last('gone'), bob.session);
    await Promise.all([alice, carol].map((device) => device.watchOn()));
    await Promise.all([alice, carol].map((device) => device.watch(false)));
    assert.equal(await alice.count('ended'), 0);
    await carol.leave();
    assert.equal((await alice.last('ended')).endReason, 'HUNG_UP');
    await Promise.all(devices.map((device) => device.close()));
  });

  test('connects although signals are lost or duplicated at first', async () => {
    const { devices, conversation } = await twoPeople();
    const [alice, bob] = devices;
    // Bob offers, and Alice answers.
    await bob.hinderSignals((route) => route.abort(), refuseWith({ code: 'RATE_LIMITED', retryAfter: 1 }), cutAfter);
    await alice.hinderSignals(cutAfter, refuseWith({ code: 'UNAVAILABLE' }));
    await alice.start(conversation, 'VIDEO');
    await bob.accept(await bob.last('rings'));
    await Promise.all(devices.map((device) => device.watch(false)));
    await Promise.all(devices.map((device) => device.close()));
  });

  test('is found again by a page after a reload', async () => {
    const { devices, conversation } = await twoPeople();
    const [alice, bob] = devices;
    await alice.start(conversation, 'AUDIO');
    const ring = await bob.last('rings');
    await bob.accept(ring);
    await alice.load();
    const found = await alice.last('elsewhere');
    assert.equal(found.id, ring.id);
    assert.equal(found.state, 'ONGOING');
    // The page does not leave the call by itself, and cannot start another call.
    await assert.rejects(alice.start(conversation, 'AUDIO'), /There is a call already/);
    assert.equal(await bob.count('ended'), 0);
    await alice.leave(found);
    assert.equal((await bob.last('ended')).endReason, 'HUNG_UP');
    assert.equal(await alice.last('elsewhere', 2), null);
    await alice.start(conversation, 'AUDIO');
    assert.notEqual((await bob.last('rings', 2)).id, ring.id);
    await Promise.all(devices.map((device) => device.close()));
  });

  test('stops ringing on a device that was offline when the call ended', async () => {
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

  test('ends for the caller when it is declined', async () => {
    const { devices, conversation } = await twoPeople();
    const [alice, bob] = devices;
    assert.deepEqual(await alice.startTwice(conversation), { asked: 1, statuses: ['fulfilled', 'rejected'] });
    const ring = await bob.last('rings');
    assert.equal(ring.kind, 'AUDIO');
    await bob.decline(ring);
    assert.equal((await alice.last('ended')).endReason, 'DECLINED');
    await Promise.all(devices.map((device) => device.close()));
  });
});
