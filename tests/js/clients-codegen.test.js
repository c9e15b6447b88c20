// Tests of @graphql-codegen: it accepts the schema, and the server accepts its persisted documents as a manifest.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { preset } from '@graphql-codegen/client-preset';
import { codegen } from '@graphql-codegen/core';
import * as typescript from '@graphql-codegen/typescript';
import { parse, printSchema } from 'graphql';
import { directory, MESSAGES, schema, SEND, text } from './clients.mjs';
import { startNodes } from './servers.mjs';
import { ask, pair, RawSocket } from './support.mjs';

/** The inbox subscription in docs/clients.md. */
const [, INBOX] = text.match(/```graphql\n(subscription .*?)```/s);
const VIEWER = 'query Viewer { viewer { id user { username } } }';

/** Generates code with the client preset, and returns the generated files. */
async function generate(presetConfig) {
  const documents = [VIEWER, SEND, MESSAGES, INBOX].map((text, i) => ({
    location: `${i}.graphql`,
    document: parse(text),
    rawSDL: text,
  }));
  const options = {
    baseOutputDir: 'generated/',
    schema: parse(printSchema(schema)),
    schemaAst: schema,
    documents,
    config: {},
    presetConfig,
    plugins: [],
    pluginMap: {},
    pluginContext: {},
  };
  const prepared = await preset.prepareDocuments('generated/', documents);
  assert.ok(prepared);
  const sections = await preset.buildGeneratesSection(options);
  const files = await Promise.all(sections.map(async (section) => [section.filename, await codegen(section)]));
  return new Map(files.map(([name, content]) => [name.replace('generated/', ''), content]));
}

let files;
before(async () => {
  files = await generate({ persistedDocuments: { mode: 'embedHashInDocument', hashAlgorithm: 'sha256' } });
});

describe('@graphql-codegen', () => {
  test('generates types of the operations and of the whole schema', async () => {
    const types = files.get('graphql.ts');
    for (const name of ['ViewerQuery', 'SendMutation', 'MessagesQuery', 'InboxSubscription', 'SendMessageInput']) {
      assert.ok(types.includes(`export type ${name} =`), name);
    }
    const whole = await codegen({
      filename: 'types.ts',
      schema: parse(printSchema(schema)),
      documents: [],
      config: {},
      plugins: [{ typescript: {} }],
      pluginMap: { typescript },
    });
    const names = Object.keys(schema.getTypeMap()).filter((name) => !/^__|^(Boolean|Float|ID|Int|String|DateTime)$/.test(name));
    for (const name of names) assert.match(whole, new RegExp(`export (type|enum) ${name}\\b`), name);
  });

  test('only persisted documents are executed, over HTTP and over a socket', async () => {
    const manifest = join(directory, 'persisted-documents.json');
    await writeFile(manifest, files.get('persisted-documents.json'));
    const texts = new Map(Object.entries(JSON.parse(await readFile(manifest, 'utf8'))));
    assert.equal(texts.size, 4);
    const [anything, registered] = await startNodes({}, { PERSISTED_MANIFEST: manifest });
    const { alice, bob, conversation } = await pair(anything);
    const hash = (name) => [...texts].find(([, document]) => document.includes(` ${name}`))[0];
    const byHash = (name) => ({ extensions: { persistedQuery: { version: 1, sha256Hash: hash(name) } } });

    const post = async (request, person) => {
      const response = await fetch(`${registered.url}/graphql`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${person.token}` },
        body: JSON.stringify(request),
      });
      return response.json();
    };
    assert.equal((await post(byHash('Viewer'), alice)).data.viewer.user.username, alice.username);
    assert.equal((await post({ documentId: hash('Viewer') }, alice)).data.viewer.user.username, alice.username);
    const sha256Hash = createHash('sha256').update(texts.get(hash('Viewer'))).digest('hex');
    assert.ok((await post({ extensions: { persistedQuery: { version: 1, sha256Hash } } }, alice)).data);
    // The server also accepts the full text of a document in the manifest.
    assert.ok((await post({ query: texts.get(hash('Viewer')) }, alice)).data);
    await assert.rejects(ask(registered, '{ serverInfo { version } }', {}, alice.token), { code: 'FORBIDDEN' });
    const unknown = await post({ extensions: { persistedQuery: { version: 1, sha256Hash: '0'.repeat(64) } } }, alice);
    assert.equal(unknown.errors[0].extensions.code, 'PERSISTED_QUERY_NOT_FOUND');

    const socket = await RawSocket.init(registered, bob.token);
    socket.send({ id: '1', type: 'subscribe', payload: byHash('Inbox') });
    assert.equal((await socket.next()).payload.data.inbox.__typename, 'CaughtUp');
    const input = { conversationId: conversation, body: 'by its hash' };
    assert.ok((await post({ ...byHash('Send'), variables: { input } }, alice)).data);
    assert.equal((await socket.next()).payload.data.inbox.message.body, 'by its hash');
    socket.subscribe('2', '{ serverInfo { version } }');
    const refused = await socket.next();
    assert.deepEqual([refused.type, refused.id, refused.payload[0].extensions.code], ['error', '2', 'FORBIDDEN']);
    socket.close();
  });
});
