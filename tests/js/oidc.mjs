// Starts a real OpenID Connect provider: the package oidc-provider.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { after } from 'node:test';
import { Provider } from 'oidc-provider';

export const CLIENT_ID = 'parlance';
const CLIENT_SECRET = 'a secret of the provider and the server';

const servers = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/**
 * Starts a provider on loopback, where every login is accepted and is also the username.
 *
 * Resolves to `issuer`, its URL; `entry`, the provider as an issuer in ISSUERS_FILE with the name `op`; and
 * `open(url)`, which registers the server at this URL as a client. The provider answers only after `open`.
 */
export async function startProvider() {
  let handle = (request, response) => response.writeHead(503).end();
  const server = createServer((request, response) => handle(request, response));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  servers.push(server);
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const entry = { name: 'op', issuer, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET };
  return {
    issuer,
    entry,
    open(url) {
      handle = providerFor(issuer, url).callback();
    },
  };
}

function providerFor(issuer, url) {
  return new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT_ID,
        client_secret: CLIENT_SECRET,
        redirect_uris: [`${url}/auth/op/callback`],
        backchannel_logout_uri: `${url}/auth/op/backchannel-logout`,
        backchannel_logout_session_required: true,
      },
    ],
    claims: {
      openid: ['sub', 'sid'],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
    },
    // The ID token has the claims of the scopes, as those of Keycloak and Google have.
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({
        sub: id,
        name: `${id} at the provider`,
        preferred_username: id,
        email: `${id}@example.org`,
        email_verified: true,
      }),
    }),
    features: {
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource(ctx, form) {
          ctx.body = `${form}<button form="op.logoutForm" name="logout" value="yes">Sign out</button>`;
        },
      },
    },
    cookies: { keys: ['a key of tests'] },
    // The default refuses addresses of this machine.
    fetch: (address, { dispatcher: _, ...options }) => fetch(address, options),
  });
}
