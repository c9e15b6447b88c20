// Calls between real browsers, by the code of docs/calls.md: it rings, connects and ends as people expect.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startBrowser, serveFiles } from './browsers.mjs';
import { directory } from './clients.mjs';
import { startCoturn } from './coturn.mjs';
import { startNodes } from './servers.mjs';
import { gate, inTime, pair, Person } from './support.mjs';

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
    Promise.all([startBrowser(), startBrowser(), startBrowser()]),
    serveFiles({ '/': [path('call-page'), directory], '/graphql-ws/': [path('node_modules/graphql-ws/dist')] }),
  ]);
});

/** A person's device: a browser's window of its own that is signed in at a node. */
class Device {
  static async open(browser, person, rtc = {}) {
    const context = await browser.newContext();
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
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

  /** Also once more: the session is the same, and of what the page knew nothing is left. */
  async load() {
    await this.page.goto(address);
    await this.page.waitForFunction(() => window.phone?.signIn);
    const { server, auth } = this.person;
    const options = { url: `${server.url}/graphql`, socketUrl: server.socketUrl, auth, rtc: this.rtc };
    await this.page.evaluate((given) => window.phone.signIn(given), options);
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

  /** A double click. What became of both, and how often the microphone was asked for. */
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

  /** The call of this page, or this one. */
  leave(call) {
    return this.page.evaluate((id) => window.phone.calls.leave(id), call?.id);
  }

  look() {
    return this.page.evaluate(() => window.phone.look());
  }

  /** Waits until it is connected to so many this way, and sees them move. A direct way may be found after another. */
  async watch(relayed, others = 1) {
    const moves = async ([expected, frames, many]) => {
      const seen = await window.phone.look();
      const fits = (way) => way?.every((type) => (type === 'relay') === expected);
      const shown = seen.filter(
        ({ state, width, time, frames: decoded, way }) =>
          state === 'connected' && width > 0 && time > 0 && decoded >= frames && fits(way),
      );
      return seen.length === many && shown.length === many;
    };
    await this.#until(moves, [relayed, FRAMES, others], `a moving picture, ${relayed ? 'relayed' : 'directly'}`);
    await this.check();
  }

  /** Waits until the picture of the only other one has moved on. */
  async watchOn() {
    const [{ frames }] = await this.look();
    await this.#until(async (before) => (await window.phone.look())[0].frames > before, frames + FRAMES, 'a picture');
  }

  /** Each of these becomes of one request with a signal, in turn; the others get through. */
  async hinderSignals(...hindrances) {
    await this.page.route('**/graphql', (route) => {
      const hinder = route.request().postData()?.includes('sendCallSignal') && hindrances.shift();
      return hinder ? hinder(route) : route.continue();
    });
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
    await this.watchOn();
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

/** The server has it, and the browser does not hear so. */
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
  test('connects from one to the other, survives crossing offers, and ends for both', async () => {
    const { devices, conversation, bob } = await twoPeople();
    const [alice, ...others] = devices;
    // Bob is at home with two devices.
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

  test('of three is a mesh, into which the last one offers, and goes on when one leaves', async () => {
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

  test('connects though signals do not get through at first, or come twice', async () => {
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

  test('is found again by a page that was reloaded', async () => {
    const { devices, conversation } = await twoPeople();
    const [alice, bob] = devices;
    await alice.start(conversation, 'AUDIO');
    const ring = await bob.last('rings');
    await bob.accept(ring);
    await alice.load();
    const found = await alice.last('elsewhere');
    assert.equal(found.id, ring.id);
    assert.equal(found.state, 'ONGOING');
    // It is not left by itself, nor is there another beside it.
    await assert.rejects(alice.start(conversation, 'AUDIO'), /There is a call already/);
    assert.equal(await bob.count('ended'), 0);
    await alice.leave(found);
    assert.equal((await bob.last('ended')).endReason, 'HUNG_UP');
    assert.equal(await alice.last('elsewhere', 2), null);
    await alice.start(conversation, 'AUDIO');
    assert.notEqual((await bob.last('rings', 2)).id, ring.id);
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
    assert.deepEqual(await alice.startTwice(conversation), { asked: 1, statuses: ['fulfilled', 'rejected'] });
    const ring = await bob.last('rings');
    assert.equal(ring.kind, 'AUDIO');
    await bob.decline(ring);
    assert.equal((await alice.last('ended')).endReason, 'DECLINED');
    await Promise.all(devices.map((device) => device.close()));
  });
});
