// Tests of verification codes by e-mail and SMS, against a real SMTP server and a real hook.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import { documented, tokensOf } from './clients.mjs';
import { codeIn, startMailServer, startSmsHook } from './mail.mjs';
import { freePort, startNodes } from './servers.mjs';
import { ask, PASSWORD, Person, RawSocket } from './support.mjs';

const NEW_PASSWORD = 'nine loud gulls at dawn';
const SIGNED_IN = `accessToken refreshToken isNewAccount session { id } viewer {
  hasPassword email emailVerified phone phoneVerified user { id username displayName }
}`;

const documentedCodes = await documented('codes.mjs');

let mails, sms, server;
before(async () => {
  [mails, sms] = await Promise.all([startMailServer(), startSmsHook({ failures: [503, 500] })]);
  [server] = await startNodes({ ...mails.settings, ...sms.settings });
});

/** Returns an e-mail address that no other test uses. */
const newEmail = (name) => `${name}.${randomBytes(6).toString('hex')}@example.org`;

const requestCode = (contactPoint, purpose, { at = server, token, language } = {}) =>
  ask(
    at,
    'mutation ($input: RequestCodeInput!) { requestCode(input: $input) { expiresAt } }',
    { input: { contactPoint, purpose } },
    token,
    language && { 'Accept-Language': language },
  );

/** Requests a code by e-mail and reads it. */
async function emailedCode(email, purpose, options) {
  await requestCode({ email }, purpose, options);
  return codeIn((await mails.waitForMail(email)).text);
}

async function loginWithCode(contactPoint, code, { at = server, ...more } = {}) {
  const query = `mutation ($input: LoginWithCodeInput!) { loginWithCode(input: $input) { ${SIGNED_IN} } }`;
  return (await ask(at, query, { input: { contactPoint, code, ...more } })).loginWithCode;
}

async function verify(person, email) {
  const code = await emailedCode(email, 'VERIFY', { token: person.token });
  const query = `mutation ($input: VerifyContactPointInput!) {
    verifyContactPoint(input: $input) { viewer { email emailVerified } }
  }`;
  return (await person.ask(query, { input: { contactPoint: { email }, code } })).verifyContactPoint.viewer;
}

describe('codes', { concurrency: true }, () => {
  test('a code by e-mail signs in, and the e-mail is in the language of the client', async () => {
    const email = newEmail('ada');
    await requestCode({ email }, 'LOGIN', { language: 'de-AT, de;q=0.9, en;q=0.5' });
    const german = await mails.waitForMail(email);
    assert.equal(german.subject, 'Ihr Code für Parlance');
    assert.match(german.text, /^\d{6} ist Ihr Code/);
    const first = await loginWithCode({ email }, codeIn(german.text));
    assert.equal(first.isNewAccount, true);
    const { hasPassword, emailVerified } = first.viewer;
    assert.deepEqual({ hasPassword, emailVerified, email: first.viewer.email }, {
      hasPassword: false,
      emailVerified: true,
      email,
    });
    assert.doesNotMatch(`${first.viewer.user.username} ${first.viewer.user.displayName}`, /ada|example/);

    await requestCode({ email }, 'LOGIN');
    const english = await mails.waitForMail(email);
    assert.match(english.text, /^\d{6} is your Parlance code/);
    const again = await loginWithCode({ email }, codeIn(english.text));
    assert.deepEqual([again.isNewAccount, again.viewer.user.id], [false, first.viewer.user.id]);
  });

  test('the documented code signs in and stores the tokens', async () => {
    const contactPoint = { email: newEmail('ada') };
    const [url, tokens] = [`${server.url}/graphql`, tokensOf(server)];
    const { challenge, expiresAt } = await documentedCodes.requestCode({ url, contactPoint });
    assert.ok(expiresAt > new Date() && expiresAt - new Date() <= 600_000, String(expiresAt));
    const code = codeIn((await mails.waitForMail(contactPoint.email)).text);
    const wrong = code === '000000' ? '000001' : '000000';
    const signIn = (tried) =>
      documentedCodes.signIn({ url, tokens, contactPoint, code: tried, challenge, displayName: 'Ada' });
    await assert.rejects(signIn(wrong), { code: 'BAD_USER_INPUT' });
    // A newer code does not replace this one.
    await documentedCodes.requestCode({ url, contactPoint });
    assert.equal(await signIn(code), true);
    const token = (await tokens.freshHeaders()).Authorization.replace('Bearer ', '');
    const { viewer } = await ask(server, '{ viewer { user { displayName } } }', {}, token);
    assert.equal(viewer.user.displayName, 'Ada');
    await assert.rejects(signIn(code), { code: 'BAD_USER_INPUT' });
  });

  test('a code resets a password, and the other devices are signed out', async () => {
    const ada = await Person.register(server, 'ada');
    const email = newEmail('ada');
    await verify(ada, email);
    const socket = await RawSocket.init(server, ada.token);
    const code = await emailedCode(email, 'RESET_PASSWORD');
    const { resetPassword } = await ask(
      server,
      `mutation ($input: ResetPasswordInput!) { resetPassword(input: $input) { ${SIGNED_IN} } }`,
      { input: { contactPoint: { email }, code, newPassword: NEW_PASSWORD } },
    );
    await socket.assertCloses(4403);
    await assert.rejects(ada.ask('{ viewer { id } }'), { code: 'UNAUTHENTICATED' });
    await new Person(server, resetPassword).ask('{ viewer { id } }');
    const told = await mails.waitForMail(email);
    assert.ok(told.text.includes(ada.username), told.text);
    const login = (password) =>
      ask(server, 'mutation ($input: LoginInput!) { login(input: $input) { accessToken } }', {
        input: { identifier: email, password },
      });
    await assert.rejects(login(PASSWORD), { code: 'UNAUTHENTICATED' });
    await login(NEW_PASSWORD);
  });

  test('a change of the e-mail address tells the former one', async () => {
    const ada = await Person.register(server, 'ada');
    const [former, next] = [newEmail('former'), newEmail('next')];
    await verify(ada, former);
    assert.deepEqual(await verify(ada, next), { email: next, emailVerified: true });
    const told = await mails.waitForMail(former);
    assert.ok(told.text.includes(ada.username) && told.text.includes('n…@example.org'), told.text);
    assert.ok(!told.raw.includes(next), 'the new address is not shown in full');
  });

  test('a code by SMS arrives although the hook fails twice', async () => {
    const phone = '+4915112345678';
    await requestCode({ phone }, 'LOGIN', { language: 'fr' });
    const { text, code, purpose, language } = await sms.waitForSms(phone);
    assert.deepEqual([purpose, language], ['login', 'fr']);
    assert.ok(text.startsWith(code), text);
    const [refused, failed, sent] = sms.requests;
    assert.deepEqual([refused.status, failed.status, sent.status], [503, 500, 204]);
    // A retry has the same id, so that the hook can recognise it.
    assert.deepEqual([failed.id, sent.id], [refused.id, refused.id]);
    assert.equal((await loginWithCode({ phone }, code)).viewer.phoneVerified, true);
  });

  test('nothing that a client sends gets into the headers of an e-mail', async () => {
    const email = newEmail('ada');
    const injected = `${email}\r\nBcc: eve@example.org`;
    await assert.rejects(requestCode({ email: injected }, 'LOGIN'), { code: 'BAD_USER_INPUT' });
    const code = await emailedCode(email, 'LOGIN');
    const displayName = 'Ada\r\nBcc: eve@example.org';
    await assert.rejects(loginWithCode({ email }, code, { displayName }), { code: 'BAD_USER_INPUT' });
    const ada = await loginWithCode({ email }, code, { displayName: 'Bcc: eve@example.org' });
    assert.equal(ada.viewer.user.displayName, 'Bcc: eve@example.org');
    await emailedCode(email, 'LOGIN');
    const received = mails.messages.filter(({ to }) => to.includes(email));
    assert.equal(received.length, 2);
    for (const { to, headers } of received) {
      assert.deepEqual(to, [email]);
      assert.equal(headers.has('bcc'), false);
    }
    assert.ok(mails.messages.every(({ to }) => !to.includes('eve@example.org')));
  });
});

describe('mail servers', { concurrency: true }, () => {
  const closers = [];
  after(() => closers.forEach((close) => close()));

  test('a code arrives after the mail server was down for a while', async () => {
    const port = await freePort();
    const [node] = await startNodes({ ...mails.settings, SMTP_URL: `smtp://127.0.0.1:${port}` });
    const email = newEmail('late');
    await requestCode({ email }, 'LOGIN', { at: node });
    await later(2000);
    assert.equal(mails.messages.filter(({ to }) => to.includes(email)).length, 0);
    // The mail server is up again: a proxy now connects its port.
    const target = Number(new URL(mails.url).port);
    const proxy = createServer((client) => {
      const upstream = connect(target, '127.0.0.1');
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ]) {
        from.pipe(to);
        from.on('error', () => to.destroy());
      }
    });
    await once(proxy.listen(port, '127.0.0.1'), 'listening');
    closers.push(() => proxy.close());
    const code = codeIn((await mails.waitForMail(email)).text);
    assert.equal((await loginWithCode({ email }, code, { at: node })).viewer.email, email);
  });

  test('no code is sent over TLS to a mail server with an unknown certificate', async () => {
    const secure = await startMailServer({ tls: 'starttls', auth: { user: 'parlance', pass: 'a secret' } });
    const { SSL_CERT_FILE, ...unknown } = secure.settings;
    assert.ok(SSL_CERT_FILE);
    const [trusting, distrusting] = await startNodes(secure.settings, unknown);
    const [one, other] = [newEmail('one'), newEmail('other')];
    await requestCode({ email: other }, 'LOGIN', { at: distrusting });
    await requestCode({ email: one }, 'LOGIN', { at: trusting });
    const mail = await secure.waitForMail(one);
    assert.deepEqual([mail.secure, mail.user], [true, 'parlance']);
    await later(1000);
    assert.deepEqual(
      secure.messages.map(({ to }) => to),
      [[one]],
    );
  });

  test('without settings, the codes are in the log', async () => {
    const [node] = await startNodes({});
    const email = newEmail('local');
    await requestCode({ email }, 'LOGIN', { at: node });
    let line;
    for (let tries = 0; !line && tries < 100; tries += 1) {
      line = [...node.child.stderr, ...node.child.stdout].find((text) => text.includes(email));
      await later(50);
    }
    const code = codeIn(line.replace(email, '').replace(/\d{4}-\d{2}-\d{2}T\S+/, ''));
    assert.equal((await loginWithCode({ email }, code, { at: node })).isNewAccount, true);
  });
});
