//! One socket connection: a loop over the client's messages, the operations' results, and the clock.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use axum::http::HeaderMap;
use futures_util::future::ready;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;
use tungstenite::Message;

use super::Origin;
use super::client::Client;
use super::close::{CLOSE_TIMEOUT, Close, End, close, drain_until_closed};
use super::keep_alive::KeepAlive;
use super::message::WebSocket;
use super::operations::{Operations, Output, Running};
use super::protocol::{ClientMessage, Protocol, ServerMessage};
use super::reader::receive;
use super::token_bucket::TokenBucket;
use super::writer::Writer;
use crate::fair::Gone;
use crate::graphql::{Error, ErrorCode};
use crate::http::Server;
use crate::http::caller::bearer;
use crate::http::lifetime::EndReason;
use crate::http::operation::Operation;
use crate::http::response::Body;
use crate::limiter::Key;
use crate::metrics::{Open, Transport};

/// Maximum number of messages of any kind per second, as a multiple of SOCKET_OPERATIONS_PER_SECOND. In addition to
/// operations, a client sends pings, pongs and completions.
const MESSAGES_PER_OPERATION: u32 = 4;

/// Maximum number of outputs that are written before a flush.
const MAX_OUTPUTS_PER_FLUSH: usize = 64;

/// Events that interrupt a connection. Each of them occurs at most once.
enum Interrupt {
    /// The lifetime of the connection has ended.
    Ended(EndReason),
    /// The server shuts down. The connection is closed when its requests are done.
    Closing,
}

pub(super) struct Connection {
    server: Server,
    socket: WebSocket,
    protocol: Protocol,
    client: Client,
    _open: Open,
    /// Limits how many operations the client may start per second.
    operations_left: TokenBucket,
    /// Limits how many messages of any kind the client may send per second.
    messages_left: TokenBucket,
    operations: Operations,
    keep_alive: KeepAlive,
    /// Whether a fresh token has changed the lifetime.
    refreshed: bool,
    /// Whether more outputs may be ready than are written in one turn. Messages, timers and interrupts are then handled
    /// before further outputs.
    has_pending_output: bool,
}

impl Connection {
    pub(super) async fn run(server: Server, socket: WebSocket, protocol: Protocol, headers: HeaderMap, origin: Origin) {
        let settings = &server.config.socket;
        let per_second = settings.socket_operations_per_second;
        let mut connection = Self {
            client: Client::anonymous(&server, origin),
            _open: server.app.metrics().socket(),
            operations_left: TokenBucket::new(per_second, Instant::now()),
            messages_left: TokenBucket::new(per_second.saturating_mul(MESSAGES_PER_OPERATION), Instant::now()),
            keep_alive: KeepAlive::new(settings),
            server,
            socket,
            protocol,
            operations: Operations::default(),
            refreshed: false,
            has_pending_output: false,
        };
        // The futures that are boxed here and below are large. A box frees the memory of its future before the
        // connection is idle.
        let token = bearer(&headers);
        drop(headers);
        let end = match Box::pin(connection.initialise(token)).await {
            Ok(()) => connection.serve().await,
            Err(end) => {
                Box::pin(connection.reject(&end)).await;
                end
            }
        };
        // The operations end first, because their results can no longer be sent.
        drop(connection.operations);
        match end {
            End::Close(close) => {
                debug!(code = close.code, reason = %close.reason, "closing a socket");
                Box::pin(self::close(connection.socket, close)).await;
            }
            End::Closed => Box::pin(drain_until_closed(connection.socket)).await,
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
                    self.client.authenticate(&self.server, payload.as_ref(), token).await?;
                    self.restart_idle_timer();
                    self.writer().send(&ServerMessage::ConnectionAck).await?;
                    // In the older protocol, the first keep-alive message follows at once.
                    return if self.protocol == Protocol::Legacy {
                        self.writer().send(&ServerMessage::Ping).await
                    } else {
                        Ok(())
                    };
                }
                Some(ClientMessage::Ping { payload }) => {
                    self.writer().send(&ServerMessage::Pong { payload }).await?;
                }
                Some(ClientMessage::Subscribe { .. } | ClientMessage::Complete { .. }) => {
                    return Err(End::Close(Close::UNAUTHORIZED));
                }
            }
        }
    }

    /// Sends a rejected client the reason, if its protocol has a message for the reason.
    async fn reject(&mut self, end: &End) {
        let End::Close(close) = end else { return };
        if let Some(text) = self.protocol.rejection(close) {
            let limit = self.server.config.socket.socket_write_timeout;
            // The socket is closed next, whether or not the message arrives.
            let _ = timeout(limit, self.socket.send(Message::Text(text.into()))).await;
        }
    }

    async fn serve(&mut self) -> End {
        let drain = self.server.drain.clone();
        let mut closing = false;
        loop {
            // These futures are created once and not in each turn, because they rarely complete. They are created again
            // after a fresh token has changed the lifetime.
            let ended = self.client.lifetime.ended().map(Interrupt::Ended).boxed();
            let closing_begins = drain.closing().map(|()| Interrupt::Closing).boxed();
            let mut interrupts = FuturesUnordered::from_iter([ended, closing_begins]);
            let mut timer = pin!(sleep_until(self.keep_alive.next_deadline()));
            while !std::mem::take(&mut self.refreshed) {
                let next_deadline = self.keep_alive.next_deadline();
                if timer.deadline() != next_deadline {
                    timer.as_mut().reset(next_deadline);
                }
                let done = tokio::select! {
                    // In most turns only an output of an operation is ready. The other branches are polled only if no
                    // output is ready.
                    biased;
                    (id, output) = poll_fn(|cx| self.operations.poll_next(cx)), if !self.has_pending_output => {
                        self.write_outputs(id, output).await
                    }
                    Some(interrupt) = interrupts.next() => match interrupt {
                        Interrupt::Ended(reason) => {
                            Box::pin(self.finish_requests()).await;
                            Err(reason.into())
                        }
                        Interrupt::Closing => {
                            closing = true;
                            Ok(())
                        }
                    },
                    message = receive(&mut self.socket, self.protocol) => match message {
                        Ok(message) => Box::pin(self.handle(message, closing)).await,
                        Err(end) => Err(end),
                    },
                    () = &mut timer => Box::pin(self.on_timer(closing)).await,
                    () = ready(()), if self.has_pending_output => {
                        self.has_pending_output = false;
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

    /// Writes this output and further outputs that are ready, and then flushes once.
    async fn write_outputs(&mut self, id: Arc<str>, output: Output) -> Result<(), End> {
        self.writer().write_output(&id, output).await?;
        self.has_pending_output = true;
        for _ in 1..MAX_OUTPUTS_PER_FLUSH {
            let next = poll_fn(|cx| Poll::Ready(self.operations.poll_next(cx))).await;
            let Poll::Ready((id, output)) = next else {
                self.has_pending_output = false;
                break;
            };
            self.writer().write_output(&id, output).await?;
        }
        self.writer().flush().await
    }

    fn writer(&mut self) -> Writer<'_> {
        Writer {
            socket: &mut self.socket,
            protocol: self.protocol,
            lifetime: &self.client.lifetime,
            timeout: self.server.config.socket.socket_write_timeout,
        }
    }

    /// Handles the timers: sends a ping if it is due, and ends a connection that is anonymous and idle, or whose client
    /// has not answered the last ping.
    async fn on_timer(&mut self, closing: bool) -> Result<(), End> {
        let now = Instant::now();
        if self.keep_alive.pong_is_overdue(now) {
            // The pong may have arrived without being read yet.
            let Some(message) = receive(&mut self.socket, self.protocol).now_or_never() else { return Err(End::Gone) };
            return self.handle(message?, closing).await;
        }
        if self.keep_alive.idle_timer_has_expired(now) {
            if self.operations.len() == 0 {
                return Err(End::Close(Close::ANONYMOUS_IDLE));
            }
            self.restart_idle_timer();
        }
        if self.keep_alive.start_due_ping(now, &self.server.config.socket) {
            self.writer().send_ping().await?;
        }
        Ok(())
    }

    fn restart_idle_timer(&mut self) {
        let timeout = self.server.connections.settings().socket_anonymous_timeout;
        self.keep_alive.restart_idle_timer(self.client.is_anonymous().then_some(timeout));
    }

    /// Sends the results of the queries and mutations that began while the session was valid, such as the logout that
    /// has ended the session.
    async fn finish_requests(&mut self) {
        let answers = async {
            while self.operations.has_requests() {
                let (id, output) = poll_fn(|cx| self.operations.poll_next(cx)).await;
                if let Output::Result(_) = output
                    && self.writer().write_output(&id, output).await.is_err()
                {
                    return;
                }
            }
            // The flush fails if the client has disconnected meanwhile.
            let _ = self.writer().flush().await;
        };
        // A request that has begun and takes longer than CLOSE_TIMEOUT is finished, but its result is not sent.
        let _ = timeout(CLOSE_TIMEOUT, answers).await;
    }

    async fn handle(&mut self, message: Option<ClientMessage>, closing: bool) -> Result<(), End> {
        self.keep_alive.message_arrived();
        self.count_message(message.as_ref())?;
        match self.read(message).await? {
            None | Some(ClientMessage::Pong | ClientMessage::Large(_)) => Ok(()),
            Some(ClientMessage::ConnectionTerminate) => Err(End::Close(Close::NORMAL)),
            Some(ClientMessage::ConnectionInit { .. }) => Err(End::Close(Close::TOO_MANY_INITS)),
            Some(ClientMessage::Ping { payload }) => {
                self.refreshed |= self.client.refresh(&self.server, payload.as_ref())?;
                self.writer().send(&ServerMessage::Pong { payload }).await
            }
            // A new operation is ignored. The client starts it again after this socket is closed and the client has
            // reconnected.
            Some(ClientMessage::Subscribe { .. }) if closing => Ok(()),
            Some(ClientMessage::Subscribe { id, payload }) => self.start(id, payload).await,
            Some(ClientMessage::Complete { id }) => {
                self.operations.remove(&id);
                Ok(())
            }
        }
    }

    /// Counts a message. Fails, so that the socket is closed, if the client sends too many messages. Operations have
    /// separate limits, which do not close the socket.
    fn count_message(&mut self, message: Option<&ClientMessage>) -> Result<(), End> {
        let counted = match message {
            None | Some(ClientMessage::Subscribe { .. } | ClientMessage::Large(_)) => true,
            _ => self.client.admit_request(&self.server).is_ok(),
        };
        if counted && self.messages_left.consume(Instant::now()).is_ok() {
            Ok(())
        } else {
            Err(End::Close(Close::TRY_AGAIN))
        }
    }

    async fn start(&mut self, id: String, operation: Result<Operation, String>) -> Result<(), End> {
        match self.protocol {
            Protocol::TransportWs if self.operations.contains(&id) => {
                return Err(End::Close(Close::duplicate(&id)));
            }
            Protocol::TransportWs => {}
            // In the older protocol, a new operation replaces an operation with the same id.
            Protocol::Legacy => self.operations.remove(&id),
        }
        if let Err(error) = self.admit() {
            return self.refuse(&id, error).await;
        }
        let operation = match operation {
            Ok(operation) => operation,
            Err(message) => return self.refuse(&id, Error::new(ErrorCode::GraphqlParseFailed, message)).await,
        };
        self.client.check_session(&self.server).await?;
        let parsed = match operation.parse(&self.server, self.client.caller.network).await {
            Ok(parsed) => parsed,
            Err(body) => return self.writer().send_error(&id, &body).await,
        };
        if let Err(error) = self.server.admit_operation(&self.client.caller, parsed.cost.work) {
            return self.refuse(&id, error).await;
        }
        self.server.count_operation(parsed.kind, Transport::WebSocket);
        let caller = self.client.caller.clone();
        let operation = if parsed.kind == OperationType::Subscription {
            match parsed.subscribe(&self.server, caller) {
                Ok(subscription) => Running::Subscription(Box::new(subscription)),
                Err(error) => return self.refuse(&id, error).await,
            }
        } else {
            Running::Request(parsed.execute(&self.server, caller).boxed())
        };
        self.operations.insert(&id, operation);
        self.restart_idle_timer();
        Ok(())
    }

    /// Parses a message whose text is large. A large message counts as a request, because every kind of message can be
    /// large and all large messages share the threads. An operation counts once more when it starts.
    async fn read(&mut self, message: Option<ClientMessage>) -> Result<Option<ClientMessage>, End> {
        let Some(ClientMessage::Large(text)) = message else { return Ok(message) };
        if self.client.admit_request(&self.server).is_err() {
            return Err(End::Close(Close::TRY_AGAIN));
        }
        let (protocol, server) = (self.protocol, self.server.clone());
        let read = move || protocol.read_large(&text);
        match server.threads.run(self.client.caller.network.map(Key::Network), &Gone::default(), read).await {
            Ok(Some(message)) => Ok(Some(message)),
            Ok(None) => Err(End::Close(Close::INVALID_MESSAGE)),
            Err(_) => Err(End::Close(Close::TRY_AGAIN)),
        }
    }

    /// Ends one operation with an error. The socket stays open.
    async fn refuse(&mut self, id: &str, error: Error) -> Result<(), End> {
        let body = Body::refused(error).counted(self.server.app.metrics());
        self.writer().send_error(id, &body).await
    }

    /// Counts an operation that is about to start. Returns RATE_LIMITED if the operation must not start on this socket
    /// now.
    fn admit(&mut self) -> Result<(), Error> {
        let settings = &self.server.config.socket;
        let max = settings.socket_max_operations;
        if self.operations.len() >= max {
            let message = format!("A socket may run at most {max} operations at the same time. Complete others.");
            return Err(Error::limited("SOCKET_MAX_OPERATIONS", Duration::from_secs(1), message));
        }
        self.client.admit_request(&self.server)?;
        self.operations_left.consume(Instant::now()).map_err(|wait| {
            let message =
                format!("A socket may start at most {} operations a second.", settings.socket_operations_per_second);
            Error::limited("SOCKET_OPERATIONS_PER_SECOND", wait, message)
        })
    }
}
