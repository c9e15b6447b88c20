//! Limits the processor time that rendering for single viewers takes: few tasks run at once, and each task yields to
//! the runtime after a slice of time.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

/// Length of a time slice. When the slice is over, the current poll of the task begins no other part.
const SLICE: Duration = Duration::from_millis(1);

/// Limits how many tasks are polled at the same time. The tasks get their turns in the order in which they ask. Clones
/// share the limit.
#[derive(Clone)]
pub(super) struct Gate(PollSemaphore);

impl Gate {
    pub(super) fn new(max_concurrent: usize) -> Self {
        Self(PollSemaphore::new(Arc::new(Semaphore::new(max_concurrent))))
    }

    /// Wraps a stream, so that each poll of the stream waits for its turn.
    pub(super) fn stream<T>(mut self, items: impl Stream<Item = T> + Send + 'static) -> impl Stream<Item = T> + Send {
        let mut items = items.boxed();
        stream::poll_fn(move |cx| self.poll(cx, |cx| items.poll_next_unpin(cx)))
    }

    fn poll<T>(&mut self, cx: &mut Context<'_>, work: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let _permit = ready!(self.0.poll_acquire(cx));
        work(cx)
    }
}

/// The current time slice of one task: the time that a poll of the task may take until the task yields. Clones share
/// the slice.
#[derive(Clone, Default)]
pub(super) struct TimeSlice(Arc<Mutex<Option<Instant>>>);

impl TimeSlice {
    /// Runs the task. Each poll of the task waits for its turn at the gate, and begins a slice.
    pub(super) async fn run_task<T>(&self, mut gate: Gate, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            gate.poll(cx, |cx| {
                *self.0.lock() = Some(Instant::now());
                work.as_mut().poll(cx)
            })
        })
        .await
    }

    /// Runs one part of the task. When the current slice is over, the part waits for the next slice. The part ends
    /// early if `is_abandoned` returns true.
    pub(super) async fn run_part(&self, is_abandoned: impl Fn() -> bool, work: impl Future<Output = ()>) {
        let mut work = Box::pin(work);
        poll_fn(|cx| {
            if is_abandoned() {
                return Poll::Ready(());
            }
            if self.is_over() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            work.poll_unpin(cx)
        })
        .await;
    }

    fn is_over(&self) -> bool {
        self.0.lock().is_some_and(|began| began.elapsed() >= SLICE)
    }
}
