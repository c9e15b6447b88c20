// What belongs to one window of the explorer: its tabs and the user who is signed in. So one browser can show several
// users side by side, each in a window of its own.

const TOKEN = 'parlance:accessToken';
const USERNAME = 'parlance:username';
const TITLE = 'Parlance explorer';
/** The items of GraphiQL that all windows share: its settings and the history. All other items belong to a window. */
const SHARED = /^graphiql:(theme|queries|favorites|shouldPersistHeaders)$/;

const placeOf = (name: string) => (SHARED.test(name) ? localStorage : sessionStorage);

/** The storage of GraphiQL. A browser keeps the session storage of each window separate, also when it reloads. */
export const windowStorage = {
  getItem: (name: string) => placeOf(name).getItem(name),
  setItem: (name: string, value: string) => placeOf(name).setItem(name, value),
  removeItem: (name: string) => placeOf(name).removeItem(name),
  clear: () => sessionStorage.clear(),
  get length() {
    return sessionStorage.length;
  },
};

/** Signs the window in if a result has an access token, as those of `register`, `login` and `refreshSession` do. */
export function signIn(result: unknown): void {
  const { data } = (result ?? {}) as { data?: Record<string, any> | null };
  for (const payload of Object.values(data ?? {})) {
    if (typeof payload?.accessToken !== 'string') continue;
    sessionStorage.setItem(TOKEN, payload.accessToken);
    const username = payload.viewer?.user?.username;
    if (username) sessionStorage.setItem(USERNAME, username);
  }
  showUser();
}

/** Returns the headers with the access token of the window, unless they have an Authorization header of their own. */
export function withToken(headers: Record<string, unknown> | undefined): Record<string, string> {
  const own = Object.entries(headers ?? {}).map(([name, value]) => [name, String(value)]);
  const token = sessionStorage.getItem(TOKEN);
  if (!token || own.some(([name]) => name.toLowerCase() === 'authorization')) return Object.fromEntries(own);
  return Object.fromEntries([...own, ['Authorization', `Bearer ${token}`]]);
}

/** Shows in the title of the window who is signed in. */
export function showUser(): void {
  const username = sessionStorage.getItem(USERNAME);
  document.title = username ? `${username} – ${TITLE}` : TITLE;
}
