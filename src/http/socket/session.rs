//! One connection: a loop over the client's messages, the operations' results, and the clock.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use axum::http::HeaderMap;
use futures_util::future::ready;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;
use tungstenite::Message;
use tungstenite::error::ProtocolError;

use super::Origin;
use super::message::Cut;
use super::operations::{Operations, Output, Running};
use super::protocol::{ClientMessage, Close, Protocol, ServerMessage};
use super::token_bucket::TokenBucket;
use super::upgrade::WebSocket;
use crate::address::ClientNetwork;
use crate::domain::people::presence::Connected;
use crate::domain::{Error as Domain, Viewer};
use crate::fair::Gone;
use crate::graphql::{Caller, Error, Identity};
use crate::http::Server;
use crate::http::caller::{bearer, bearer_value};
use crate::http::connection_limit::Permit;
use crate::http::connections::Forwarded;
use crate::http::lifetime::{Lifetime, Over};
use crate::http::operation::Operation;
use crate::http::threads::SMALL_INPUT;
use crate::ids::UserId;
use crate::limiter::Key;
use crate::metrics::{Open, Transport};

/// Messages of any kind that a client may send for each operation that it may start. Pings, pongs and completions come
/// on top of operations.
const MESSAGES_PER_OPERATION: u32 = 4;

/// Events that happen at most once in the life of a connection.
enum Rare {
    Over(Over),
    /// The server shuts down, and closes the connection when its requests are done.
    Closing,
}

/// Why the loop ended.
pub(super) enum End {
    /// The server closes the connection with this code and reason.
    Close(Close),
    /// The client has closed the connection.
    Closed,
    /// The client disconnected without a close, or does not read.
    Gone,
}

pub(super) struct Session {
    pub(super) server: Server,
    pub(super) socket: WebSocket,
    pub(super) protocol: Protocol,
    pub(super) caller: Caller,
    pub(super) lifetime: Lifetime,
    /// Counts the socket among the viewer's connections. None without a signed-in user.
    permit: Option<Permit<UserId>>,
    /// The socket's place among those of the client's address. None if no trusted proxy forwards the socket.
    _forwarded: Option<Forwarded>,
    /// A place among the sockets without a signed-in user, until one signs in.
    anonymous: Option<Permit<ClientNetwork>>,
    /// Counts the viewer as connected. None without a signed-in user.
    connected: Option<Connected>,
    _open: Open,
    bucket: TokenBucket,
    /// Messages of any kind that the client may still send.
    messages: TokenBucket,
    pub(super) operations: Operations,
    /// Time of the next ping, and time by which the last one must be answered.
    pub(super) ping_at: Instant,
    pub(super) pong_by: Option<Instant>,
    /// Time at which a socket without a signed-in user is closed, unless it runs an operation.
    pub(super) idle_at: Option<Instant>,
    /// Whether a fresh token has changed the lifetime.
    refreshed: bool,
    /// Whether more events may be ready than are written in one turn. Everything else is then handled before them.
    pub(super) crowded: bool,
}

impl Session {
    pub(super) async fn run(server: Server, socket: WebSocket, protocol: Protocol, headers: HeaderMap, origin: Origin) {
        let network = server.connections.network(origin.address);
        let caller = Caller { identity: Identity::Anonymous, ip_address: Some(origin.address), network };
        let settings = &server.config.socket;
        let mut session = Self {
            lifetime: Lifetime::anonymous(&server),
            permit: None,
            _forwarded: origin.forwarded,
            anonymous: origin.anonymous,
            connected: None,
            _open: server.app.metrics().socket(),
            bucket: TokenBucket::new(settings.socket_operations_per_second, Instant::now()),
            messages: TokenBucket::new(
                settings.socket_operations_per_second.saturating_mul(MESSAGES_PER_OPERATION),
                Instant::now(),
            ),
            ping_at: Instant::now() + settings.socket_ping_interval,
            server,
            socket,
            protocol,
            caller,
            operations: Operations::default(),
            pong_by: None,
            idle_at: None,
            refreshed: false,
            crowded: false,
        };
        // The futures that are boxed here and below are large. A box frees their memory before the connection is idle.
        let token = bearer(&headers);
        drop(headers);
        let end = match Box::pin(session.initialise(token)).await {
            Ok(()) => session.serve().await,
            Err(end) => {
                Box::pin(session.reject(&end)).await;
                end
            }
        };
        // The streams end first, because their events can no longer be sent.
        drop(session.operations);
        match end {
            End::Close(close) => {
                debug!(code = close.code, reason = %close.reason, "closing a socket");
                Box::pin(super::close(session.socket, close)).await;
            }
            End::Closed => Box::pin(super::part(session.socket)).await,
            End::Gone => {}
        }
    }

    /// Handles messages until `connection_init` is accepted. `token` is the token in the headers of the upgrade.
    async fn initialise(&mut self, token: Option<String>) -> Result<(), End> {
        let drain = self.server.drain.clone();
        let deadline = Instant::now() + self.server.config.socket.socket_init_timeout;
        loop {
            let message = tokio::select! {
                message = receive(&mut self.socket, self.protocol) => message?,
                () = sleep_until(deadline) => return Err(End::Close(Close::INIT_TIMEOUT)),
                () = drain.closing() => return Err(End::Close(Close::RESTART)),
            };
            match self.read(message).await? {
                None | Some(ClientMessage::Pong | ClientMessage::Large(_)) => {}
                Some(ClientMessage::ConnectionTerminate) => return Err(End::Close(Close::NORMAL)),
                Some(ClientMessage::ConnectionInit { payload }) => {
                    self.authenticate(payload.as_ref(), token).await?;
                    self.put_off_idle_end();
                    self.send(&ServerMessage::ConnectionAck).await?;
                    // In the older protocol the first keep-alive follows at once.
                    return if self.protocol == Protocol::Legacy {
                        self.send(&ServerMessage::Ping).await
                    } else {
                        Ok(())
                    };
                }
                Some(ClientMessage::Ping { payload }) => self.send(&ServerMessage::Pong { payload }).await?,
                Some(ClientMessage::Subscribe { .. } | ClientMessage::Complete { .. }) => {
                    return Err(End::Close(Close::UNAUTHORIZED));
                }
            }
        }
    }

    /// Sends the older protocol's message for a client that is rejected.
    async fn reject(&mut self, end: &End) {
        let End::Close(close) = end else { return };
        if let Some(text) = self.protocol.rejection(close) {
            let patience = self.server.config.socket.socket_write_timeout;
            // The socket is closed next, whether or not the message arrives.
            let _ = timeout(patience, self.socket.send(Message::Text(text.into()))).await;
        }
    }

    /// Authenticates by `Authorization` in the payload, which browsers can set, or else by `token`. A client without a
    /// token is anonymous. A client with an invalid token is disconnected.
    async fn authenticate(&mut self, payload: Option<&Map<String, Value>>, token: Option<String>) -> Result<(), End> {
        let Some(token) = token_in(payload)?.or(token) else { return Ok(()) };
        let viewer = self.read_token(&token)?;
        let permit = self.server.admit(viewer.user);
        self.permit = Some(permit.map_err(|_| End::Close(Close::TOO_MANY_SOCKETS))?);
        self.lifetime = Lifetime::of(&self.server, viewer);
        check_session(&self.server, viewer).await?;
        self.connected = Some(self.server.app.presences().connect(viewer.user));
        self.caller.identity = Identity::SignedIn(viewer);
        self.anonymous = None;
        Ok(())
    }

    /// A ping may have a fresh token of the same session. The socket then stays open until that token expires.
    fn refresh(&mut self, payload: Option<&Map<String, Value>>) -> Result<(), End> {
        let Some(token) = token_in(payload)? else { return Ok(()) };
        let fresh = self.read_token(&token)?;
        match &mut self.caller.identity {
            Identity::SignedIn(viewer) if viewer.session == fresh.session => *viewer = fresh,
            _ => return Err(End::Close(Close::FORBIDDEN)),
        }
        self.lifetime.extend(&self.server, fresh);
        self.refreshed = true;
        Ok(())
    }

    fn read_token(&self, token: &str) -> Result<Viewer, End> {
        self.server.app.sessions().read_token(token).map_err(|_| End::Close(Close::FORBIDDEN))
    }

    async fn serve(&mut self) -> End {
        let drain = self.server.drain.clone();
        let mut closing = false;
        loop {
            // These futures are created once and not in each turn, because they seldom complete. A fresh token replaces
            // them.
            let over = self.lifetime.over().map(Rare::Over).boxed();
            let closing_begins = drain.closing().map(|()| Rare::Closing).boxed();
            let mut rare = FuturesUnordered::from_iter([over, closing_begins]);
            let mut alarm = pin!(sleep_until(self.alarm()));
            while !std::mem::take(&mut self.refreshed) {
                if alarm.deadline() != self.alarm() {
                    alarm.as_mut().reset(self.alarm());
                }
                let done = tokio::select! {
                    // In most turns only an event is ready. The rest is polled when no event is ready.
                    biased;
                    (id, output) = poll_fn(|cx| self.operations.poll_next(cx)), if !self.crowded => {
                        self.pass_on_all(id, output).await
                    }
                    Some(rare) = rare.next() => match rare {
                        Rare::Over(over) => {
                            Box::pin(self.finish_requests()).await;
                            Err(over.into())
                        }
                        Rare::Closing => {
                            closing = true;
                            Ok(())
                        }
                    },
                    message = receive(&mut self.socket, self.protocol) => match message {
                        Ok(message) => Box::pin(self.handle(message, closing)).await,
                        Err(end) => Err(end),
                    },
                    () = &mut alarm => Box::pin(self.keep_alive(closing)).await,
                    () = ready(()), if self.crowded => {
                        self.crowded = false;
                        Ok(())
                    }
                };
                match done {
                    Err(end) => return end,
                    Ok(()) if closing && !self.operations.has_requests() => return End::Close(Close::RESTART),
                    Ok(()) => {}
                }
            }
        }
    }

    /// Answers the queries and mutations that began while the session was valid, such as the logout that has ended it.
    async fn finish_requests(&mut self) {
        let answers = async {
            while self.operations.has_requests() {
                let (id, output) = poll_fn(|cx| self.operations.poll_next(cx)).await;
                if let Output::Result(_) = output
                    && self.pass_on(&id, output).await.is_err()
                {
                    return;
                }
            }
            // The client may have disconnected meanwhile.
            let _ = self.flush().await;
        };
        // A request that takes longer is executed without an answer.
        let _ = timeout(super::FAREWELL, answers).await;
    }

    pub(super) async fn handle(&mut self, message: Option<ClientMessage>, closing: bool) -> Result<(), End> {
        // Every message shows that the client is still connected.
        self.pong_by = None;
        self.count_message(message.as_ref())?;
        match self.read(message).await? {
            None | Some(ClientMessage::Pong | ClientMessage::Large(_)) => Ok(()),
            Some(ClientMessage::ConnectionTerminate) => Err(End::Close(Close::NORMAL)),
            Some(ClientMessage::ConnectionInit { .. }) => Err(End::Close(Close::TOO_MANY_INITS)),
            Some(ClientMessage::Ping { payload }) => {
                self.refresh(payload.as_ref())?;
                self.send(&ServerMessage::Pong { payload }).await
            }
            // A new operation is ignored. The client starts it again when this socket is closed and it has reconnected.
            Some(ClientMessage::Subscribe { .. }) if closing => Ok(()),
            Some(ClientMessage::Subscribe { id, payload }) => self.start(id, payload).await,
            Some(ClientMessage::Complete { id }) => {
                self.operations.remove(&id);
                Ok(())
            }
        }
    }

    /// Ends a socket that sends too many messages. Operations have limits of their own, which do not end the socket.
    fn count_message(&mut self, message: Option<&ClientMessage>) -> Result<(), End> {
        let counted = match message {
            None | Some(ClientMessage::Subscribe { .. } | ClientMessage::Large(_)) => true,
            _ => self.caller.ip_address.is_none_or(|address| self.server.admit_request(address).is_ok()),
        };
        if counted && self.messages.take(Instant::now()).is_ok() { Ok(()) } else { Err(End::Close(Close::TRY_AGAIN)) }
    }

    async fn start(&mut self, id: String, operation: Operation) -> Result<(), End> {
        match self.protocol {
            Protocol::TransportWs if self.operations.contains(&id) => {
                return Err(End::Close(Close::duplicate(&id)));
            }
            Protocol::TransportWs => {}
            // In the older protocol a new operation replaces one with the same id.
            Protocol::Legacy => self.operations.remove(&id),
        }
        if let Err(error) = self.admit() {
            return self.refuse(&id, error).await;
        }
        if let Identity::SignedIn(viewer) = self.caller.identity {
            check_session(&self.server, viewer).await?;
        }
        let parsed = match operation.parse(&self.server, self.network()).await {
            Ok(parsed) => parsed,
            Err(body) => return self.send_error(&id, &body).await,
        };
        if let Err(error) = self.server.admit_operation(&self.caller, parsed.cost.work) {
            return self.refuse(&id, error).await;
        }
        self.server.count_operation(parsed.kind, Transport::WebSocket);
        let caller = self.caller.clone();
        let operation = if parsed.kind == OperationType::Subscription {
            match parsed.subscribe(&self.server, caller) {
                Ok(subscription) => Running::Subscription(Box::new(subscription)),
                Err(error) => return self.refuse(&id, error).await,
            }
        } else {
            Running::Request(parsed.execute(&self.server, caller).boxed())
        };
        self.operations.insert(&id, operation);
        self.put_off_idle_end();
        Ok(())
    }

    /// Parses a message whose text is large. It counts as a request, because every kind of message can be large and all
    /// share the threads. An operation counts once more when it starts.
    async fn read(&mut self, message: Option<ClientMessage>) -> Result<Option<ClientMessage>, End> {
        let Some(ClientMessage::Large(text)) = message else { return Ok(message) };
        if let Some(address) = self.caller.ip_address
            && self.server.admit_request(address).is_err()
        {
            return Err(End::Close(Close::TRY_AGAIN));
        }
        let (protocol, server) = (self.protocol, self.server.clone());
        let read = move || protocol.read_large(&text);
        match server.threads.run(self.network().map(Key::Network), &Gone::default(), read).await {
            Ok(Some(message)) => Ok(Some(message)),
            Ok(None) => Err(End::Close(Close::INVALID_MESSAGE)),
            Err(_) => Err(End::Close(Close::TRY_AGAIN)),
        }
    }

    /// Key that the share of large requests counts by.
    fn network(&self) -> Option<ClientNetwork> {
        self.caller.network
    }

    /// Whether one more operation may start on this socket now.
    fn admit(&mut self) -> Result<(), Error> {
        let settings = &self.server.config.socket;
        let max = settings.socket_max_operations;
        if self.operations.len() >= max {
            let message = format!("A socket may run at most {max} operations at the same time.");
            return Err(Error::limited("SOCKET_MAX_OPERATIONS", Duration::from_secs(1), message));
        }
        if let Some(address) = self.caller.ip_address {
            self.server.admit_request(address)?;
        }
        self.bucket.take(Instant::now()).map_err(|wait| {
            let message =
                format!("A socket may start at most {} operations a second.", settings.socket_operations_per_second);
            Error::limited("SOCKET_OPERATIONS_PER_SECOND", wait, message)
        })
    }
}

impl From<Over> for End {
    fn from(over: Over) -> Self {
        Self::Close(match over {
            Over::SignedOut => Close::FORBIDDEN,
            Over::Drained => Close::RESTART,
        })
    }
}

/// The token of `Authorization` in a payload. Fails if the member exists but has no bearer token.
fn token_in(payload: Option<&Map<String, Value>>) -> Result<Option<String>, End> {
    payload
        .and_then(|payload| payload.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization")))
        .map(|(_, value)| value.as_str().and_then(bearer_value).ok_or(End::Close(Close::FORBIDDEN)))
        .transpose()
}

async fn check_session(server: &Server, viewer: Viewer) -> Result<(), End> {
    match server.app.sessions().check(viewer).await {
        Ok(()) => Ok(()),
        Err(Domain::Unauthenticated(_)) => Err(End::Close(Close::FORBIDDEN)),
        Err(_) => Err(End::Close(Close::TRY_AGAIN)),
    }
}

/// The client's next message. None for a ping or pong of the WebSocket protocol.
pub(super) async fn receive(socket: &mut WebSocket, protocol: Protocol) -> Result<Option<ClientMessage>, End> {
    match socket.next().await {
        Some(Ok(Message::Text(text))) if text.len() > SMALL_INPUT => Ok(Some(ClientMessage::Large(text))),
        Some(Ok(Message::Text(text))) => protocol.read(&text).map(Some).ok_or(End::Close(Close::INVALID_MESSAGE)),
        // tungstenite never returns `Message::Frame` when it reads.
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        Some(Ok(Message::Binary(_))) => Err(End::Close(Close::INVALID_MESSAGE)),
        Some(Ok(Message::Close(_))) => Err(End::Closed),
        None => Err(End::Gone),
        Some(Err(error)) => Err(why(&error)),
    }
}

/// How a connection ends after an error while reading.
fn why(error: &tungstenite::Error) -> End {
    match error {
        tungstenite::Error::Capacity(_) => End::Close(Close::TOO_BIG),
        tungstenite::Error::Utf8(_) => End::Close(Close::NOT_UTF8),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        tungstenite::Error::Protocol(_) => End::Close(Close::PROTOCOL_ERROR),
        tungstenite::Error::Io(error) => match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(Cut::TimedOut) => End::Close(Close::MESSAGE_TIMEOUT),
            Some(Cut::NoRoom) => End::Close(Close::TRY_AGAIN),
            None => End::Gone,
        },
        _ => End::Gone,
    }
}
