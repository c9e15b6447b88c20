// A page that adds passkeys and signs in with the code of docs/clients.md.

import { addPasskey, confirmWithPasskey, signInWithPasskey } from './passkeys.mjs';
import { Tokens } from './tokens.mjs';

const VIEWER = '{ viewer { user { id } passkeys { name backedUp lastUsedAt } } }';

const tokensOf = (url, auth) => {
  let kept = null;
  const tokens = new Tokens({ url, load: () => kept, save: (pair) => (kept = pair) });
  if (auth) tokens.set(auth);
  return tokens;
};

async function viewer(url, tokens) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...(await tokens.freshHeaders()) },
    body: JSON.stringify({ query: VIEWER }),
  });
  return (await response.json()).data.viewer;
}

/** Runs `work`. Returns its result, or the name or code of its error, because errors lose their fields on the way. */
const outcome = (work) => work().then((value) => ({ value }), ({ name, code, message }) => ({ name, code, message }));

window.passkeys = {
  add: ({ url, auth, name }) => outcome(() => addPasskey({ url, tokens: tokensOf(url, auth), name })),
  signIn: ({ url, deviceName }) =>
    outcome(async () => {
      const tokens = tokensOf(url);
      await signInWithPasskey({ url, tokens, deviceName });
      return viewer(url, tokens);
    }),
  confirm: ({ url, auth }) =>
    outcome(async () => (await confirmWithPasskey({ url, tokens: tokensOf(url, auth) })).getTime()),
};
