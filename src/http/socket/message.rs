//! The byte stream below a WebSocket, which disconnects a client that begins a message and does not complete it.
//!
//! tungstenite keeps the frames of a message to itself until the last one is complete. So the stream follows the frames
//! as they are read: it knows whether a message is unfinished, since when, and how many bytes it holds.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::frames::Frames;
use crate::address::ClientNetwork;
use crate::http::connections::{ClientStream, Place, Reservation, Unfinished};

/// Limits of the messages of one client.
pub(super) struct MessageLimits {
    /// Maximum time from the beginning of a message to its end.
    pub(super) timeout: Duration,
    pub(super) unfinished: Unfinished,
    /// The network whose share of the memory a message uses.
    pub(super) network: Option<ClientNetwork>,
}

/// Why the server no longer waits for a message. It is the source of an `io::Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cut {
    #[error("the message was not complete in time")]
    TimedOut,
    #[error("there is no memory for the message")]
    NoRoom,
}

/// The TCP connection of a WebSocket.
pub(super) struct Messages {
    tcp: TcpStream,
    frames: Frames,
    limits: MessageLimits,
    /// Set only while the stream waits for the rest of a message.
    wait: Option<Box<Wait>>,
    _place: Place,
}

struct Wait {
    /// The message that the stream waits for.
    message: u64,
    timeout: Pin<Box<Sleep>>,
    reservation: Reservation,
}

impl Messages {
    /// `early` has the frames of the client that were read before the connection became a WebSocket.
    pub(super) fn new(stream: ClientStream, early: &[u8], limits: MessageLimits) -> Self {
        let (tcp, place) = stream.into_parts();
        let mut frames = Frames::default();
        frames.advance(early);
        Self { tcp, frames, limits, wait: None, _place: place }
    }

    /// Waits for the rest of an unfinished message, after everything that has arrived was read.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (message, limits) = (self.frames.messages(), &self.limits);
        let wait = self.wait.get_or_insert_with(|| {
            let timeout = Box::pin(sleep_until(Instant::now() + limits.timeout));
            Box::new(Wait { message, timeout, reservation: limits.unfinished.of(limits.network) })
        });
        if wait.message != message {
            wait.message = message;
            wait.timeout.as_mut().reset(Instant::now() + limits.timeout);
        }
        if wait.reservation.grow_to(self.frames.held()).is_err() {
            return Poll::Ready(Err(io::Error::other(Cut::NoRoom)));
        }
        wait.timeout.as_mut().poll(cx).map(|()| Err(io::Error::other(Cut::TimedOut)))
    }
}

impl AsyncRead for Messages {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.tcp).poll_read(cx, buf) {
            Poll::Pending if self.frames.is_unfinished() => self.poll_rest(cx),
            Poll::Pending => Poll::Pending,
            Poll::Ready(done) => {
                done?;
                self.frames.advance(&buf.filled()[before..]);
                if !self.frames.is_unfinished() {
                    self.wait = None;
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Messages {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}
