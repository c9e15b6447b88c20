import 'graphiql/setup-workers/vite';
import './style.css';
import { useGraphiQL } from '@graphiql/react';
import { GraphiQL } from 'graphiql';
import { useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import tour from 'virtual:tour';
import { fetcher } from './fetcher';
import { showUser, windowStorage } from './window';

/** Keeps the newest event of a subscription visible. GraphiQL replaces the whole text for each event. */
function ScrollToNewest() {
  const editor = useGraphiQL((state) => state.responseEditor);
  useEffect(() => {
    const changes = editor?.onDidChangeModelContent(() => {
      const model = editor.getModel();
      const lines = model?.getLineCount() ?? 0;
      if (lines > 1 && model?.getLineContent(2).startsWith('  "events"')) editor.revealLine(lines);
    });
    return () => changes?.dispose();
  }, [editor]);
  return null;
}

/** Wraps the lines in narrow windows, such as those of phones. */
function WrapLines() {
  const query = useGraphiQL((state) => state.queryEditor);
  const response = useGraphiQL((state) => state.responseEditor);
  useEffect(() => {
    for (const editor of [query, response]) editor?.updateOptions({ wordWrap: 'on' });
  }, [query, response]);
  return null;
}

showUser();
createRoot(document.getElementById('root')!).render(
  <GraphiQL
    fetcher={fetcher}
    storage={windowStorage}
    defaultTabs={tour.map(({ query }) => ({ query }))}
    shouldPersistHeaders
    inputValueDeprecation
    schemaDescription
  >
    <GraphiQL.Logo>Parlance explorer</GraphiQL.Logo>
    <ScrollToNewest />
    <WrapLines />
  </GraphiQL>,
);
