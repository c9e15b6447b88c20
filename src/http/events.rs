//! Subscriptions over plain HTTP, for clients behind proxies that break WebSockets.
//!
//! Sources: PROTOCOL.md of the npm package graphql-sse, for the mode of distinct connections; and Apollo's "Multipart
//! HTTP protocol for GraphQL subscriptions".

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at};
use tokio_stream::wrappers::ReceiverStream;

use super::Server;
use super::accept::StreamFormat;
use super::connection_limit::Permit;
use super::drain::Drain;
use super::lifetime::{EndReason, Lifetime};
use super::operation::Parsed;
use super::rendered::Rendered;
use super::response::Body;
use crate::domain::people::presence::Connected;
use crate::graphql::{Error, ErrorCode, Identity};
use crate::ids::UserId;
use crate::metrics::Transport;

/// Message for a client whose stream ends because its access token has expired or its session has ended.
const SIGNED_OUT: &str = "The access token has expired, or its session was revoked. Call `refreshSession`, or \
    `login` if that fails, and subscribe again with the cursor of the last event.";

/// Starts the operation and returns a response that streams its results. Fails if the server drains, a limit is
/// exceeded, or the session cannot be queried from Postgres.
pub(super) async fn respond(
    server: &Server,
    headers: &HeaderMap,
    peer: SocketAddr,
    format: StreamFormat,
    parsed: Parsed,
) -> Result<Response, Error> {
    if server.drain.has_begun() {
        return Err(Error::new(ErrorCode::Unavailable, "The server restarts. Try again in a moment."));
    }
    let (caller, lifetime) = server.watched_caller(headers, peer).await?;
    // The operation is admitted before the user counts as connected, because a refused operation must not change the
    // presence.
    server.admit_operation(&caller, parsed.cost.work)?;
    let permit = match caller.identity {
        Identity::SignedIn(viewer) => Some((server.admit(viewer.user)?, server.app.presences().connect(viewer))),
        _ => None,
    };
    server.count_operation(parsed.kind, Transport::EventStream);
    let is_subscription = parsed.kind == OperationType::Subscription;
    let events = if is_subscription {
        parsed.subscribe(server, caller)?.boxed()
    } else {
        stream::once(parsed.execute(server, caller).map(Rendered::new)).boxed()
    };
    let settings = &server.config.socket;
    let connection = Connection {
        format,
        events,
        // A query or mutation is finished even if the session ends or the server drains meanwhile.
        endings: is_subscription.then(|| (lifetime, server.drain.clone())),
        heartbeat: settings.socket_ping_interval,
        write_timeout: settings.socket_write_timeout,
        permit,
    };
    let (sender, chunks) = mpsc::channel(1);
    tokio::spawn(connection.run(sender));
    let chunks = ReceiverStream::new(chunks).map(Ok::<_, Infallible>);
    Ok(format.response(HttpBody::from_stream(chunks)))
}

/// Returns the response for an operation that was refused before its execution: a stream whose only event contains the
/// errors.
pub(super) fn refused(format: StreamFormat, body: &Body) -> Response {
    format.response([format.beginning(), &format.next(&body.to_json()), format.end()].concat().into())
}

struct Connection {
    format: StreamFormat,
    events: BoxStream<'static, Rendered>,
    /// The lifetime and the drain, which can end a subscription early. None for a query or mutation.
    endings: Option<(Lifetime, Drain)>,
    heartbeat: Duration,
    /// Maximum time for which a client may leave a chunk unread.
    write_timeout: Duration,
    /// Counts the stream against the user's limit of connections, and counts the user as connected. None for an
    /// anonymous caller.
    permit: Option<(Permit<UserId>, Connected)>,
}

/// The next step of a connection: it sends an event or a heartbeat, or it ends.
enum Next {
    Event(Option<Rendered>),
    Heartbeat,
    Ended(EndReason),
}

impl Connection {
    /// Sends the results of the operation until it ends, or the client disconnects or stops reading.
    async fn run(self, chunks: mpsc::Sender<String>) {
        let Self { format, mut events, endings, heartbeat, write_timeout, permit } = self;
        let _permit = permit;
        let mut heartbeats = interval_at(Instant::now() + heartbeat, heartbeat);
        let mut ended = pin!(ended(endings));
        let mut next = format.beginning().to_owned();
        loop {
            tokio::select! {
                biased;
                sent = chunks.send_timeout(next, write_timeout) => if sent.is_err() { return },
                reason = &mut ended => {
                    // The last chunk is not sent if the client has not read the previous chunk.
                    if let Some(last_chunk) = format.last_chunk(reason) {
                        let _ = chunks.try_send(last_chunk + format.end());
                    }
                    return;
                }
            }
            let event = tokio::select! {
                event = events.next() => Next::Event(event),
                _ = heartbeats.tick() => Next::Heartbeat,
                reason = &mut ended => Next::Ended(reason),
                () = chunks.closed() => return,
            };
            next = match event {
                Next::Event(Some(Rendered::Next(json))) => format.next(&json),
                Next::Event(Some(Rendered::Failed(body))) => {
                    let _ = chunks.send_timeout(format.next(&body.to_json()) + format.end(), write_timeout).await;
                    return;
                }
                Next::Event(None) => {
                    let _ = chunks.send_timeout(format.end().to_owned(), write_timeout).await;
                    return;
                }
                Next::Heartbeat => format.heartbeat().to_owned(),
                Next::Ended(reason) => {
                    if let Some(last_chunk) = format.last_chunk(reason) {
                        let _ = chunks.send_timeout(last_chunk + format.end(), write_timeout).await;
                    }
                    return;
                }
            };
        }
    }
}

async fn ended(endings: Option<(Lifetime, Drain)>) -> EndReason {
    match endings {
        Some((lifetime, drain)) => tokio::select! {
            reason = lifetime.ended() => reason,
            () = drain.closing() => EndReason::Drained,
        },
        None => std::future::pending().await,
    }
}

impl StreamFormat {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream; charset=utf-8",
            Self::Multipart => "multipart/mixed; boundary=\"graphql\"; subscriptionSpec=1.0",
        }
    }

    fn response(self, body: HttpBody) -> Response {
        // nginx buffers a response unless this header forbids it.
        let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
        let headers = [(header::CONTENT_TYPE, self.content_type()), (header::CACHE_CONTROL, "no-store"), unbuffered];
        (headers, body).into_response()
    }

    /// Returns the first chunk. It is sent at once, so that the client and all proxies see that the stream is open.
    const fn beginning(self) -> &'static str {
        match self {
            Self::Events => ":\n\n",
            Self::Multipart => "--graphql",
        }
    }

    /// Encodes a chunk with one response of the operation. The response is JSON already.
    fn next(self, json: &str) -> String {
        match self {
            Self::Events => format!("event: next\ndata: {json}\n\n"),
            Self::Multipart => part(&format!("{{\"payload\":{json}}}")),
        }
    }

    const fn heartbeat(self) -> &'static str {
        match self {
            Self::Events => ":\n\n",
            Self::Multipart => "\r\nContent-Type: application/json\r\n\r\n{}\r\n--graphql",
        }
    }

    /// Returns the chunk with the error for a client whose stream the server ends. Returns None if the stream must
    /// break off without an error, so that the client reconnects.
    fn last_chunk(self, reason: EndReason) -> Option<String> {
        let error = match reason {
            EndReason::SignedOut => Error::new(ErrorCode::Unauthenticated, SIGNED_OUT),
            EndReason::Drained => Error::new(
                ErrorCode::Unavailable,
                "The server restarts. Reconnect in a moment, with the cursor of the last event.",
            ),
        };
        let body = Body::refused(error);
        match self {
            Self::Events => (reason == EndReason::SignedOut).then(|| self.next(&body.to_json())),
            // This is an error of the connection, not a response of the operation.
            Self::Multipart => {
                let errors = serde_json::to_string(&body.errors).unwrap_or_default();
                Some(part(&format!("{{\"payload\":null,\"errors\":{errors}}}")))
            }
        }
    }

    const fn end(self) -> &'static str {
        match self {
            Self::Events => "event: complete\ndata: \n\n",
            Self::Multipart => "--\r\n",
        }
    }
}

/// Encodes one part of a multipart response together with the boundary after it, because a client reads a part only
/// when it has received that boundary.
fn part(json: &str) -> String {
    format!("\r\nContent-Type: application/json\r\n\r\n{json}\r\n--graphql")
}
