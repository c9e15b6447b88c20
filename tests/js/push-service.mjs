// A push service (RFC 8030) that decrypts what it gets, as browsers do (RFC 8291), and checks the sender (RFC 8292).

import assert from 'node:assert/strict';
import { createDecipheriv, createECDH, createPublicKey, hkdfSync, randomBytes, verify, webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after } from 'node:test';
import { Mailbox } from './support.mjs';

/** Sizes in bytes: RFC 8188, section 2, and RFC 8291, sections 3 and 4. */
const SALT_BYTES = 16;
const PUBLIC_KEY_BYTES = 65;
const AUTH_BYTES = 16;
const TAG_BYTES = 16;

const servers = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/** Starts a push service on loopback. */
export async function startPushService() {
  const service = new PushService();
  await once(service.server.listen(0, '127.0.0.1'), 'listening');
  servers.push(service.server);
  return service;
}

class PushService {
  receivers = new Map();
  server = createServer((request, response) => this.#receive(request, response));

  get url() {
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  /**
   * Makes keys and an endpoint as a browser does. Resolves to `subscription`, which is what `PushSubscription.toJSON()`
   * would return, and `pushes`, a Mailbox. A push has `headers`, `vapid` with `key` and `claims`, the decrypted `text`,
   * and `payload`, which is the text as JSON.
   */
  async subscribe() {
    const path = `/push/${randomBytes(16).toString('hex')}`;
    const pair = await webcrypto.subtle.generateKey({ name: 'ECDH', namedCurve: 'P-256' }, true, ['deriveBits']);
    const publicKey = Buffer.from(await webcrypto.subtle.exportKey('raw', pair.publicKey));
    const { d } = await webcrypto.subtle.exportKey('jwk', pair.privateKey);
    const ecdh = createECDH('prime256v1');
    ecdh.setPrivateKey(Buffer.from(d, 'base64url'));
    const auth = randomBytes(AUTH_BYTES);
    const keys = { p256dh: publicKey.toString('base64url'), auth: auth.toString('base64url') };
    const subscription = { endpoint: this.url + path, keys };
    const receiver = { subscription, publicKey, ecdh, auth, pushes: new Mailbox(`the pushes to ${path}`) };
    this.receivers.set(path, receiver);
    return receiver;
  }

  async #receive(request, response) {
    const receiver = this.receivers.get(request.url);
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    if (!receiver) return response.writeHead(404).end();
    try {
      assert.equal(request.method, 'POST');
      const { headers } = request;
      const text = decrypt(receiver, Buffer.concat(chunks));
      receiver.pushes.put({ headers, vapid: readVapid(headers.authorization), text, payload: JSON.parse(text) });
      response.writeHead(201, { Location: `${this.url}/message/1` }).end();
    } catch (error) {
      receiver.pushes.end(String(error));
      response.writeHead(400).end();
    }
  }
}

/** Decrypts the body of a push. It has a single record (RFC 8291, section 4). */
function decrypt({ publicKey, ecdh, auth }, body) {
  const salt = body.subarray(0, SALT_BYTES);
  const recordSize = body.readUInt32BE(SALT_BYTES);
  const keyLength = body[SALT_BYTES + 4];
  assert.equal(keyLength, PUBLIC_KEY_BYTES);
  const sender = body.subarray(SALT_BYTES + 5, SALT_BYTES + 5 + keyLength);
  const record = body.subarray(SALT_BYTES + 5 + keyLength);
  assert.ok(record.length <= recordSize, `a record of ${record.length} bytes with the size ${recordSize}`);

  const info = Buffer.concat([Buffer.from('WebPush: info\0'), publicKey, sender]);
  const secret = Buffer.from(hkdfSync('sha256', ecdh.computeSecret(sender), auth, info, 32));
  const key = Buffer.from(hkdfSync('sha256', secret, salt, 'Content-Encoding: aes128gcm\0', 16));
  const nonce = Buffer.from(hkdfSync('sha256', secret, salt, 'Content-Encoding: nonce\0', 12));
  const decipher = createDecipheriv('aes-128-gcm', key, nonce);
  decipher.setAuthTag(record.subarray(-TAG_BYTES));
  const padded = Buffer.concat([decipher.update(record.subarray(0, -TAG_BYTES)), decipher.final()]);
  // The delimiter 2 and zeros are behind the text (RFC 8188, section 2).
  const end = padded.findLastIndex((byte) => byte !== 0);
  assert.equal(padded[end], 2);
  return padded.subarray(0, end).toString();
}

/** Checks the signature of the Authorization header, and returns the key in base64url and the claims. */
function readVapid(authorization) {
  const [, token, key] = /^vapid t=([\w.-]+), *k=([\w-]+)$/.exec(authorization) ?? [];
  assert.ok(token, `${authorization}`);
  const point = Buffer.from(key, 'base64url');
  assert.deepEqual([point.length, point[0]], [PUBLIC_KEY_BYTES, 4]);
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((part) => part.toString('base64url'));
  const publicKey = createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
  const [head, claims, signature] = token.split('.');
  assert.equal(JSON.parse(Buffer.from(head, 'base64url')).alg, 'ES256');
  const signed = Buffer.from(`${head}.${claims}`);
  const format = { key: publicKey, dsaEncoding: 'ieee-p1363' };
  assert.ok(verify('sha256', signed, format, Buffer.from(signature, 'base64url')), 'the signature is wrong');
  return { key, claims: JSON.parse(Buffer.from(claims, 'base64url')) };
}
