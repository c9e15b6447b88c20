// Documents that are within the limits, but whose validation could take much memory or processor time. Linux reports both
// for the process of the server.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import { startNodes } from './servers.mjs';
import { withTimeout } from './support.mjs';

const MIB = 1024 * 1024;
/** The limit OPERATION_MAX_BYTES. */
const MAX_BYTES = 128 * 1024;
const TIMES = 5;
const TIMEOUT_MS = 110_000;
/** Size of the document cache of the second server. */
const CACHE_BYTES = 16 * MIB;
/** Memory that the server may take besides the cache: for requests, and unused memory of the allocator. */
const MARGIN = 64 * MIB;
const MAX_PROCESSOR_MS = 2000;

let server, small;
before(async () => {
  [server, small] = await startNodes({}, { DOCUMENT_CACHE_BYTES: `${CACHE_BYTES}` });
});

/** Reads a field of /proc/PID/status, such as VmRSS (resident memory) or VmHWM (its maximum so far), in bytes. */
function memory(node, field) {
  const status = readFileSync(`/proc/${node.child.process.pid}/status`, 'utf8');
  return 1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)[1]);
}

/** Sets VmHWM to the current memory (man page proc(5), clear_refs). */
function forgetMaximum(node) {
  writeFileSync(`/proc/${node.child.process.pid}/clear_refs`, '5');
}

/** Returns the processor time of the server. Linux counts this time in hundredths of a second. */
function processorMs(node) {
  const stat = readFileSync(`/proc/${node.child.process.pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

/** Does something TIMES times, and asserts that the server uses little processor time for it. */
async function assertShort(context, work) {
  const used = processorMs(server);
  for (let time = 0; time < TIMES; time += 1) await work(time);
  const took = processorMs(server) - used;
  context.diagnostic(`the server used ${took} ms of processor time`);
  assert.ok(took < MAX_PROCESSOR_MS, `the server used ${took} ms of processor time`);
}

async function post(node, body) {
  const request = fetch(`${node.url}/graphql`, {
    method: 'POST',
    headers: { Accept: 'application/json', 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  const response = await withTimeout(request, 'the answer');
  return response.json();
}

const joined = (count, piece) => Array.from({ length: count }, (_, index) => piece(index)).join(' ');

/** Returns a document of MAX_BYTES. `make` returns the document with a text, which fills the document. */
function filled(make, character) {
  const query = make(character.repeat(MAX_BYTES - make('').length));
  assert.equal(Buffer.byteLength(query), MAX_BYTES);
  return query;
}

/** A field with a long argument conflicts with 100 fields of its fragment and one field of each operation. */
const CONFLICTS = filled((text) => {
  const fields = joined(100, (index) => `node(id: "${index}") { id }`);
  const operations = joined(120, (index) => `query Q${index} { ...F ... { node(id: "q${index}") { id } } }`);
  return `${operations} fragment F on Query { node(id: "${text}") { id } ${fields} }`;
}, 'x');

/** An integer that is too large for an Int is wrong in each operation. */
const INTEGER = filled((digits) => {
  const operations = joined(600, (index) => `query Q${index} {...F}`);
  return `${operations} fragment F on Query { searchUsers(query: "a", first: ${digits}) { nodes { id } } }`;
}, '9');

/**
 * Fragments on two unions in each other, each of which spreads the next one. The two unions share object types, and
 * neither contains the other.
 */
function unions(count, spread, last) {
  const fragment = (index) => `fragment F${index} on ${index % 2 ? 'InboxEvent' : 'CallEvent'}`;
  const fragments = joined(count, (index) => `${fragment(index)} { ${spread(index)} }`);
  return `subscription S { inbox { ...F0 } } ${fragments} ${fragment(count)} { ${last} }`;
}

const LARGE_UNIONS = unions(
  59,
  (index) => `...F${index + 1} `.repeat(index === 58 ? 5 : 1),
  '__typename '.repeat(4400),
);
const SMALL_UNIONS = unions(12, (index) => `...F${index + 1} `.repeat(2), '__typename');

describe('the memory of the server', { skip: process.platform !== 'linux' }, () => {
  // The bounds have room for unused memory of the allocator. The documents have 128 KiB.
  for (const [what, query, operationName, bound] of [
    ['conflicts of a long argument', CONFLICTS, 'Q1', 150 * MIB],
    ['a long integer that is wrong in many operations', INTEGER, 'Q1', 50 * MIB],
    ['fragments on two unions in each other', LARGE_UNIONS, 'S', 100 * MIB],
  ]) {
    test(`grows little for ${what}`, { timeout: TIMEOUT_MS }, async (context) => {
      await post(server, { query: '{ serverInfo { version } }' });
      forgetMaximum(server);
      const known = memory(server, 'VmRSS');
      for (let time = 0; time < TIMES; time += 1) {
        const { data, errors } = await post(server, { query, operationName });
        assert.equal(data ?? null, null);
        assert.ok(errors.length > 0);
      }
      // The maximum, because the allocator may return the memory of a request to the system.
      const grown = memory(server, 'VmHWM') - known;
      context.diagnostic(`the server grew by ${Math.round(grown / MIB)} MiB`);
      assert.ok(grown < bound, `the server grew by ${grown} bytes`);
    });
  }

  test('is bounded by the size of the document cache', { timeout: TIMEOUT_MS }, async (context) => {
    // The fields of the fragment are at the root of each operation that is executed. So an executable document can be
    // larger than its text.
    const fragment = `fragment F on Subscription { inbox { ... on CaughtUp { ${'cursor '.repeat(100)} } } }`;
    const operations = joined(100, (index) => `subscription S${index} { ...F }`);
    const send = async (index) => {
      const query = `${operations} ${fragment} # ${index}`;
      const { errors } = await post(small, { query, operationName: 'S1' });
      // The document is valid and is cached, but this request cannot get a stream.
      assert.equal(errors[0].extensions.code, 'BAD_USER_INPUT', JSON.stringify(errors));
    };
    await send('first');
    const known = memory(small, 'VmRSS');
    for (let index = 0; index < 170; index += 1) await send(index);
    const grown = memory(small, 'VmRSS') - known;
    context.diagnostic(`the server grew by ${Math.round(grown / MIB)} MiB`);
    assert.ok(grown < CACHE_BYTES + MARGIN, `the server grew by ${grown} bytes`);
  });
});

describe('the processor time of the server', { skip: process.platform !== 'linux' }, () => {
  for (const unit of ['\\"""', '\\""""', '"""\\"""', '"', '"""']) {
    test(`is short for ${unit} in all of a document`, { timeout: TIMEOUT_MS }, async (context) => {
      const query = unit.repeat(MAX_BYTES / unit.length);
      await assertShort(context, async () => {
        const { data, errors } = await post(server, { query });
        assert.equal(data ?? null, null);
        assert.match(errors[0].extensions.code, /^(GRAPHQL_PARSE_FAILED|OPERATION_TOO_COMPLEX)$/);
      });
    });
  }

  test('is short for fragments on two unions in each other', { timeout: TIMEOUT_MS }, async (context) => {
    await assertShort(context, async (time) => {
      // The comment makes each document a new one.
      const { errors } = await post(server, { query: `${SMALL_UNIONS} # ${time}` });
      assert.equal(errors[0].extensions.code, 'BAD_USER_INPUT', JSON.stringify(errors));
    });
  });
});

test('a cached document costs as much as a new one', { timeout: TIMEOUT_MS }, async () => {
  const fields = joined(25, (index) => `a${index}: id`);
  const call = `call { ${fields} conversation { messages(last: $n) { nodes { id } } } }`;
  const inbox = `inbox { ... on CallEvent { ... on CallRinging { ${call} } } }`;
  for (let time = 0; time < TIMES; time += 1) {
    const { errors } = await post(server, { query: `subscription ($n: Int) { ${inbox} }`, variables: { n: 1 } });
    // The document is within the limit of aliases, but this request cannot get a stream.
    assert.equal(errors[0].extensions.code, 'BAD_USER_INPUT', JSON.stringify(errors));
  }
});
