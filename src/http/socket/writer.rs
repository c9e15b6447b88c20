//! Writes the messages of the server. Messages that are ready at the same time share one flush.

use std::pin::pin;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::{FutureExt as _, SinkExt as _};
use tokio::time::timeout;
use tungstenite::Message;

use super::close::End;
use super::message::WebSocket;
use super::operations::Output;
use super::protocol::{Protocol, ServerMessage};
use crate::http::lifetime::Lifetime;
use crate::http::rendered::Rendered;
use crate::http::response::Body;

/// Writes messages to a client in its subprotocol. A write that waits for the client ends early if the lifetime ends.
pub(super) struct Writer<'a> {
    pub(super) socket: &'a mut WebSocket,
    pub(super) protocol: Protocol,
    pub(super) lifetime: &'a Lifetime,
    /// Maximum time for the client to make room for a write.
    pub(super) timeout: Duration,
}

impl Writer<'_> {
    /// Queues an output. The output is sent with the next flush, or earlier if the buffer is full. An operation that
    /// failed as a whole ends with an `error` message. After such an error, a subscriber resumes from the last cursor
    /// that it received.
    pub(super) async fn write_output(&mut self, id: &str, output: Output) -> Result<(), End> {
        match output {
            Output::Event(Rendered::Next(json)) => self.write_text(self.protocol.next(id, &json)).await,
            Output::Event(Rendered::Failed(body)) => {
                self.write(&ServerMessage::Error { id, payload: &body.errors }).await
            }
            Output::Result(body) => {
                if body.data.is_none() {
                    return self.write(&ServerMessage::Error { id, payload: &body.errors }).await;
                }
                self.write_text(self.protocol.next(id, &body.into_json())).await?;
                self.write(&ServerMessage::Complete { id }).await
            }
            Output::End => self.write(&ServerMessage::Complete { id }).await,
        }
    }

    pub(super) async fn send_error(&mut self, id: &str, body: &Body) -> Result<(), End> {
        self.send(&ServerMessage::Error { id, payload: &body.errors }).await
    }

    pub(super) async fn send(&mut self, message: &ServerMessage<'_>) -> Result<(), End> {
        self.write(message).await?;
        self.flush().await
    }

    /// Sends a ping of the subprotocol. Clients do not answer the keep-alive message of the older subprotocol, so a
    /// ping of the WebSocket protocol follows.
    pub(super) async fn send_ping(&mut self) -> Result<(), End> {
        self.send(&ServerMessage::Ping).await?;
        if self.protocol == Protocol::Legacy {
            let ping = self.socket.send(Message::Ping(Bytes::new()));
            wait_for_client(ping, self.lifetime, self.timeout).await?;
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<(), End> {
        wait_for_client(self.socket.flush(), self.lifetime, self.timeout).await
    }

    async fn write(&mut self, message: &ServerMessage<'_>) -> Result<(), End> {
        match self.protocol.write(message) {
            Some(text) => self.write_text(text).await,
            None => Ok(()),
        }
    }

    async fn write_text(&mut self, text: String) -> Result<(), End> {
        wait_for_client(self.socket.feed(Message::Text(text.into())), self.lifetime, self.timeout).await
    }
}

/// Completes a write. Fails if the client does not make room for the write within `limit`, or if the lifetime ends
/// first.
async fn wait_for_client(
    write: impl Future<Output = tungstenite::Result<()>>,
    lifetime: &Lifetime,
    limit: Duration,
) -> Result<(), End> {
    let mut write = pin!(write);
    // Most writes complete at once and need no timer.
    if let Some(written) = write.as_mut().now_or_never() {
        return written.map_err(|_| End::Gone);
    }
    tokio::select! {
        biased;
        written = timeout(limit, write) => match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        },
        reason = lifetime.ended() => Err(reason.into()),
    }
}
