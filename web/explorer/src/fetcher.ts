import { createGraphiQLFetcher, type Fetcher, type Observable } from '@graphiql/toolkit';
import { getOperationAST, parse, type ExecutionResult } from 'graphql';
import { createClient } from 'graphql-ws';

type Params = Parameters<Fetcher>[0];
type Headers = Record<string, unknown> | undefined;

const overHttp = createGraphiQLFetcher({ url: '/graphql', enableIncrementalDelivery: false });

/** Queries and mutations go over HTTP, subscriptions over a WebSocket, both to the page's own server. */
export const fetcher: Fetcher = (params, options) =>
  isSubscription(params) ? overWebSocket(params, options?.headers) : overHttp(params, options);

function isSubscription({ query, operationName }: Params): boolean {
  try {
    return getOperationAST(parse(query), operationName)?.operation === 'subscription';
  } catch {
    return false; // A syntax error is for the server to report.
  }
}

/** One client, and so one connection, for each run: it always carries the token now in the headers tab. */
function overWebSocket({ query, operationName, variables }: Params, headers: Headers) {
  const results = {
    subscribe(observer: { next(result: unknown): void; complete(): void }) {
      let wasConnected = false;
      const client = createClient({
        url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/graphql`,
        connectionParams: authorization(headers),
        retryAttempts: 8,
        // A lost connection is worth another attempt; a first one that fails, or a refusal, is to be shown.
        shouldRetry: (reason) => wasConnected && closeCode(reason) !== 4403,
        on: { connected: () => (wasConnected = true) },
      });
      const unsubscribe = client.subscribe(
        { query, operationName, variables },
        {
          next: (result) => observer.next(result),
          error: (reason) => {
            observer.next({ errors: describe(reason) });
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

function authorization(headers: Headers): Record<string, unknown> | undefined {
  const entry = Object.entries(headers ?? {}).find(([name]) => name.toLowerCase() === 'authorization');
  return entry && { Authorization: entry[1] };
}

function closeCode(reason: unknown): number | undefined {
  return reason instanceof CloseEvent ? reason.code : undefined;
}

/** What ended a subscription, in the shape of a GraphQL response's `errors`. */
function describe(reason: unknown): readonly { message: string }[] {
  if (Array.isArray(reason)) return reason; // GraphQL errors, as the server sent them.
  if (reason instanceof CloseEvent) {
    return [{ message: `The server closed the connection: ${reason.code} ${reason.reason}`.trim() }];
  }
  return [{ message: reason instanceof Error ? reason.message : 'Could not connect to the server.' }];
}
