import { createGraphiQLFetcher, type Fetcher, type Observable } from '@graphiql/toolkit';
import { getOperationAST, parse, type ExecutionResult } from 'graphql';
import { createClient } from 'graphql-ws';
import { signIn, withToken } from './window';

type Params = Parameters<Fetcher>[0];
type Headers = Record<string, string>;

/** Maximum number of events of a subscription that are shown. Older ones disappear, to keep the page fast. */
const MAX_EVENTS = 200;

const overHttp = createGraphiQLFetcher({ url: '/graphql', enableIncrementalDelivery: false });

/** Sends queries and mutations over HTTP, and subscriptions over a WebSocket, to the server of the page. */
export const fetcher: Fetcher = async (params, options) => {
  // The introspection query of GraphiQL needs no user, and must not fail because the token has expired.
  const headers = params.operationName === 'IntrospectionQuery' ? {} : withToken(options?.headers);
  if (isSubscription(params)) return overWebSocket(params, headers);
  const result = await overHttp(params, { ...options, headers });
  signIn(result);
  return result;
};

function isSubscription({ query, operationName }: Params): boolean {
  try {
    return getOperationAST(parse(query), operationName)?.operation === 'subscription';
  } catch {
    return false; // The server reports the syntax error.
  }
}

/**
 * Opens a new connection for each run, so that it has the token that is valid now. Each result has all events, because
 * GraphiQL shows the last result only.
 */
function overWebSocket({ query, operationName, variables }: Params, headers: Headers) {
  const results = {
    subscribe(observer: { next(result: unknown): void; complete(): void }) {
      let wasConnected = false;
      const events: unknown[] = [];
      const show = ({ data, ...rest }: ExecutionResult | { data?: null; errors: unknown }) => {
        events.push(rest.errors ? { ...rest, data } : data);
        if (events.length > MAX_EVENTS) events.shift();
        observer.next({ events });
      };
      const client = createClient({
        url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/graphql`,
        connectionParams: authorization(headers),
        retryAttempts: 8,
        // Retries after a lost connection. An error of the first connection, and a rejected token, are shown instead.
        shouldRetry: (reason) => wasConnected && closeCode(reason) !== 4403,
        on: { connected: () => (wasConnected = true) },
      });
      const unsubscribe = client.subscribe(
        { query, operationName, variables },
        {
          next: (result) => show(result as ExecutionResult),
          error: (reason) => {
            show({ errors: describe(reason) });
            observer.complete();
          },
          complete: () => observer.complete(),
        },
      );
      return { unsubscribe };
    },
  };
  return results as Observable<ExecutionResult>;
}

function authorization(headers: Headers): Headers | undefined {
  const entry = Object.entries(headers).find(([name]) => name.toLowerCase() === 'authorization');
  return entry && { Authorization: entry[1] };
}

function closeCode(reason: unknown): number | undefined {
  return reason instanceof CloseEvent ? reason.code : undefined;
}

/** Converts the reason for which a subscription ended to GraphQL errors. */
function describe(reason: unknown): readonly { message: string }[] {
  if (Array.isArray(reason)) return reason; // GraphQL errors of the server.
  if (reason instanceof CloseEvent) {
    return [{ message: `The server closed the connection: ${reason.code} ${reason.reason}`.trim() }];
  }
  return [{ message: reason instanceof Error ? reason.message : 'Could not connect to the server.' }];
}
