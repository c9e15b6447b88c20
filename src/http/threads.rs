//! Threads for work that would keep a thread of the runtime busy for too long: large requests and costly operations.
//! Few jobs run at the same time, and the clients are served in turn.
//!
//! While one `poll` of a future runs, all other tasks of its thread wait: a message of another user, a heartbeat, a
//! timer. The constants below keep polls on the threads of the runtime short, and `tests/api/polls` measures how long
//! they take.

use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread::available_parallelism;
use std::time::Duration;

use futures_util::task::{ArcWake, AtomicWaker, waker};
use tokio::task::{JoinError, spawn_blocking};

use crate::config::{OPERATION_QUEUE, OPERATION_QUEUE_SHARE};
use crate::fair::{Bounds, Gone, Pool, Refusal};
use crate::graphql::{Error, ErrorCode};
use crate::limiter::Key;

/// Maximum bytes of JSON that are parsed on a thread of the runtime. Estimated time: half a millisecond for the slowest
/// JSON.
pub(super) const SMALL_INPUT: usize = 16 * 1024;

/// Maximum bytes of a new document that is parsed and validated on a thread of the runtime. Estimated time: a
/// millisecond.
pub(super) const SMALL_DOCUMENT: usize = 1024;

/// Maximum number of fields, as OPERATION_MAX_COMPLEXITY counts them, of an operation that is executed on a thread of
/// the runtime. Estimated time: a few milliseconds. A page of 50 messages with 15 fields each has about 800 fields. A
/// row that is written counts as one field.
pub(super) const SMALL_WORK: u64 = 1000;

/// Maximum bytes of a response that is encoded as JSON on a thread of the runtime. Estimated time: a millisecond.
pub(super) const SMALL_ANSWER: usize = 128 * 1024;

/// Time after which a client whose share is used up may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Minimum number of threads, for a machine with one processor.
const MIN_THREADS: usize = 2;

#[derive(Clone)]
pub(super) struct Threads {
    pool: Pool<Key>,
}

impl Threads {
    pub(super) fn new() -> Self {
        let processors = available_parallelism().map_or(MIN_THREADS, NonZeroUsize::get);
        Self {
            pool: Pool::new(Bounds {
                workers: processors.max(MIN_THREADS),
                queue: OPERATION_QUEUE,
                share: OPERATION_QUEUE_SHARE,
            }),
        }
    }

    /// Runs work that may take long, on a thread that may block. Fails if the pool refuses the work. Panics if the work
    /// panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        key: Option<Key>,
        gone: &Gone,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.pool.permit(key, gone).await.map_err(refused)?;
        let task = spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done(task.await)
    }

    /// Runs a future whose polls may take long. Each poll is a job of the pool, so the future holds no thread while it
    /// waits for Postgres or for another pool. Only the first poll can be refused.
    pub(super) async fn drive<T: Send + 'static>(
        &self,
        key: Option<Key>,
        gone: &Gone,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Error> {
        let mut work = Box::pin(work);
        let mut permit = self.pool.permit(key, gone).await.map_err(refused)?;
        let wakes = Arc::new(Wakes::default());
        loop {
            let notify = waker(Arc::clone(&wakes));
            wakes.woken.store(false, Ordering::SeqCst);
            let task = spawn_blocking(move || {
                let _permit = permit;
                let poll = work.as_mut().poll(&mut Context::from_waker(&notify));
                (work, poll)
            });
            let poll;
            (work, poll) = done(task.await)?;
            if let Poll::Ready(value) = poll {
                return Ok(value);
            }
            wakes.woken().await;
            permit = self.pool.turn(key).await;
        }
    }
}

/// Records that a future must be polled again, even while another thread is still polling it.
#[derive(Default)]
struct Wakes {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wakes {
    async fn woken(&self) {
        poll_fn(|cx| {
            self.task.register(cx.waker());
            if self.woken.swap(false, Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl ArcWake for Wakes {
    fn wake_by_ref(this: &Arc<Self>) {
        this.woken.store(true, Ordering::SeqCst);
        this.task.wake();
    }
}

/// Returns the result of a job. Panics if the job panicked.
fn done<T>(job: Result<T, JoinError>) -> Result<T, Error> {
    match job {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(_) => Err(Error::new(ErrorCode::Unavailable, "The server stops. Try again in a moment.")),
    }
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::QueueFull => {
            Error::new(ErrorCode::Unavailable, "Too many large requests wait. Try again in a moment.")
        }
        Refusal::ShareFull => {
            Error::limited("OPERATION_QUEUE_SHARE", RETRY_AFTER, "Too many of your large requests wait.")
        }
        Refusal::Gone => {
            Error::new(ErrorCode::Unavailable, "The client disconnected before its request was read. Send it again.")
        }
    }
}
