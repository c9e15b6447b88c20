//! When the loaders load: as soon as the execution cannot go on without them, and not before.
//!
//! async-graphql's own way is to wait a millisecond for more keys: too long for one message, and too short for
//! a list whose rows take longer to resolve. Here the execution and its loads are polled together, and what the
//! execution asked for is loaded once it is stalled. A list costs as many statements as it is deep.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_graphql::runtime::Timer;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{self, FuturesUnordered, Stream};
use futures_util::task::{ArcWake, AtomicWaker, FutureObj, Spawn, SpawnError, waker_ref};
use futures_util::{FutureExt as _, StreamExt as _};

/// The loads that an execution has asked for and that have not begun.
#[derive(Clone)]
pub struct Batches {
    queued: Arc<Mutex<Vec<FutureObj<'static, ()>>>>,
    /// Loads that run at once, each with a connection to Postgres.
    at_once: usize,
}

impl Default for Batches {
    fn default() -> Self {
        Self::at_most(usize::MAX)
    }
}

/// The loads that have begun, and what tells whether the execution is stalled.
#[derive(Default)]
struct Driver {
    /// Loads of the current level that wait for their turn.
    waiting: VecDeque<FutureObj<'static, ()>>,
    running: FuturesUnordered<FutureObj<'static, ()>>,
    wakes: Arc<Wakes>,
}

/// Passes wake-ups on, and remembers that there was one: an execution that wakes itself while it is polled has
/// merely made room for others and has more to ask for.
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
    /// Runs at most `at_once` loads at the same time.
    pub fn at_most(at_once: usize) -> Self {
        Self { queued: Arc::default(), at_once }
    }

    /// Runs an execution together with its loads.
    pub async fn drive<T>(&self, execution: impl Future<Output = T>) -> T {
        let mut execution = pin!(execution);
        let mut driver = Driver::default();
        poll_fn(|cx| self.poll(cx, &mut driver, |cx| execution.poll_unpin(cx))).await
    }

    /// Runs a stream of executions together with their loads.
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
            // One level at a time: what the next one asks for is then asked for together.
            if running.is_empty() && waiting.is_empty() {
                waiting.extend(self.queued().drain(..));
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

    fn queued(&self) -> MutexGuard<'_, Vec<FutureObj<'static, ()>>> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spawn for Batches {
    fn spawn_obj(&self, load: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.queued().push(load);
        Ok(())
    }
}

/// A load begins when the execution is stalled, so that there is nothing to wait for.
#[derive(Clone, Copy, Default)]
pub(super) struct NoDelay;

impl Timer for NoDelay {
    fn delay(&self, _: Duration) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}
