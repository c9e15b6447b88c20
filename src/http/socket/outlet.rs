//! Writes the frames of a session. Frames that are ready at the same time share one flush.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt as _, SinkExt as _};
use tokio::time::timeout;
use tungstenite::Message;

use super::operations::Output;
use super::protocol::ServerMessage;
use super::session::{End, Session};
use crate::graphql::Error;
use crate::http::lifetime::Lifetime;
use crate::http::rendered::Rendered;
use crate::http::response::Body;

/// Maximum number of frames that are written before a flush.
const FRAMES_TOGETHER: usize = 64;

impl Session {
    /// Writes this output and the further outputs that are ready, and flushes once.
    pub(super) async fn pass_on_all(&mut self, id: Arc<str>, output: Output) -> Result<(), End> {
        self.pass_on(&id, output).await?;
        self.crowded = true;
        for _ in 1..FRAMES_TOGETHER {
            let next = poll_fn(|cx| Poll::Ready(self.operations.poll_next(cx))).await;
            let Poll::Ready((id, output)) = next else {
                self.crowded = false;
                break;
            };
            self.pass_on(&id, output).await?;
        }
        self.flush().await
    }

    /// Writes one output. A response that failed as a whole ends its operation with `error`. A subscriber then resumes
    /// from the last cursor that it received.
    pub(super) async fn pass_on(&mut self, id: &str, output: Output) -> Result<(), End> {
        match output {
            Output::Event(Rendered::Next(json)) => self.write_text(self.protocol.next(id, &json)).await,
            Output::Event(Rendered::Failed(body)) => {
                self.operations.remove(id);
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

    /// Ends one operation with an error. The socket stays open.
    pub(super) async fn refuse(&mut self, id: &str, error: Error) -> Result<(), End> {
        let body = Body::refused(error).counted(self.server.app.metrics());
        self.send_error(id, &body).await
    }

    pub(super) async fn send_error(&mut self, id: &str, body: &Body) -> Result<(), End> {
        self.send(&ServerMessage::Error { id, payload: &body.errors }).await
    }

    pub(super) async fn send(&mut self, message: &ServerMessage<'_>) -> Result<(), End> {
        self.write(message).await?;
        self.flush().await
    }

    /// Queues a message. It is sent with the next flush, or before if the buffer is full.
    async fn write(&mut self, message: &ServerMessage<'_>) -> Result<(), End> {
        match self.protocol.write(message) {
            Some(text) => self.write_text(text).await,
            None => Ok(()),
        }
    }

    async fn write_text(&mut self, text: String) -> Result<(), End> {
        let fed = self.socket.feed(Message::Text(text.into()));
        written(fed, &self.lifetime, self.server.config.socket.socket_write_timeout).await
    }

    pub(super) async fn flush(&mut self) -> Result<(), End> {
        written(self.socket.flush(), &self.lifetime, self.server.config.socket.socket_write_timeout).await
    }
}

/// Waits until the client has room, for at most `patience`. Returns early if the session ends meanwhile.
pub(super) async fn written(
    writing: impl Future<Output = tungstenite::Result<()>>,
    lifetime: &Lifetime,
    patience: Duration,
) -> Result<(), End> {
    let mut writing = pin!(writing);
    // Most writes complete at once.
    if let Some(written) = writing.as_mut().now_or_never() {
        return written.map_err(|_| End::Gone);
    }
    tokio::select! {
        biased;
        written = timeout(patience, writing) => match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        },
        over = lifetime.over() => Err(over.into()),
    }
}
