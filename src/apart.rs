//! Work in a task of its own. What a subscriber waits for is not polled while its client does not read, and would
//! keep all the while what it holds: a connection to Postgres, above all, that others wait for.

use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Waits for the work, which goes on while nobody polls this, and ends when it is dropped. Panics where the work does.
pub async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    AbortOnDropHandle::new(tokio::spawn(work)).await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// Runs work apart until it succeeds: for a stream that loses nothing because Postgres is away. The first argument says
/// what cannot be done meanwhile. A macro, because it cannot be said of a closure's future that it is Send.
macro_rules! patiently {
    ($what:expr, $work:expr) => {
        loop {
            match $crate::apart::run($work).await {
                Ok(value) => break value,
                Err(error) => tracing::warn!(?error, "{}; trying again", $what),
            }
            tokio::time::sleep($crate::error::RETRY).await;
        }
    };
}
pub(crate) use patiently;

/// A stream that runs apart, an item or two ahead. It ends when dropped.
pub struct Apart<T> {
    items: mpsc::Receiver<T>,
    task: AbortOnDropHandle<()>,
}

impl<T: Send + 'static> Apart<T> {
    /// The stream must hold nothing that others wait for when it yields.
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

impl<T> Stream for Apart<T> {
    type Item = T;

    /// Panics where the stream did.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match ready!(self.items.poll_recv(cx)) {
            Some(item) => Poll::Ready(Some(item)),
            None => poll(&mut self.task, cx).map(|()| None),
        }
    }
}

/// What the task brings. Panics where it did.
pub fn poll<T>(task: &mut AbortOnDropHandle<T>, cx: &mut Context<'_>) -> Poll<T> {
    task.poll_unpin(cx).map(|done| done.unwrap_or_else(|error| resume_unwind(error.into_panic())))
}
