/**
 * The bearer token of this browser tab.
 *
 * It arrives by a link (`/#token=…`) or by the field in the bar, and lives in
 * sessionStorage only: it is gone with the tab, and GraphiQL, which writes its
 * own state to localStorage, never sees it.
 */

const STORAGE_KEY = 'backbeat.token';

/** The token of the link if there is one, else the one this tab already has, else ''. */
export function takeInitialToken() {
  const fromLink = takeTokenFromAddress();
  if (fromLink) storeToken(fromLink);
  return fromLink || readStored();
}

/**
 * Reads `token` from the fragment and removes it from the address bar, so that
 * it is neither copied with the address nor kept in the tab's history. A
 * fragment is never sent to a server. Returns '' when there is none.
 */
export function takeTokenFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = cleanToken(fragment.get('token') ?? '');
  if (fragment.has('token')) {
    fragment.delete('token');
    const rest = fragment.toString();
    history.replaceState(null, '', location.pathname + location.search + (rest && `#${rest}`));
  }
  return token;
}

/** Keeps the token for this tab; '' forgets it. */
export function storeToken(token) {
  // Storage can be switched off in the browser; the token then lasts until reload.
  try {
    if (token) sessionStorage.setItem(STORAGE_KEY, token);
    else sessionStorage.removeItem(STORAGE_KEY);
  } catch {}
}

/** What people paste: with blanks or line breaks around, or with the scheme in front. */
export function cleanToken(text) {
  return text.replace(/^\s*bearer\s+/i, '').replace(/\s+/g, '');
}

/**
 * The claims worth showing, or null when the token is not a readable JWT.
 * Nothing is verified here: the server alone decides what the token is worth.
 */
export function readClaims(token) {
  try {
    const payload = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    const { role, sub, exp } = JSON.parse(new TextDecoder().decode(bytes));
    return {
      role: typeof role === 'string' ? role : null,
      subject: typeof sub === 'string' ? sub : null,
      expiresAt: typeof exp === 'number' ? new Date(exp * 1000) : null,
    };
  } catch {
    return null;
  }
}

function readStored() {
  try {
    return sessionStorage.getItem(STORAGE_KEY) ?? '';
  } catch {
    return '';
  }
}
