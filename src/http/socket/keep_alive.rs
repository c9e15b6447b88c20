//! Timers of a session: pings, and the end of anonymous sockets that run no operation.

use axum::body::Bytes;
use futures_util::{FutureExt as _, SinkExt as _};
use tokio::time::Instant;
use tungstenite::Message;

use super::outlet::written;
use super::protocol::{Close, Protocol, ServerMessage};
use super::session::{End, Session, receive};
use crate::graphql::Identity;

impl Session {
    /// Time of the next action if no message arrives.
    pub(super) fn alarm(&self) -> Instant {
        let alarms = [Some(self.ping_at), self.pong_by, self.idle_at];
        alarms.into_iter().flatten().min().unwrap_or(self.ping_at)
    }

    /// Restarts the time after which an anonymous socket without operations is closed.
    pub(super) fn put_off_idle_end(&mut self) {
        let patience = self.server.connections.settings().socket_anonymous_timeout;
        self.idle_at = matches!(self.caller.identity, Identity::Anonymous).then(|| Instant::now() + patience);
    }

    /// Sends a ping when it is due. Drops a client that has not answered the last ping.
    pub(super) async fn keep_alive(&mut self, closing: bool) -> Result<(), End> {
        let now = Instant::now();
        if self.pong_by.is_some_and(|pong_by| pong_by <= now) {
            // The answer may have arrived, and the server may not have read it yet.
            let Some(message) = receive(&mut self.socket, self.protocol).now_or_never() else { return Err(End::Gone) };
            return self.handle(message?, closing).await;
        }
        if self.idle_at.is_some_and(|idle_at| idle_at <= now) {
            if self.operations.len() == 0 {
                return Err(End::Close(Close::ANONYMOUS_IDLE));
            }
            self.put_off_idle_end();
        }
        if self.ping_at <= now {
            self.ping_at = now + self.server.config.socket.socket_ping_interval;
            self.pong_by.get_or_insert(now + self.server.config.socket.socket_pong_timeout);
            self.send(&ServerMessage::Ping).await?;
            // The keep-alive of the older protocol needs no answer, so a ping of the WebSocket protocol follows.
            if self.protocol == Protocol::Legacy {
                let ping = self.socket.send(Message::Ping(Bytes::new()));
                written(ping, &self.lifetime, self.server.config.socket.socket_write_timeout).await?;
            }
        }
        Ok(())
    }
}
