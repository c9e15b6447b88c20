//! Runs work in a task of its own. A subscriber is not polled while its client does not read. Work in the subscriber's
//! own task would meanwhile hold what others wait for, such as a connection to Postgres.

use std::fmt::Debug;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::error::RETRY_DELAY;

/// Runs work in a task and returns its result. The work continues while the returned future is not polled, and ends
/// when the future is dropped. Panics if the work panics.
pub async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    AbortOnDropHandle::new(tokio::spawn(work)).await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// Runs work in a task and retries until it succeeds, so that a stream loses nothing while Postgres is unavailable.
/// `failed` is the text of the log line.
pub async fn retry<T, E, F>(failed: &str, work: impl Fn() -> F) -> T
where
    T: Send + 'static,
    E: Debug + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    loop {
        match run(work()).await {
            Ok(value) => return value,
            Err(error) => tracing::warn!(?error, "{failed}; trying again"),
        }
        sleep(RETRY_DELAY).await;
    }
}

/// A stream that runs in a task of its own, one or two items ahead. The task ends when this is dropped.
pub struct Spawned<T> {
    items: mpsc::Receiver<T>,
    task: AbortOnDropHandle<()>,
}

impl<T: Send + 'static> Spawned<T> {
    /// The stream must not hold anything that others wait for when it yields an item.
    pub fn new(stream: impl Stream<Item = T> + Send + 'static) -> Self {
        let (sender, items) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let mut stream = pin!(stream);
            while let Some(item) = stream.next().await {
                if sender.send(item).await.is_err() {
                    return;
                }
            }
        });
        Self { items, task: AbortOnDropHandle::new(task) }
    }
}

impl<T> Stream for Spawned<T> {
    type Item = T;

    /// Panics if the stream panicked.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match ready!(self.items.poll_recv(cx)) {
            Some(item) => Poll::Ready(Some(item)),
            None => poll(&mut self.task, cx).map(|()| None),
        }
    }
}

/// Polls a task for its result. Panics if the task panicked.
pub fn poll<T>(task: &mut AbortOnDropHandle<T>, cx: &mut Context<'_>) -> Poll<T> {
    task.poll_unpin(cx).map(|done| done.unwrap_or_else(|error| resume_unwind(error.into_panic())))
}
