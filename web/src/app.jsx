import { useEffect, useState } from 'react';
import { GraphiQL } from 'graphiql';

import { exampleTabs } from './examples.js';
import { openApi } from './fetcher.js';
import { storeToken, takeInitialToken, takeTokenFromAddress } from './token.js';
import { TokenBar } from './token-bar.jsx';

/** The whole page: the token bar above, GraphiQL below. */
export function App() {
  const [session, setSession] = useState(() => openSession(takeInitialToken()));

  const changeToken = (token) => {
    storeToken(token);
    setSession(openSession(token));
  };

  // The socket of a replaced token closes, and with it what it still subscribed to.
  useEffect(() => session.close, [session]);

  // A link with a token may be opened in this very tab: then only the fragment changes.
  useEffect(() => {
    const onHashChange = () => {
      const token = takeTokenFromAddress();
      if (token) changeToken(token);
    };
    addEventListener('hashchange', onHashChange);
    return () => removeEventListener('hashchange', onHashChange);
  }, []);

  // GraphiQL fetches the schema again whenever the fetcher is another one. The
  // headers editor is off because GraphiQL can write its content to localStorage.
  return (
    <>
      <TokenBar token={session.token} onChange={changeToken} />
      <GraphiQL
        fetcher={session.fetcher}
        defaultTabs={exampleTabs}
        isHeadersEditorEnabled={false}
        showPersistHeadersSettings={false}
      >
        <GraphiQL.Logo>{null}</GraphiQL.Logo>
      </GraphiQL>
    </>
  );
}

function openSession(token) {
  return { token, ...openApi(token) };
}
