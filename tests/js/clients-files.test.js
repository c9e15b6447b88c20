// Tests of uploads and downloads with the code of docs/clients.md.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { crc32, deflateSync } from 'node:zlib';
import { documented, place } from './clients.mjs';
import { startNodes } from './servers.mjs';
import { gate, pair } from './support.mjs';

const { sendFile, uploadInParts } = await documented('files.mjs');

/** Size in bytes of a file that needs two parts. */
const LARGE = 17 * 1024 * 1024;

let server, slow, clamd;
const scanned = gate();
before(async () => {
  clamd = createServer(scan);
  await once(clamd.listen(0, '127.0.0.1'), 'listening');
  const scans = { CLAMD_ADDRESS: `127.0.0.1:${clamd.address().port}`, OPERATION_TIMEOUT: '4' };
  [server, slow] = await startNodes({}, scans);
});
after(() => clamd.close());

/** Serves a connection of a fake clamd, which reports each file as clean after the gate `scanned` is open. */
function scan(socket) {
  let last = Buffer.alloc(0);
  socket.on('data', async (data) => {
    last = Buffer.concat([last, data]).subarray(-4);
    // A chunk of length zero ends the file.
    if (!last.equals(Buffer.alloc(4))) return;
    await scanned.opened;
    socket.end('stream: OK\0');
  });
}

/** Replaces `fetch` while `work` runs. `other` gets the real `fetch` as its first argument. */
async function withFetch(other, work) {
  const real = globalThis.fetch;
  globalThis.fetch = (url, init) => other(real, url, init);
  try {
    return await work();
  } finally {
    globalThis.fetch = real;
  }
}

/** Reads the attachments of a message as the person sees them. */
async function attachmentsOf(person, id) {
  const query = 'query ($id: ID!) { node(id: $id) { ... on Message { attachments { fileName thumbnailUrl } } } }';
  const response = await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${person.token}` },
    body: JSON.stringify({ query, variables: { id } }),
  });
  return (await response.json()).data.node.attachments;
}

/** Returns a PNG of a single color. */
function png(width, height) {
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  const rows = Buffer.alloc(height * (1 + 3 * width), 0x80);
  for (let row = 0; row < height; row++) rows[row * (1 + 3 * width)] = 0;
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const chunks = [chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([signature, ...chunks]);
}

describe('files', () => {
  test('a picture is sent and has a thumbnail', async () => {
    const { alice, bob, conversation } = await pair(server);
    const file = new File([png(640, 480)], 'häuser.png', { type: 'image/png' });
    const sent = await sendFile({ ...place(server, alice), conversationId: conversation, file, body: 'our houses' });
    assert.deepEqual([sent.kind, sent.body], ['IMAGE', 'our houses']);
    const [attachment] = sent.attachments;
    assert.deepEqual([attachment.width, attachment.height], [640, 480]);
    const [seen] = await attachmentsOf(bob, sent.id);
    assert.equal(seen.fileName, 'häuser.png');
    const thumbnail = await fetch(seen.thumbnailUrl);
    assert.equal(thumbnail.headers.get('content-type'), 'image/webp');
    const original = await fetch(attachment.url);
    assert.equal(original.headers.get('content-type'), 'image/png');
    assert.match(original.headers.get('content-disposition'), /^inline; .*filename\*=UTF-8''h%C3%A4user.png$/);
  });

  test('a large file is uploaded in parts, and the upload resumes after a failure', async () => {
    const { alice, conversation } = await pair(server);
    const at = place(server, alice);
    const bytes = Buffer.alloc(LARGE, 'parlance ');
    const file = new File([bytes], 'large.bin');
    let id;
    // The upload of the last part fails, and the retry fails too.
    let puts = 0;
    const broken = (real, url, init) => {
      if (init?.method === 'PUT' && ++puts > 1) return Promise.reject(new TypeError('fetch failed'));
      return real(url, init);
    };
    const begun = () => uploadInParts(at, file, { onBegin: (begun) => (id = begun) });
    await withFetch(broken, () => assert.rejects(begun(), /fetch failed/));
    assert.equal(await uploadInParts(at, file, { attachmentId: id }), id);
    const sent = await sendFile({ ...at, conversationId: conversation, file });
    const back = Buffer.from(await (await fetch(sent.attachments[0].url)).arrayBuffer());
    assert.ok(back.equals(bytes));
  });

  test('an expired upload URL is replaced, and no stored part is sent again', async () => {
    const { alice } = await pair(server);
    const file = new File([Buffer.alloc(LARGE, 'parlance ')], 'large.bin');
    let sent;
    const late = (fails) => (real, url, init) => {
      if (init?.method !== 'PUT') return real(url, init);
      const [part] = /partNumber=\d+/.exec(url);
      const bad = fails(part);
      sent.push(`${part} ${bad ? 'bad' : 'good'}`);
      return real(bad ? url.replace(/(?<=X-Amz-Signature=)\w+/, '0'.repeat(64)) : url, init);
    };
    const send = () => uploadInParts(place(server, alice), file);
    sent = [];
    await withFetch(late((part) => part === 'partNumber=2' && !sent.includes('partNumber=2 bad')), send);
    assert.deepEqual(sent, ['partNumber=1 good', 'partNumber=2 bad', 'partNumber=2 good']);

    // If the server rejects a request before it has read the body, the client may get no response.
    sent = [];
    await withFetch(late(() => true), () => assert.rejects(send(), /refused: 403|fetch failed/));
    assert.deepEqual(sent, ['partNumber=1 bad', 'partNumber=1 bad']);
  });

  test('a file whose scan takes longer than the operation timeout is retried', async () => {
    const { alice, conversation } = await pair(server);
    const codes = [];
    const watched = async (real, url, init) => {
      const response = await real(url, init);
      const { errors } = await response.clone().json().catch(() => ({}));
      if (errors) codes.push(errors[0].extensions.code);
      if (codes.length === 2) scanned.open();
      return response;
    };
    const file = new File(['a long story'], 'story.txt', { type: 'text/plain' });
    const send = () => sendFile({ ...place(slow, alice), conversationId: conversation, file });
    const sent = await withFetch(watched, send);
    assert.equal(sent.attachments[0].fileName, 'story.txt');
    assert.deepEqual(new Set(codes), new Set(['UNAVAILABLE']));
  });

  test('a file declared as a picture is rejected if it is not one', async () => {
    const { alice, conversation } = await pair(server);
    const file = new File(['no picture'], 'a.png', { type: 'image/png' });
    await assert.rejects(sendFile({ ...place(server, alice), conversationId: conversation, file }), /\w+/);
  });
});
