import 'graphiql/setup-workers/vite';
import './style.css';
import { GraphiQL } from 'graphiql';
import { createRoot } from 'react-dom/client';
import { fetcher } from './fetcher';
import tour from './tour.graphql?raw';

const headers = `{
  // "Authorization": "Bearer accessToken"
}`;

createRoot(document.getElementById('root')!).render(
  <GraphiQL
    fetcher={fetcher}
    defaultQuery={tour}
    defaultHeaders={headers}
    defaultEditorToolsVisibility="headers"
    shouldPersistHeaders
    inputValueDeprecation
    schemaDescription
  >
    <GraphiQL.Logo>Parlance explorer</GraphiQL.Logo>
  </GraphiQL>,
);
