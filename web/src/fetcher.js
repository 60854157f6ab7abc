/**
 * GraphiQL's way to the server: queries and mutations by HTTP, subscriptions by
 * the graphql-transport-ws protocol, both at `./graphql` beside this page.
 */

import { getOperationAST, parse } from 'graphql';
import { createClient } from 'graphql-ws';

/** Milliseconds between pings, below the usual 60 s after which proxies drop a silent socket. */
const PING_INTERVAL_MS = 25_000;

/** Reconnections before a subscription gives up: with graphql-ws's backoff and jitter 8 to 16 s. */
const RECONNECTIONS_MAX = 3;

/** A connection to the API in the name of one token ('' is anonymous). Call `close` when done. */
export function openApi(token) {
  const url = new URL('./graphql', document.baseURI);
  const socket = openSocket(url, token);

  const fetcher = (request) => {
    const operation = findOperation(request);
    // Without one, the server is asked as well: its message says what is wrong.
    const complete = operation ? { ...request, operationName: operation.name?.value } : request;
    return operation?.operation === 'subscription'
      ? subscribe(socket, complete)
      : post(url, token, complete);
  };

  return { fetcher, close: () => socket.dispose() };
}

function openSocket(url, token) {
  const socketUrl = new URL(url);
  socketUrl.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return createClient({
    url: socketUrl.href,
    connectionParams: token ? { authorization: `Bearer ${token}` } : {},
    keepAlive: PING_INTERVAL_MS,
    retryAttempts: RECONNECTIONS_MAX,
    // 4403 means that the token is refused: the same token would be refused again.
    shouldRetry: (cause) => isCloseEvent(cause) && cause.code !== 4403,
  });
}

/** GraphQL results and problem documents are both JSON and both worth showing as they are. */
async function post(url, token, request) {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/graphql-response+json, application/json',
      ...(token && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(request),
  });
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`HTTP ${response.status} ${response.statusText}: ${text.slice(0, 500)}`);
  }
}

/**
 * An observable, not an async iterator: stopping must reach the server at once,
 * and a generator's `return` waits for the pending message first.
 */
function subscribe(socket, request) {
  return {
    subscribe(observer) {
      const unsubscribe = socket.subscribe(request, {
        next: (result) => observer.next(result),
        error: (cause) => observer.error(readableError(cause)),
        complete: () => observer.complete(),
      });
      return { unsubscribe };
    },
  };
}

/** A plain value for GraphiQL to print; an Error would be shown with its stack. */
function readableError(cause) {
  if (Array.isArray(cause)) return cause;
  if (isCloseEvent(cause)) {
    const reason = cause.reason || 'the connection was lost';
    return { message: `subscription closed: ${reason}`, closeCode: cause.code };
  }
  return { message: cause instanceof Error ? cause.message : 'the subscription failed' };
}

/**
 * The operation that is meant, or null. For a moment after a change of tabs
 * GraphiQL still passes the name from the tab before (and its syntax tree, which
 * is therefore not used); the only operation of a document needs no name.
 */
function findOperation({ query, operationName }) {
  try {
    const document = parse(query);
    return getOperationAST(document, operationName) ?? getOperationAST(document);
  } catch {
    return null;
  }
}

function isCloseEvent(cause) {
  return typeof cause === 'object' && cause !== null && 'code' in cause && 'reason' in cause;
}
