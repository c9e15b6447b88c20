//! Makes a body with a wrong checksum fail before it ends, so that the body is not stored.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::Stream;
use s3s::dto::StreamingBlob;
use sha2::{Digest as _, Sha256};
use tokio_util::bytes::Bytes;

/// The body of an upload with a check of its SHA-256. s3s-fs would compare checksums only after it has stored the file.
pub(super) struct Verified {
    body: StreamingBlob,
    hash: Sha256,
    /// The expected SHA-256 in base64, as in the header of the request.
    expected: String,
    wrong: Arc<AtomicBool>,
}

impl Verified {
    /// Wraps `body`. Returns the body to store, and a flag that is set if the checksum is wrong.
    pub(super) fn wrap(body: StreamingBlob, expected: String) -> (StreamingBlob, Arc<AtomicBool>) {
        let wrong = Arc::new(AtomicBool::new(false));
        let body = Self { body, hash: Sha256::new(), expected, wrong: Arc::clone(&wrong) };
        (StreamingBlob::wrap(body), wrong)
    }
}

impl Stream for Verified {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_next(context)) {
            Some(Ok(piece)) => {
                self.hash.update(&piece);
                Some(Ok(piece))
            }
            Some(Err(error)) => Some(Err(io::Error::other(error))),
            None if STANDARD.encode(self.hash.clone().finalize()) == self.expected => None,
            None => {
                self.wrong.store(true, Ordering::Relaxed);
                Some(Err(io::Error::other("the SHA-256 differs from the announced one")))
            }
        })
    }
}
