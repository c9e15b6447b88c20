//! The body of a large response. A separate task cuts the body into chunks, so that other tasks run while the layers
//! above compress the body and write it to the connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// Maximum bytes of a chunk. With brotli, the slowest compression, a poll takes up to 18 ms in an unoptimised build.
const PIECE: usize = 32 * 1024;

/// A body whose chunks come from a channel. Returning Pending between chunks would not be enough: the compressor would
/// pass on what it has, and hyper would poll it again at once. With a channel, the next chunk exists only after the
/// task that cuts the body has run.
struct Paced {
    pieces: mpsc::Receiver<Bytes>,
    bytes_left: usize,
}

/// Returns a body with these bytes. If the body is large, it yields the bytes in chunks.
pub(super) fn body(bytes: Vec<u8>) -> Body {
    let mut rest = Bytes::from(bytes);
    if rest.len() <= PIECE {
        return Body::from(rest);
    }
    let bytes_left = rest.len();
    let (sender, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        while !rest.is_empty() && sender.send(rest.split_to(PIECE.min(rest.len()))).await.is_ok() {}
    });
    Body::new(Paced { pieces, bytes_left })
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(piece) = ready!(self.pieces.poll_recv(cx)) else { return Poll::Ready(None) };
        self.bytes_left = self.bytes_left.saturating_sub(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left as u64)
    }
}
