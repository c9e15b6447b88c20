// A page that sends and downloads files with the code of docs/clients.md.

import { sendFile } from './files.mjs';
import { Tokens } from './tokens.mjs';

const CREATE = `mutation ($input: CreateUploadInput!) {
  createUpload(input: $input) { attachment { id } url method headers { name value } }
}`;

const signedIn = ({ url, auth }) => {
  let kept = null;
  const tokens = new Tokens({ url, load: () => kept, save: (pair) => (kept = pair) });
  tokens.set(auth);
  return tokens;
};

const written = (letter, size) => new Uint8Array(size).fill(letter.charCodeAt(0));

window.files = {
  /** Sends a file of `size` bytes, downloads the file by the URL in the message, and compares the bytes. */
  async sendAndGet({ url, auth, conversationId, size }) {
    const file = new File([written('a', size)], 'letters.txt', { type: 'text/plain' });
    const message = await sendFile({ url, tokens: signedIn({ url, auth }), conversationId, file });
    const response = await fetch(message.attachments[0].url);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const type = response.headers.get('content-type');
    return { type, size: bytes.length, same: bytes.every((byte) => byte === 'a'.charCodeAt(0)) };
  },

  /** Creates an upload with a checksum. Returns the header names, and whether S3 accepts other and the right bytes. */
  async storeWithChecksum({ url, auth }) {
    const [bytes, others] = [written('a', 5000), written('b', 5000)];
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
    const input = { fileName: 'letters.txt', contentType: 'text/plain', byteSize: bytes.length, sha256 };
    const headers = { 'Content-Type': 'application/json', ...(await signedIn({ url, auth }).freshHeaders()) };
    const body = JSON.stringify({ query: CREATE, variables: { input } });
    const created = (await (await fetch(url, { method: 'POST', headers, body })).json()).data.createUpload;
    const named = created.headers.map(({ name, value }) => [name, value]);
    // If the server rejects a request before it has read the body, the client may get no response.
    const put = (content) =>
      fetch(created.url, { method: created.method, headers: named, body: content }).then(({ ok }) => ok, () => false);
    return { named: named.map(([name]) => name), others: await put(others), these: await put(bytes) };
  },
};
