// Passkeys in a browser, with the code of docs/clients.md and Chromium's virtual authenticator, and the documented
// sign-in with a second factor.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serveFiles, startBrowser } from './browsers.mjs';
import { directory, documented, tokensOf } from './clients.mjs';
import { startNodes } from './servers.mjs';
import { ask, PASSWORD, Person } from './support.mjs';

const AUTHENTICATOR = {
  protocol: 'ctap2',
  transport: 'internal',
  hasResidentKey: true,
  hasUserVerification: true,
  isUserVerified: true,
  automaticPresenceSimulation: true,
};

const factors = await documented('factors.mjs');

let server, other, address, browser;
before(async () => {
  address = await serveFiles({ '/': [fileURLToPath(new URL('passkeys-page', import.meta.url)), directory] });
  const origins = { CORS_ORIGINS: address };
  [[server, other], browser] = await Promise.all([
    startNodes(origins, { ...origins, WEBAUTHN_ORIGINS: 'https://chat.localhost' }),
    startBrowser(),
  ]);
});

describe('a page in Chromium', () => {
  let page, devtools, authenticatorId;
  beforeEach(async () => {
    const context = await browser.newContext();
    page = await context.newPage();
    devtools = await context.newCDPSession(page);
    await devtools.send('WebAuthn.enable');
    ({ authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', { options: AUTHENTICATOR }));
    await page.goto(address);
    await page.waitForFunction(() => window.passkeys);
  });

  const add = (person, name = 'Laptop', at = server) =>
    page.evaluate((given) => window.passkeys.add(given), { url: `${at.url}/graphql`, auth: person.auth, name });
  const signIn = (at = server) =>
    page.evaluate((given) => window.passkeys.signIn(given), { url: `${at.url}/graphql`, deviceName: 'Laptop' });
  const credentials = async () => (await devtools.send('WebAuthn.getCredentials', { authenticatorId })).credentials;

  test('adds a passkey and signs in with it', async () => {
    const ada = await Person.register(server, 'ada');
    const { value: passkey } = await add(ada);
    assert.equal(passkey.name, 'Laptop');
    const [credential] = await credentials();
    assert.deepEqual([credential.rpId, credential.isResidentCredential], ['localhost', true]);
    for (let time = 0; time < 2; time++) {
      const { value: viewer } = await signIn();
      assert.equal(viewer.user.id, ada.id);
      assert.ok(viewer.passkeys[0].lastUsedAt);
    }
  });

  test('confirms the identity of its user', async () => {
    const ada = await Person.register(server, 'ada');
    await add(ada);
    const given = { url: `${server.url}/graphql`, auth: ada.auth };
    const { value: until } = await page.evaluate((it) => window.passkeys.confirm(it), given);
    assert.ok(until > Date.now() && until <= Date.now() + 600_000, String(until));
  });

  test('makes no second passkey of the same account on the same device', async () => {
    const ada = await Person.register(server, 'ada');
    await add(ada);
    assert.equal((await add(ada)).name, 'InvalidStateError');
    assert.equal((await credentials()).length, 1);
  });

  test('cannot sign in without a verified user', async () => {
    const ada = await Person.register(server, 'ada');
    await add(ada);
    await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false });
    assert.equal((await signIn()).name, 'NotAllowedError');
  });

  test('cannot use passkeys if its origin is not allowed', async () => {
    const ada = await Person.register(server, 'ada');
    await add(ada);
    // Both nodes have the same database, and only one of them allows the origin of the page.
    const { code, message } = await signIn(other);
    assert.deepEqual([code, message.includes('WEBAUTHN_ORIGINS')], ['BAD_USER_INPUT', true]);
    assert.equal((await add(await Person.register(other, 'bob'), 'Laptop', other)).code, 'BAD_USER_INPUT');
  });

  test('cannot sign in with a copied passkey', async () => {
    const ada = await Person.register(server, 'ada');
    await add(ada);
    const [copied] = await credentials();
    for (let time = 0; time < 3; time++) await signIn();
    await devtools.send('WebAuthn.removeCredential', { authenticatorId, credentialId: copied.credentialId });
    await devtools.send('WebAuthn.addCredential', { authenticatorId, credential: copied });
    assert.equal((await signIn()).code, 'UNAUTHENTICATED');
  });

  test('cannot sign in with a passkey that was removed', async () => {
    const ada = await Person.register(server, 'ada');
    const { value: passkey } = await add(ada);
    const remove = 'mutation ($input: RemovePasskeyInput!) { removePasskey(input: $input) { passkeyId } }';
    await ada.ask(remove, { input: { passkeyId: passkey.id } });
    assert.equal((await signIn()).code, 'UNAUTHENTICATED');
  });
});

/** Returns the code of an authenticator app after some steps of 30 seconds (RFC 6238). */
function totp(secret, steps = 0) {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  const bits = Array.from(secret, (letter) => letters.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const hmac = createHmac('sha1', key).update(step).digest();
  const number = hmac.readUInt32BE(hmac[19] & 0xf) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, '0');
}

describe('the documented sign-in', () => {
  let ada, secret, recoveryCodes;
  beforeEach(async () => {
    ada = await Person.register(server, 'ada');
    ({ secret } = (await ada.ask('mutation { setUpTotp { secret uri } }')).setUpTotp);
    const confirm = 'mutation ($input: ConfirmTotpInput!) { confirmTotp(input: $input) { recoveryCodes } }';
    ({ recoveryCodes } = (await ada.ask(confirm, { input: { code: totp(secret) } })).confirmTotp);
  });

  const signIn = (tokens, askFactor) =>
    factors.signIn({
      url: `${server.url}/graphql`,
      tokens,
      identifier: ada.username,
      password: PASSWORD,
      deviceName: 'Laptop',
      askFactor,
    });

  test('asks for a second factor until it is right', async () => {
    const tokens = tokensOf(server);
    const asked = [];
    const answers = [{ recoveryCode: '0000-0000-0000-0000' }, { totp: totp(secret, 1) }];
    assert.equal(await signIn(tokens, (question) => (asked.push(question), answers[asked.length - 1])), true);
    assert.deepEqual(asked[0], { factors: ['TOTP', 'RECOVERY_CODE'], message: undefined });
    assert.match(asked[1].message, /wrong or already used/);
    const token = (await tokens.freshHeaders()).Authorization.replace('Bearer ', '');
    const { viewer } = await ask(server, '{ viewer { totpEnabled user { id } } }', {}, token);
    assert.deepEqual(viewer, { totpEnabled: true, user: { id: ada.id } });
  });

  test('accepts a recovery code, and ends if the user gives up or has tried too often', async () => {
    const tokens = tokensOf(server);
    assert.equal(await signIn(tokens, () => null), false);
    assert.deepEqual(await tokens.freshHeaders(), {});
    await assert.rejects(
      signIn(tokens, () => ({ recoveryCode: '0000-0000-0000-0000' })),
      ({ code, violations }) => code === 'BAD_USER_INPUT' && violations[0].path === 'challenge',
    );
    assert.equal(await signIn(tokens, () => ({ recoveryCode: recoveryCodes[0] })), true);
  });
});
