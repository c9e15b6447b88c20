// Starts real receivers of notices: an SMTP server for e-mails, and an HTTP server for the hook that sends SMS.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after } from 'node:test';
import { promisify } from 'node:util';
import { simpleParser } from 'mailparser';
import { SMTPServer } from 'smtp-server';
import { Webhook } from 'standardwebhooks';
import { freshDirectory } from './servers.mjs';
import { Mailbox } from './support.mjs';

const run = promisify(execFile);

/** The sender of the e-mails of a server that uses the settings of `startMailServer`. */
export const SENDER = 'Parlance <no-reply@parlance.test>';

const closers = [];
after(() => Promise.all(closers.map((close) => close())));

/**
 * Starts an SMTP server on loopback.
 *
 * - `tls`: undefined for plain SMTP, `starttls` to require STARTTLS, or `implicit` for TLS from the first byte. The
 *   certificate is valid for localhost. `settings` has its path as SSL_CERT_FILE, so that the server trusts it.
 * - `auth`: `{ user, pass }` that a client must send, or undefined if no client has to sign in.
 * - `fail`: SMTP reply codes for the first deliveries, such as `[451, 550]`. After these the server accepts all mails.
 *
 * Resolves to `settings`, the settings of a node that sends through this server, with `url` as SMTP_URL; `messages`, all
 * accepted mails in their order; `refused`, the number of deliveries that got a code of `fail`; and `waitForMail(to)`,
 * which resolves to the oldest mail to this address that it has not returned before. A mail has `to` (the addresses of
 * the envelope), `from`, `subject`, `text`, `html`, `headers` (a Map), `raw`, `user` (who signed in) and `secure`.
 */
export async function startMailServer({ tls, auth, fail = [] } = {}) {
  const replies = [...fail];
  const messages = [];
  const boxes = new Boxes('mails');
  const certificate = tls && (await makeCertificate());
  const state = { refused: 0 };

  async function receive(stream, session) {
    const raw = Buffer.concat(await stream.toArray());
    const responseCode = replies.shift();
    if (responseCode) {
      state.refused += 1;
      throw Object.assign(new Error('the test refuses this mail'), { responseCode });
    }
    const { subject, text, html, headers, from } = await simpleParser(raw);
    const to = session.envelope.rcptTo.map(({ address }) => address);
    const { user, secure } = session;
    const message = { to, from: from?.text, subject, text, html, headers, raw: raw.toString(), user, secure };
    messages.push(message);
    for (const address of to) boxes.of(address).put(message);
  }

  const server = new SMTPServer({
    logger: false,
    secure: tls === 'implicit',
    ...certificate?.pair,
    authOptional: !auth,
    allowInsecureAuth: !tls,
    disabledCommands: [...(auth ? [] : ['AUTH']), ...(tls === 'starttls' ? [] : ['STARTTLS'])],
    disableReverseLookup: true,
    closeTimeout: 1000,
    onAuth({ username, password }, session, callback) {
      const known = username === auth.user && password === auth.pass;
      callback(known ? null : Object.assign(new Error('unknown user'), { responseCode: 535 }), { user: username });
    },
    onData(stream, session, callback) {
      receive(stream, session).then(() => callback(), callback);
    },
  });
  // A client that does not trust the certificate ends the connection, which is an error of the server, too.
  server.on('error', () => {});
  const listener = server.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  closers.push(() => new Promise((closed) => server.close(closed)));

  const user = auth ? `${encodeURIComponent(auth.user)}:${encodeURIComponent(auth.pass)}@` : '';
  const scheme = tls === 'implicit' ? 'smtps' : 'smtp';
  const query = tls === 'starttls' ? '?tls=required' : '';
  const url = `${scheme}://${user}localhost:${listener.address().port}${query}`;
  const settings = { SMTP_URL: url, SMTP_FROM: SENDER, ...(certificate && { SSL_CERT_FILE: certificate.file }) };
  return {
    url,
    settings,
    messages,
    get refused() {
      return state.refused;
    },
    waitForMail: (to) => boxes.of(to).next(),
  };
}

/**
 * Starts an HTTP server that receives the requests to SMS_HOOK_URL and checks their signatures by the package
 * `standardwebhooks`. A request with a wrong signature gets 401, and fails the tests of the file.
 *
 * `failures` has the answers to the first requests: a status such as 503, or `{ status, headers }`. After these the
 * server answers with 204.
 *
 * Resolves to `settings`, the settings of a node that sends through this hook, with `url` and `secret`; `requests`, all
 * requests in their order with `id`, `headers`, `payload` and `status`; and `waitForSms(to)`, which resolves to the
 * `data` of the oldest accepted request for this number that it has not returned before: `{ to, text, purpose, code,
 * language }`.
 */
export async function startSmsHook({ failures = [] } = {}) {
  const answers = [...failures];
  const requests = [];
  const boxes = new Boxes('SMS');
  const secret = `whsec_${randomBytes(32).toString('base64')}`;
  const webhook = new Webhook(secret);
  const problems = [];

  function answerTo(request, body) {
    let payload;
    try {
      payload = webhook.verify(body, request.headers);
    } catch (error) {
      problems.push(error);
      return { status: 401 };
    }
    const planned = answers.shift() ?? 204;
    const answer = typeof planned === 'number' ? { status: planned } : planned;
    const { headers } = request;
    requests.push({ id: headers['webhook-id'], headers, payload, status: answer.status });
    if (answer.status < 300) boxes.of(payload.data.to).put(payload.data);
    return answer;
  }

  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString();
    const { status, headers } = answerTo(request, body);
    response.writeHead(status, headers).end();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  closers.push(() => {
    server.closeAllConnections();
    server.close();
    assert.deepEqual(problems, [], 'requests to the hook with a wrong signature');
  });

  const url = `http://127.0.0.1:${server.address().port}/sms`;
  const settings = { SMS_HOOK_URL: url, SMS_HOOK_SECRET: secret };
  return { url, secret, settings, requests, waitForSms: (to) => boxes.of(to).next() };
}

/** Returns the verification code in a text: its first run of six or more digits. */
export function codeIn(text) {
  const code = /\d{6,}/.exec(text)?.[0];
  assert.ok(code, `a code in ${JSON.stringify(text)}`);
  return code;
}

/** A queue of received items for each recipient. */
class Boxes {
  #boxes = new Map();

  constructor(what) {
    this.what = what;
  }

  of(to) {
    if (!this.#boxes.has(to)) this.#boxes.set(to, new Mailbox(`${this.what} to ${to}`));
    return this.#boxes.get(to);
  }
}

/** Makes a certificate for localhost that is signed by its own key. */
async function makeCertificate() {
  const dir = await freshDirectory();
  const [file, keyFile] = [join(dir, 'certificate.pem'), join(dir, 'key.pem')];
  await run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ...['-addext', 'basicConstraints=critical,CA:FALSE', '-keyout', keyFile, '-out', file],
  ]);
  return { file, pair: { cert: await readFile(file), key: await readFile(keyFile) } };
}
