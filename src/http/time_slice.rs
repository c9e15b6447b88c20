//! Many futures in one task that yields to the runtime after each slice of time.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use std::future::poll_fn;
use tokio::time::Instant;

/// The time after which a poll of the task begins no other part.
const SLICE: Duration = Duration::from_millis(1);

/// The time that one task may take until it yields.
#[derive(Clone, Default)]
pub(super) struct TimeSlice(Arc<Mutex<Option<Instant>>>);

impl TimeSlice {
    /// Wraps the task. Each poll of it begins a slice.
    pub(super) async fn whole<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            *self.lock() = Some(Instant::now());
            work.as_mut().poll(cx)
        })
        .await
    }

    /// Wraps one part of the task, which waits for the next slice when the present one is over. Ends early if `is_abandoned`
    /// returns true.
    pub(super) async fn part(&self, is_abandoned: impl Fn() -> bool, work: impl Future<Output = ()>) {
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
        self.lock().is_some_and(|began| began.elapsed() >= SLICE)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
