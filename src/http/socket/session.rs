//! One connection: a loop over the client's messages, the operations' results, and the clock.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::pin::Pin;

use async_graphql::parser::types::OperationType;
use axum::extract::ws::{Message, WebSocket};
use axum::http::HeaderMap;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::StreamMap;
use tracing::debug;

use super::protocol::{ClientMessage, Close, ServerMessage};
use crate::domain::{Error as Domain, Viewer};
use crate::graphql::{Caller, Error, ErrorCode, Identity};
use crate::http::Server;
use crate::http::caller::{bearer, bearer_value};
use crate::http::drain::Drain;
use crate::http::graphql::Operation;
use crate::http::response::Body;
use crate::log::SessionWatch;

type Outputs = Pin<Box<dyn Stream<Item = Output> + Send>>;

/// What an operation has brought.
enum Output {
    /// One event of a subscription.
    Event(Body),
    /// The result of a query or mutation.
    Result(Body),
    /// The subscription has ended.
    End,
}

/// Why the loop ended.
enum End {
    /// The server's decision, to be told to the client.
    Close(Close),
    /// The client went away, or cannot be written to.
    Gone,
}

pub(super) struct Session {
    server: Server,
    socket: WebSocket,
    headers: HeaderMap,
    caller: Caller,
    /// Tells of the revocation of the viewer's session.
    watch: Option<SessionWatch>,
    /// When the access token runs out.
    expires_at: Option<Instant>,
    operations: StreamMap<String, Outputs>,
    /// The queries and mutations among the operations, which a drain waits for.
    requests: HashSet<String>,
    /// When the next ping is due, and by when the last one must be answered.
    ping_at: Instant,
    pong_by: Option<Instant>,
}

impl Session {
    pub(super) async fn run(server: Server, socket: WebSocket, headers: HeaderMap, peer: SocketAddr) {
        let caller = Caller { identity: Identity::Anonymous, ip_address: Some(server.address(&headers, peer)) };
        let ping_at = Instant::now() + server.config.socket.socket_ping_interval;
        let mut session = Self {
            server,
            socket,
            headers,
            caller,
            watch: None,
            expires_at: None,
            operations: StreamMap::new(),
            requests: HashSet::new(),
            ping_at,
            pong_by: None,
        };
        let end = match session.initialise().await {
            Ok(()) => session.serve().await,
            Err(end) => end,
        };
        if let End::Close(close) = end {
            debug!(code = close.code, reason = %close.reason, "closing a socket");
            // The streams end first: nobody will read what they bring.
            drop(session.operations);
            super::close(session.socket, close).await;
        }
    }

    /// Until `connection_init` is accepted.
    async fn initialise(&mut self) -> Result<(), End> {
        let drain = self.server.drain.clone();
        let deadline = Instant::now() + self.server.config.socket.socket_init_timeout;
        loop {
            let message = tokio::select! {
                message = receive(&mut self.socket) => message?,
                () = sleep_until(deadline) => return Err(End::Close(Close::INIT_TIMEOUT)),
                () = drain.closing() => return Err(End::Close(Close::RESTART)),
            };
            match message {
                None | Some(ClientMessage::Pong { .. }) => {}
                Some(ClientMessage::ConnectionInit { payload }) => {
                    self.authenticate(payload.as_ref()).await?;
                    return self.send(&ServerMessage::ConnectionAck).await;
                }
                Some(ClientMessage::Ping { payload }) => self.send(&ServerMessage::Pong { payload }).await?,
                Some(ClientMessage::Subscribe { .. } | ClientMessage::Complete { .. }) => {
                    return Err(End::Close(Close::UNAUTHORIZED));
                }
            }
        }
    }

    /// By `Authorization` in the payload, which browsers can set, or else in the upgrade's headers.
    /// Without either the client is anonymous; with one that is no good it is closed.
    async fn authenticate(&mut self, payload: Option<&Map<String, Value>>) -> Result<(), End> {
        let in_payload = payload
            .and_then(|payload| payload.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization")))
            .map(|(_, value)| value.as_str().and_then(bearer_value).ok_or(End::Close(Close::FORBIDDEN)))
            .transpose()?;
        let Some(token) = in_payload.or_else(|| bearer(&self.headers)) else { return Ok(()) };
        let Ok(viewer) = self.server.app.sessions().read_token(&token) else {
            return Err(End::Close(Close::FORBIDDEN));
        };
        // Watched first and looked at afterwards: no revocation falls between.
        self.watch = Some(self.server.app.log().watch_session(viewer.session));
        check_session(&self.server, viewer).await?;
        self.caller.identity = Identity::SignedIn(viewer);
        let left = viewer.expires_at - self.server.app.clock().now();
        self.expires_at = Some(Instant::now() + left.to_std().unwrap_or_default());
        Ok(())
    }

    async fn serve(&mut self) -> End {
        let drain = self.server.drain.clone();
        let mut closing = false;
        loop {
            let alarm = self.pong_by.map_or(self.ping_at, |pong_by| pong_by.min(self.ping_at));
            let done = tokio::select! {
                message = receive(&mut self.socket) => match message {
                    Ok(message) => self.handle(message, closing).await,
                    Err(end) => Err(end),
                },
                Some((id, output)) = self.operations.next() => self.pass_on(&id, output).await,
                () = sleep_until(alarm) => self.keep_alive(closing).await,
                close = over(self.expires_at, self.watch.as_ref(), &drain) => Err(End::Close(close)),
                () = drain.closing(), if !closing => {
                    closing = true;
                    Ok(())
                }
            };
            match done {
                Err(end) => return end,
                Ok(()) if closing && self.requests.is_empty() => return End::Close(Close::RESTART),
                Ok(()) => {}
            }
        }
    }

    async fn handle(&mut self, message: Option<ClientMessage>, closing: bool) -> Result<(), End> {
        // Whatever comes shows that the client is there.
        self.pong_by = None;
        match message {
            None | Some(ClientMessage::Pong { .. }) => Ok(()),
            Some(ClientMessage::ConnectionInit { .. }) => Err(End::Close(Close::TOO_MANY_INITS)),
            Some(ClientMessage::Ping { payload }) => self.send(&ServerMessage::Pong { payload }).await,
            // It would not be finished; the client asks another node once this socket is closed.
            Some(ClientMessage::Subscribe { .. }) if closing => Ok(()),
            Some(ClientMessage::Subscribe { id, payload }) => self.start(id, payload).await,
            Some(ClientMessage::Complete { id }) => {
                self.forget(&id);
                Ok(())
            }
        }
    }

    async fn start(&mut self, id: String, operation: Operation) -> Result<(), End> {
        if self.operations.contains_key(&id) {
            return Err(End::Close(Close::duplicate(&id)));
        }
        if let Identity::SignedIn(viewer) = self.caller.identity {
            check_session(&self.server, viewer).await?;
        }
        let max = self.server.config.socket.socket_max_operations;
        if self.operations.len() >= max {
            let error = Error::new(ErrorCode::RateLimited, format!("At most {max} operations at once on one socket."));
            return self.send_error(&id, &Body::refused(error)).await;
        }
        let parsed = match operation.parse() {
            Ok(parsed) => parsed,
            Err(body) => return self.send_error(&id, &body).await,
        };
        let outputs: Outputs = if parsed.kind == OperationType::Subscription {
            let events = parsed.subscribe(&self.server, self.caller.clone()).map(Output::Event);
            Box::pin(events.chain(stream::once(async { Output::End })))
        } else {
            self.requests.insert(id.clone());
            let result = parsed.execute(&self.server, self.caller.clone());
            Box::pin(stream::once(async { Output::Result(result.await.unwrap_or_else(|_| Body::crashed())) }))
        };
        self.operations.insert(id, outputs);
        Ok(())
    }

    /// What failed as a whole ends its operation with `error`: a subscriber then resumes from the last cursor
    /// it has seen.
    async fn pass_on(&mut self, id: &str, output: Output) -> Result<(), End> {
        let (body, last) = match output {
            Output::Event(body) => (body, false),
            Output::Result(body) => (body, true),
            Output::End => {
                self.forget(id);
                return self.send(&ServerMessage::Complete { id }).await;
            }
        };
        let failed = match body.data {
            None => true,
            Some(async_graphql::Value::Null) => !last,
            Some(_) => false,
        };
        if failed || last {
            self.forget(id);
        }
        if failed {
            return self.send_error(id, &body).await;
        }
        self.send(&ServerMessage::Next { id, payload: &body }).await?;
        if last { self.send(&ServerMessage::Complete { id }).await } else { Ok(()) }
    }

    fn forget(&mut self, id: &str) {
        self.operations.remove(id);
        self.requests.remove(id);
    }

    /// Pings when it is time to; gives the client up that has not answered the last one.
    async fn keep_alive(&mut self, closing: bool) -> Result<(), End> {
        let now = Instant::now();
        if self.pong_by.is_some_and(|pong_by| pong_by <= now) {
            // The answer may be here already, and the server late to look.
            let Some(message) = receive(&mut self.socket).now_or_never() else { return Err(End::Gone) };
            return self.handle(message?, closing).await;
        }
        if self.ping_at <= now {
            self.ping_at = now + self.server.config.socket.socket_ping_interval;
            self.pong_by.get_or_insert(now + self.server.config.socket.socket_pong_timeout);
            self.send(&ServerMessage::Ping).await?;
        }
        Ok(())
    }

    async fn send_error(&mut self, id: &str, body: &Body) -> Result<(), End> {
        self.send(&ServerMessage::Error { id, payload: &body.errors }).await
    }

    /// A client that does not read is given up in time; whose session has ended meanwhile is closed at once.
    async fn send(&mut self, message: &ServerMessage<'_>) -> Result<(), End> {
        // Every message is made of text and of values that came from JSON or go to it.
        let Ok(text) = serde_json::to_string(message) else { return Err(End::Gone) };
        let patience = self.server.config.socket.socket_write_timeout;
        tokio::select! {
            biased;
            written = timeout(patience, self.socket.send(Message::Text(text.into()))) => match written {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(End::Gone),
            },
            close = over(self.expires_at, self.watch.as_ref(), &self.server.drain) => Err(End::Close(close)),
        }
    }
}

async fn check_session(server: &Server, viewer: Viewer) -> Result<(), End> {
    match server.app.sessions().check(viewer).await {
        Ok(()) => Ok(()),
        Err(Domain::Unauthenticated(_)) => Err(End::Close(Close::FORBIDDEN)),
        Err(_) => Err(End::Close(Close::TRY_AGAIN)),
    }
}

/// The client's next message; None for a frame that only shows that it is there.
async fn receive(socket: &mut WebSocket) -> Result<Option<ClientMessage>, End> {
    match socket.recv().await {
        Some(Ok(Message::Text(text))) => {
            serde_json::from_str(&text).map(Some).map_err(|_| End::Close(Close::INVALID_MESSAGE))
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Ok(Message::Binary(_))) => Err(End::Close(Close::INVALID_MESSAGE)),
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Gone),
    }
}

/// Waits for what ends a connection whatever its client does.
async fn over(expires_at: Option<Instant>, watch: Option<&SessionWatch>, drain: &Drain) -> Close {
    tokio::select! {
        () = at(expires_at) => Close::FORBIDDEN,
        () = revoked(watch) => Close::FORBIDDEN,
        () = drain.expired() => Close::RESTART,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn revoked(watch: Option<&SessionWatch>) {
    match watch {
        Some(watch) => watch.revoked().await,
        None => std::future::pending().await,
    }
}
