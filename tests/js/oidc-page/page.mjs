// A client that signs in at an issuer with the code of docs/clients.md. The query has the address of the API and the
// name of the issuer.

import { issuers, loginAddress, loginResult, signInWithToken } from './issuers.mjs';

const query = new URLSearchParams(location.search);
const url = query.get('api');
const output = document.querySelector('output');
const tokens = { set: (pair) => (window.pair = pair) };

try {
  const token = loginResult(location.hash);
  if (token) {
    // The code works once, so it does not stay in the history of the browser.
    history.replaceState(null, '', location.pathname + location.search);
    const isNew = await signInWithToken({ url, tokens, token, deviceName: 'Page' });
    output.textContent = isNew ? 'new' : 'known';
  } else {
    const issuer = (await issuers({ url })).find(({ name }) => name === query.get('issuer'));
    document.querySelector('a').href = await loginAddress({ url, issuer, back: location.href });
    output.textContent = 'ready';
  }
} catch (error) {
  output.textContent = `failed: ${error.code}`;
}
