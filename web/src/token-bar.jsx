import { useEffect, useState } from 'react';

import { cleanToken, readClaims } from './token.js';

/** Longest delay that setTimeout understands; above it fires at once. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** Name of the service, what the token says about itself, and the field to change it. */
export function TokenBar({ token, onChange }) {
  const [draft, setDraft] = useState('');
  const typed = cleanToken(draft);

  const use = (event) => {
    event.preventDefault();
    if (!typed) return;
    onChange(typed);
    setDraft('');
  };

  const clear = () => {
    onChange('');
    setDraft('');
  };

  return (
    <header className="bar">
      <h1 className="bar-name">
        <img src="./favicon.svg" alt="" width="20" height="20" />
        Backbeat
      </h1>
      <TokenSummary token={token} />
      <form className="bar-form" onSubmit={use} autoComplete="off">
        <input
          type="password"
          className="bar-field"
          aria-label="Access token"
          placeholder={token ? 'Paste another token' : 'Paste a token'}
          autoComplete="off"
          spellCheck={false}
          value={draft}
          onChange={(event) => setDraft(event.target.value)}
        />
        <button type="submit" className="bar-button bar-button-use" disabled={!typed}>
          Use
        </button>
        <button type="button" className="bar-button" disabled={!token && !draft} onClick={clear}>
          Clear
        </button>
      </form>
    </header>
  );
}

function TokenSummary({ token }) {
  const claims = token ? readClaims(token) : null;
  const isExpired = useIsPast(claims?.expiresAt ?? null);

  if (!token) return <p className="bar-summary">No token: anonymous</p>;
  if (!claims) return <p className="bar-summary bar-warning">Token in use, but it is not readable</p>;
  return (
    <p className={isExpired ? 'bar-summary bar-warning' : 'bar-summary'}>
      <strong className="bar-role">{claims.role ?? 'no role'}</strong>
      {claims.subject && <span className="bar-subject">{claims.subject}</span>}
      {claims.expiresAt && (
        <time dateTime={isoOf(claims.expiresAt)}>
          {isExpired ? 'expired ' : 'until '}
          {shortTime(claims.expiresAt)}
        </time>
      )}
    </p>
  );
}

/** Whether the instant lies in the past; renders again when it comes to pass. */
function useIsPast(instant) {
  const remainingMs = instant ? instant.getTime() - Date.now() : Infinity;
  const [, rerender] = useState(0);
  useEffect(() => {
    if (!(remainingMs > 0 && remainingMs < TIMEOUT_MS_MAX)) return undefined;
    const timer = setTimeout(() => rerender((count) => count + 1), remainingMs + 1);
    return () => clearTimeout(timer);
  }, [instant?.getTime()]);
  return remainingMs <= 0;
}

/** Only the time of day when it is today, in the reader's own language. */
function shortTime(instant) {
  if (Number.isNaN(instant.getTime())) return 'an unknown time';
  const isToday = instant.toDateString() === new Date().toDateString();
  return instant.toLocaleString([], {
    ...(!isToday && { dateStyle: 'medium' }),
    timeStyle: 'short',
  });
}

/** `exp` can be any number, also one that no calendar has. */
function isoOf(instant) {
  return Number.isNaN(instant.getTime()) ? undefined : instant.toISOString();
}
