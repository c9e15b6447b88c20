//! Disconnects a client that begins a message and does not complete it.
//!
//! tungstenite keeps the frames of a message to itself until the last frame is complete. So an observer follows the
//! frames as they are read. It knows whether a message is unfinished, since when, and how many bytes the message holds.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;

use super::frames::Frames;
use crate::address::ClientNetwork;
use crate::http::connections::{ClientStream, Observer, Reservation, Unfinished};

/// Limits of the messages of one client.
pub(super) struct MessageLimits {
    /// Maximum time from the beginning of a message to its end.
    pub(super) timeout: Duration,
    pub(super) unfinished: Unfinished,
    /// The network whose share of the memory a message uses. None if the limits by address do not apply.
    pub(super) network: Option<ClientNetwork>,
}

/// Why the server no longer waits for a message. Wrapped in an `io::Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("the message was not complete in time")]
    TimedOut,
    #[error("there is no memory for the message")]
    OutOfMemory,
}

/// A WebSocket of a client, directly over its TCP connection.
pub(super) type WebSocket = WebSocketStream<ClientStream<MessageObserver>>;

/// Follows the frames that a client sends, and limits unfinished messages.
pub(super) struct MessageObserver {
    frames: Frames,
    limits: MessageLimits,
    /// The wait for the rest of an unfinished message. None if the server does not wait.
    wait: Option<Box<Wait>>,
}

struct Wait {
    /// Number of the message that the server waits for, from [`Frames::ended`].
    message: u64,
    timeout: Pin<Box<Sleep>>,
    reservation: Reservation,
}

impl MessageObserver {
    /// Creates an observer. `early` has the bytes of frames that were read before the connection became a WebSocket.
    pub(super) fn new(early: &[u8], limits: MessageLimits) -> Self {
        let mut frames = Frames::default();
        frames.advance(early);
        Self { frames, limits, wait: None }
    }

    /// Waits for the rest of an unfinished message. Ready with an error if the message takes too long, or if there is
    /// no memory for it.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let (message, limits) = (self.frames.ended(), &self.limits);
        let wait = self.wait.get_or_insert_with(|| {
            let timeout = Box::pin(sleep_until(Instant::now() + limits.timeout));
            Box::new(Wait { message, timeout, reservation: limits.unfinished.reservation(limits.network) })
        });
        if wait.message != message {
            wait.message = message;
            wait.timeout.as_mut().reset(Instant::now() + limits.timeout);
        }
        if wait.reservation.grow_to(self.frames.unfinished_bytes()).is_err() {
            return Poll::Ready(io::Error::other(MessageError::OutOfMemory));
        }
        wait.timeout.as_mut().poll(cx).map(|()| io::Error::other(MessageError::TimedOut))
    }
}

impl Observer for MessageObserver {
    fn bytes_read(&mut self, bytes: &[u8]) {
        self.frames.advance(bytes);
        if !self.frames.is_unfinished() {
            self.wait = None;
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.frames.is_unfinished() { self.poll_rest(cx) } else { Poll::Pending }
    }
}
