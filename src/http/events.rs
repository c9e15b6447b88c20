//! Subscriptions over plain HTTP, for clients behind proxies that break WebSockets.
//!
//! Sources: PROTOCOL.md of the npm package graphql-sse, its mode of distinct connections; and Apollo's "Multipart HTTP
//! protocol for GraphQL subscriptions".

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use async_graphql::{ServerError, Value};
use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream as FuturesStream, StreamExt as _};
use serde::Serialize;
use tokio::time::{Instant, interval_at};

use super::Server;
use super::accept::Stream;
use super::caller::bearer;
use super::drain::Drain;
use super::lifetime::{Lifetime, Over};
use super::operation::Parsed;
use super::response::Body;
use super::seats::Seat;
use crate::graphql::{Error, ErrorCode, Identity};

/// Runs the operation for as long as the client reads. Fails where the user has too many streams, or Postgres cannot
/// be asked who that is.
pub(super) async fn respond(
    server: &Server,
    headers: &HeaderMap,
    peer: SocketAddr,
    form: Stream,
    parsed: Parsed,
) -> Result<Response, Error> {
    if server.drain.has_begun() {
        return Err(Error::new(ErrorCode::Unavailable, "The server restarts. Try again in a moment."));
    }
    let viewer = bearer(headers).and_then(|token| server.app.sessions().read_token(&token).ok());
    let lifetime = viewer.map_or_else(|| Lifetime::anonymous(server), |viewer| Lifetime::of(server, viewer));
    let caller = server.caller(headers, peer).await?;
    let seat = match caller.identity {
        Identity::SignedIn(viewer) => Some(server.take_seat(viewer.user)?),
        _ => None,
    };
    let endless = parsed.kind == OperationType::Subscription;
    let bodies = if endless {
        parsed.subscribe(server, caller).boxed()
    } else {
        stream::once(parsed.execute(server, caller)).boxed()
    };
    let connection = Connection {
        form,
        bodies,
        lifetime,
        seat,
        // A query or mutation is finished before the server goes down.
        drain: endless.then(|| server.drain.clone()),
        heartbeat: server.config.socket.socket_ping_interval,
    };
    let chunks = connection.run().map(Ok::<_, Infallible>);
    // nginx holds back what it could send, unless it is told not to.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    let headers = [(header::CONTENT_TYPE, form.content_type()), (header::CACHE_CONTROL, "no-store"), unbuffered];
    Ok((headers, HttpBody::from_stream(chunks)).into_response())
}

struct Connection {
    form: Stream,
    bodies: BoxStream<'static, Body>,
    lifetime: Lifetime,
    seat: Option<Seat>,
    drain: Option<Drain>,
    heartbeat: Duration,
}

/// What is next to be sent.
enum Next {
    Body(Option<Body>),
    Heartbeat,
    Over(Over),
}

impl Connection {
    fn run(self) -> impl FuturesStream<Item = String> {
        let Self { form, mut bodies, lifetime, seat, drain, heartbeat } = self;
        let mut heartbeats = interval_at(Instant::now() + heartbeat, heartbeat);
        async_stream::stream! {
            let _seat = seat;
            let mut closing = pin!(closing(drain));
            yield form.beginning().to_owned();
            loop {
                let next = tokio::select! {
                    body = bodies.next() => Next::Body(body),
                    _ = heartbeats.tick() => Next::Heartbeat,
                    over = lifetime.over() => Next::Over(over),
                    () = &mut closing => Next::Over(Over::Drained),
                };
                match next {
                    Next::Body(Some(body)) => {
                        let failed = matches!(body.data, None | Some(Value::Null));
                        yield form.next(&body);
                        if failed {
                            break;
                        }
                    }
                    Next::Body(None) => break,
                    Next::Heartbeat => yield form.heartbeat().to_owned(),
                    Next::Over(over) => {
                        if let Some(last_words) = form.over(over) {
                            yield last_words;
                            break;
                        }
                        return;
                    }
                }
            }
            yield form.end().to_owned();
        }
    }
}

async fn closing(drain: Option<Drain>) {
    match drain {
        Some(drain) => drain.closing().await,
        None => std::future::pending().await,
    }
}

impl Stream {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream; charset=utf-8",
            Self::Multipart => "multipart/mixed; boundary=\"graphql\"; subscriptionSpec=1.0",
        }
    }

    /// At once, so that the client and every proxy between see that the stream is open.
    const fn beginning(self) -> &'static str {
        match self {
            Self::Events => ":\n\n",
            Self::Multipart => "--graphql",
        }
    }

    fn next(self, body: &Body) -> String {
        match self {
            Self::Events => format!("event: next\ndata: {}\n\n", to_json(body)),
            Self::Multipart => part(&Part { payload: Some(body), errors: &[] }),
        }
    }

    const fn heartbeat(self) -> &'static str {
        match self {
            Self::Events => ":\n\n",
            Self::Multipart => "\r\nContent-Type: application/json\r\n\r\n{}\r\n--graphql",
        }
    }

    /// What a client is told whose stream is ended by the server; None where a stream that breaks off tells it to
    /// come back.
    fn over(self, over: Over) -> Option<String> {
        let error = match over {
            Over::SignedOut => Error::new(ErrorCode::Unauthenticated, "The access token has run out."),
            Over::Drained => Error::new(ErrorCode::Unavailable, "The server restarts. Come back in a moment."),
        };
        let body = Body::refused(error);
        match self {
            Self::Events => (over == Over::SignedOut).then(|| self.next(&body)),
            Self::Multipart => Some(part(&Part { payload: None, errors: &body.errors })),
        }
    }

    const fn end(self) -> &'static str {
        match self {
            Self::Events => "event: complete\ndata: \n\n",
            Self::Multipart => "--\r\n",
        }
    }
}

/// One part of Apollo's protocol; the errors are those of the connection.
#[derive(Serialize)]
struct Part<'a> {
    payload: Option<&'a Body>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [ServerError],
}

/// A client reads a part once it has seen the boundary behind it.
fn part(part: &Part<'_>) -> String {
    format!("\r\nContent-Type: application/json\r\n\r\n{}\r\n--graphql", to_json(part))
}

fn to_json(message: &impl Serialize) -> String {
    // All of it came from JSON or was made for it.
    serde_json::to_string(message).unwrap_or_default()
}
