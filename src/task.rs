//! Runs work in a separate task. The stream of a subscription is not polled while its client does not read. Work inside
//! the stream would meanwhile hold resources that other tasks wait for, such as a connection to Postgres.

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

/// Runs work in a task, and retries until the work succeeds, so that a stream loses no event while Postgres is
/// unavailable. `failed` is the text that is logged after each failure.
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

/// A stream that runs in a separate task, which produces one or two items in advance. The task ends when this value is
/// dropped.
pub struct Spawned<T> {
    items: mpsc::Receiver<T>,
    task: AbortOnDropHandle<()>,
}

impl<T: Send + 'static> Spawned<T> {
    /// Starts the task. When `stream` yields an item, it must not hold a resource that other tasks wait for, because
    /// the task then waits until the item is taken.
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

    /// Returns the next item. Panics if the stream panicked.
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
