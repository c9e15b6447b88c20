//! Batches the queries of the loaders: they start when the execution cannot continue without their results.
//!
//! async-graphql waits a millisecond for more keys by default. That is too long for a single message, and too short for
//! a list whose rows take longer to resolve. Here one task polls the execution together with its loads, and starts the
//! queued loads when the execution is stalled. Loading a list therefore takes one statement for each kind of row at
//! each level of nesting.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_graphql::runtime::Timer;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{self, FuturesUnordered, Stream};
use futures_util::task::{ArcWake, AtomicWaker, FutureObj, Spawn, SpawnError, waker_ref};
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;

/// Queue of the loads that an execution has requested and that have not started.
#[derive(Clone)]
pub struct Batches {
    queued: Arc<Mutex<Vec<FutureObj<'static, ()>>>>,
    /// Maximum number of loads in flight. Each load uses one connection to Postgres.
    at_once: usize,
}

impl Default for Batches {
    fn default() -> Self {
        Self::at_most(usize::MAX)
    }
}

/// State of one execution that is driven: the loads that were taken from the queue, and the wake-ups.
#[derive(Default)]
struct Driver {
    /// Loads of the current level that have not started.
    waiting: VecDeque<FutureObj<'static, ()>>,
    running: FuturesUnordered<FutureObj<'static, ()>>,
    wakes: Arc<Wakes>,
}

/// Waker of an execution: passes each wake-up on to the task, and records that it happened. An execution that wakes
/// itself while it is polled has only yielded to other tasks. It is not stalled and will request more loads.
#[derive(Default)]
struct Wakes {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl ArcWake for Wakes {
    fn wake_by_ref(this: &Arc<Self>) {
        this.woken.store(true, Ordering::SeqCst);
        this.task.wake();
    }
}

impl Batches {
    /// Makes an empty queue. At most `at_once` of its loads run at the same time.
    pub fn at_most(at_once: usize) -> Self {
        Self { queued: Arc::default(), at_once }
    }

    /// Polls an execution together with its loads.
    pub async fn drive<T>(&self, execution: impl Future<Output = T>) -> T {
        let mut execution = pin!(execution);
        let mut driver = Driver::default();
        poll_fn(|cx| self.poll(cx, &mut driver, |cx| execution.poll_unpin(cx))).await
    }

    /// Polls a stream of executions together with their loads.
    pub fn drive_stream<T>(self, executions: impl Stream<Item = T> + Send + 'static) -> impl Stream<Item = T> + Send {
        let mut executions = executions.boxed();
        let mut driver = Driver::default();
        stream::poll_fn(move |cx| self.poll(cx, &mut driver, |cx| executions.poll_next_unpin(cx)))
    }

    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        driver: &mut Driver,
        mut execution: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Driver { waiting, running, wakes } = driver;
        wakes.task.register(cx.waker());
        let waker = waker_ref(wakes);
        loop {
            wakes.woken.store(false, Ordering::SeqCst);
            if let Poll::Ready(value) = execution(&mut Context::from_waker(&waker)) {
                return Poll::Ready(value);
            }
            if wakes.woken.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
            // Takes the loads of the next level only when all loads of the current level are done, so that each level
            // is one batch.
            if running.is_empty() && waiting.is_empty() {
                waiting.extend(self.queued.lock().drain(..));
            }
            let mut loaded = false;
            loop {
                while running.len() < self.at_once
                    && let Some(load) = waiting.pop_front()
                {
                    running.push(load);
                }
                let Poll::Ready(Some(())) = running.poll_next_unpin(cx) else { break };
                loaded = true;
            }
            if !loaded {
                return Poll::Pending;
            }
        }
    }
}

impl Spawn for Batches {
    fn spawn_obj(&self, load: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.queued.lock().push(load);
        Ok(())
    }
}

/// Timer without a delay, for the data loader. `Batches` decides when the loads start.
#[derive(Clone, Copy, Default)]
pub(super) struct NoDelay;

impl Timer for NoDelay {
    fn delay(&self, _: Duration) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}
