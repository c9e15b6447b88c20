// Extracts the code blocks of docs/clients.md and docs/calls.md, and contains the shared helpers of their tests.

import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildSchema } from 'graphql';
import WebSocket from 'ws';
import { Mailbox } from './support.mjs';

// The documented code is for browsers, and Node 20 has no WebSocket.
globalThis.WebSocket ??= WebSocket;

const here = fileURLToPath(new URL('.', import.meta.url));
export const SCHEMA_FILE = join(here, '..', '..', 'schema.graphql');

/** An empty directory for this test file. It is inside tests/js, so that Node finds the npm packages. */
export const directory = join(here, '.clients', basename(process.argv[1], '.test.js'));
await rm(directory, { recursive: true, force: true });
await mkdir(directory, { recursive: true });

const blocks = new Map();
const readDocument = (name) => readFile(join(here, '..', '..', 'docs', name), 'utf8');
export const text = await readDocument('clients.md');
for (const document of [text, await readDocument('calls.md')]) {
  for (const [, name, code] of document.matchAll(/^```js file=(\S+)\n(.*?)^```$/gms)) {
    assert.ok(!blocks.has(name), `the documents have ${name} twice`);
    blocks.set(name, code);
    await writeFile(join(directory, name), code);
  }
}

/** Imports the block of code with this file name from the documents. */
export function documented(name) {
  assert.ok(blocks.has(name), `the documents have no block ${name}`);
  return import(pathToFileURL(join(directory, name)));
}

const { Tokens } = await documented('tokens.mjs');

/** Returns the documented `Tokens`, with the tokens of `person` if it is given. */
export function tokensOf(server, person) {
  let kept = null;
  const tokens = new Tokens({ url: `${server.url}/graphql`, load: () => kept, save: (pair) => (kept = pair) });
  if (person) tokens.set(person.auth);
  return tokens;
}

/** Returns the addresses and tokens that the documented clients take as options. */
export function place(server, person) {
  return { url: `${server.url}/graphql`, socketUrl: server.socketUrl, tokens: tokensOf(server, person) };
}

export const schema = buildSchema(await readFile(SCHEMA_FILE, 'utf8'));

/** The members of each interface and union, which the caches of client libraries need. */
export const possibleTypes = Object.fromEntries(
  Object.values(schema.getTypeMap())
    .filter((type) => 'getTypes' in type || type.astNode?.kind === 'InterfaceTypeDefinition')
    .map((type) => [type.name, schema.getPossibleTypes(type).map((member) => member.name)]),
);

export const SEND = `
  mutation Send($input: SendMessageInput!) {
    sendMessage(input: $input) { message { __typename id number body } }
  }`;

export const MESSAGES = `
  query Messages($id: ID!, $last: Int, $before: String, $first: Int, $after: String) {
    conversation(id: $id) {
      __typename
      id
      messages(last: $last, before: $before, first: $first, after: $after) {
        __typename
        edges { __typename cursor node { __typename id number body } }
        pageInfo { __typename startCursor endCursor hasPreviousPage hasNextPage }
      }
    }
  }`;

export const CONVERSATIONS = `
  query Conversations($first: Int!, $after: String) {
    viewer {
      __typename
      id
      conversations(first: $first, after: $after) {
        __typename
        edges { __typename cursor node { __typename id } }
        pageInfo { __typename startCursor endCursor hasPreviousPage hasNextPage }
      }
    }
  }`;

export const numbers = ({ edges }) => edges.map(({ node }) => node.number);

/** Replaces the global WebSocket by a class that records sockets, messages and closes. Tests can also cut sockets. */
export function watchSockets() {
  const sockets = [];
  const closes = new Mailbox('the closes of the sockets');
  class Watched extends WebSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
      this.received = [];
      this.sent = [];
      this.on('message', (data) => this.received.push(JSON.parse(data)));
      this.on('close', (code) => closes.put(code));
    }

    send(data, ...rest) {
      this.sent.push(JSON.parse(data));
      super.send(data, ...rest);
    }
  }
  globalThis.WebSocket = Watched;
  return { sockets, closes };
}

/** Replaces the global `fetch`, which the documented clients call, to record requests and responses. */
export function watchFetch() {
  const requests = [];
  const original = globalThis.fetch;
  globalThis.fetch = async (url, init = {}) => {
    const request = { url: String(url), method: init.method ?? 'GET', headers: new Headers(init.headers), body: init.body };
    requests.push(request);
    request.response = await original(url, init);
    return request.response;
  };
  return requests;
}
