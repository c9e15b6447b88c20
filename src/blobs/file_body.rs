//! The content of a file as the body of a request, in pieces.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::sleep;

/// Maximum bytes of a piece.
const PIECE: usize = 64 * 1024;
/// Time without any progress after which a transfer has failed. S3_TRANSFER_TIMEOUT is long, because it applies to the
/// largest files.
pub(super) const STALL: Duration = Duration::from_secs(20);

/// A body with the content that a file had when it was opened.
pub(super) struct FileBody {
    file: File,
    piece: Vec<u8>,
    unsent: Unsent,
}

/// The number of bytes of a body that the connection has not taken yet. Clones share the number.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsent(Arc<AtomicU64>);

impl FileBody {
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path).await?;
        let unsent = Unsent(Arc::new(AtomicU64::new(file.metadata().await?.len())));
        Ok(Self { file, piece: vec![0; PIECE], unsent })
    }

    pub(super) fn unsent(&self) -> Unsent {
        self.unsent.clone()
    }
}

impl Unsent {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns when the connection takes no bytes for STALL. Never returns after the last byte, because S3 may need
    /// more time to store the body.
    pub(super) async fn stalled(&self) {
        let mut before = self.bytes();
        loop {
            sleep(STALL).await;
            let now = self.bytes();
            if now > 0 && now == before {
                return;
            }
            before = now;
        }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let unsent = this.unsent.bytes();
        if unsent == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(unsent).unwrap_or(PIECE).min(PIECE);
        let mut buffer = ReadBuf::new(&mut this.piece[..length]);
        if let Err(error) = ready!(Pin::new(&mut this.file).poll_read(cx, &mut buffer)) {
            return Poll::Ready(Some(Err(error)));
        }
        let piece = Bytes::copy_from_slice(buffer.filled());
        if piece.is_empty() {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.unsent.0.store(unsent - piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.unsent.bytes() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.unsent.bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn content(body: &mut FileBody) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            content.extend(frame?.into_data().unwrap());
        }
        Ok(content)
    }

    #[tokio::test]
    async fn a_body_has_the_length_that_its_file_had_at_first() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(3 * PIECE + 1).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let mut body = FileBody::open(file.path()).await.unwrap();
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        std::fs::write(file.path(), [bytes.as_slice(), b"more"].concat()).unwrap();
        assert_eq!(content(&mut body).await.unwrap(), bytes);
        assert!(body.is_end_stream());
        let mut body = FileBody::open(file.path()).await.unwrap();
        std::fs::write(file.path(), b"less").unwrap();
        content(&mut body).await.expect_err("the file is shorter than announced");
    }
}
