// Files, by the code of docs/clients.md.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { crc32, deflateSync } from 'node:zlib';
import { documented, place } from './clients.mjs';
import { startNodes } from './servers.mjs';
import { pair } from './support.mjs';

const { sendFile, uploadInParts } = await documented('files.mjs');

let server;
before(async () => {
  [server] = await startNodes({});
});

/** The attachments of a message, as the person sees it. */
async function attachmentsOf(person, id) {
  const query = 'query ($id: ID!) { node(id: $id) { ... on Message { attachments { fileName thumbnailUrl } } } }';
  const response = await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${person.token}` },
    body: JSON.stringify({ query, variables: { id } }),
  });
  return (await response.json()).data.node.attachments;
}

/** A PNG of one colour. */
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
  test('a picture is sent, and its thumbnail shown', async () => {
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

  test('a large file goes in parts, and goes on after a break', async () => {
    const { alice, conversation } = await pair(server);
    const at = place(server, alice);
    const bytes = Buffer.alloc(17 * 1024 * 1024, 'parlance ');
    const file = new File([bytes], 'large.bin');
    let id;
    // The last part does not get through.
    const whole = globalThis.fetch;
    let puts = 0;
    globalThis.fetch = (url, init) => {
      if (init?.method === 'PUT' && ++puts === 2) return Promise.reject(new TypeError('fetch failed'));
      return whole(url, init);
    };
    try {
      await assert.rejects(uploadInParts(at, file, { onBegin: (begun) => (id = begun) }), /fetch failed/);
    } finally {
      globalThis.fetch = whole;
    }
    assert.equal(await uploadInParts(at, file, { attachmentId: id }), id);
    const sent = await sendFile({ ...at, conversationId: conversation, file });
    const back = Buffer.from(await (await fetch(sent.attachments[0].url)).arrayBuffer());
    assert.ok(back.equals(bytes));
  });

  test('what is no picture is not sent as one', async () => {
    const { alice, conversation } = await pair(server);
    const file = new File(['no picture'], 'a.png', { type: 'image/png' });
    await assert.rejects(sendFile({ ...place(server, alice), conversationId: conversation, file }), /\w+/);
  });
});
