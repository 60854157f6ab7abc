/**
 * Watches counters with the `graphql-ws` client, as a frontend does.
 *
 *     node live.mjs <socket-url> <token> <fresh-token>
 *
 * The token goes into `connection_init`, the fresh one into a ping. Over one socket: the first state,
 * a mutation, the state after it. Exit code 0: all came. 1: something did not. 2: wrong arguments.
 */

import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [, , url, token, freshToken] = process.argv;
if (!url || !token || !freshToken) {
  console.error('usage: node live.mjs <socket-url> <token> <fresh-token>');
  process.exit(2);
}

/** Limit of each single wait, generous because a loaded machine is no defect of the server. */
const WAIT_MS = 30_000;

let socket;
let onPong = () => {};
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  lazy: false,
  retryAttempts: 0,
  connectionParams: { authorization: `Bearer ${token}` },
  on: {
    connected: (connected) => {
      socket = connected;
    },
    pong: (received) => received && onPong(),
  },
});

try {
  await run();
} catch (error) {
  // A close event is no Error; what it says is in its code and reason.
  console.error(`FAILED: ${error.message ?? ''} ${error.code ?? ''} ${error.reason ?? ''} ${JSON.stringify(error)}`);
  process.exit(1);
}
await client.dispose();

async function run() {
  const states = client.iterate({
    query: `subscription Watch($song: ID!) {
      metrics(of: {kind: SONG, id: $song}, minInterval: "PT0.1S") { sequence metrics { plays likes } }
    }`,
    variables: { song: 'live-client-song' },
  });

  const first = await limited('the first state', states.next());
  expect('the first state', first.value.data.metrics, { sequence: 1, metrics: { plays: 0, likes: 0 } });

  const pong = new Promise((resolve) => {
    onPong = resolve;
  });
  socket.send(JSON.stringify({ type: 'ping', payload: { authorization: `Bearer ${freshToken}` } }));
  await limited('the answer to a ping with a fresh token', pong);

  const answers = client.iterate({
    query: `mutation { recordEvents(input: [{ id: "live-client-1", type: "track.played", songId: "live-client-song" }]) {
      accepted rejected
    } }`,
  });
  const answer = await limited('the answer to the mutation', answers.next());
  expect('the answer to the mutation', answer.value.data.recordEvents, { accepted: 1, rejected: 0 });

  const second = await limited('the state after the mutation', states.next());
  expect('the state after the mutation', second.value.data.metrics, { sequence: 2, metrics: { plays: 1, likes: 0 } });

  await limited('the end of the subscription', states.return());
  console.log('the first state, a fresh token, a mutation and the state after it came over one socket');
}

function expect(what, seen, wanted) {
  const [seenText, wantedText] = [JSON.stringify(seen), JSON.stringify(wanted)];
  if (seenText !== wantedText) throw new Error(`${what}: ${seenText}, wanted ${wantedText}`);
}

async function limited(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${WAIT_MS} ms`)), WAIT_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
