//! The body of a large answer. It comes in pieces with a pause between them, so that other tasks run while the layers
//! above compress it and write it to the connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::task::yield_now;

/// Bytes between two pauses: about a millisecond of compression.
const PIECE: usize = 32 * 1024;

struct Paced {
    rest: Bytes,
    /// Before the next piece. It lets the runtime look for what arrives, which a task that merely wakes itself does not.
    pause: Option<Pause>,
}

type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A body that takes many polls if it is large.
pub(super) fn body(bytes: Vec<u8>) -> Body {
    let rest = Bytes::from(bytes);
    if rest.len() <= PIECE { Body::from(rest) } else { Body::new(Paced { rest, pause: None }) }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
        }
        self.pause = Some(Box::pin(yield_now()));
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
