// Tests of GraphQL over HTTP with the audits of graphql-http, the reference implementation.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { serverAudits } from 'graphql-http';
import { startNodes } from './servers.mjs';

describe('GraphQL over HTTP', () => {
  let url;
  before(async () => {
    const [node] = await startNodes({});
    url = `${node.url}/graphql`;
  });

  // Some audits use GET. The server requires this header for GET, as protection against cross-site requests.
  const fetchFn = (url, init) => fetch(url, { ...init, headers: { ...init?.headers, 'apollo-require-preflight': '1' } });
  for (const audit of serverAudits({ url: () => url, fetchFn })) {
    test(`${audit.id}: ${audit.name}`, async () => {
      const result = await audit.fn();
      assert.equal(result.status, 'ok', result.reason);
    });
  }
});
