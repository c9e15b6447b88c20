//! Threads for what takes longer than a thread of the runtime may be busy: large requests, and operations that may be
//! costly. A few run at the same time, and the addresses of clients are served in turn.
//!
//! A poll that takes long holds up every other task of its thread: a message of another user, a heartbeat, a timer. The
//! bounds below keep polls on the runtime short; `tests/api/polls` measures how short.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::address::ClientNetwork;
use crate::config::Operations;
use crate::fair::{Bounds, Gone, Pool, Refusal};
use crate::graphql::{Error, ErrorCode};

/// Bytes of JSON that are read on the runtime. An estimate: half a millisecond for the form that takes longest.
pub(super) const SMALL_INPUT: usize = 16 * 1024;

/// Bytes of a document that are parsed and validated on the runtime, unless it is known. An estimate: a millisecond.
pub(super) const SMALL_DOCUMENT: usize = 2 * 1024;

/// Fields of an operation, as OPERATION_MAX_COMPLEXITY counts them, that are executed on the runtime. An
/// estimate: a few milliseconds. A page of 50 messages with 15 fields each has about 800. A row that is written counts
/// as one.
pub(super) const SMALL_WORK: u64 = 1000;

/// Bytes of an answer that are written as JSON on the runtime. An estimate: a millisecond.
pub(super) const SMALL_ANSWER: usize = 128 * 1024;

/// Time after which a client whose share is used up may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Number of threads on a machine with one processor.
const MIN_THREADS: usize = 2;

#[derive(Clone)]
pub(super) struct Threads {
    pool: Pool<ClientNetwork>,
}

impl Threads {
    pub(super) fn new(settings: &Operations) -> Self {
        let processors = available_parallelism().map_or(MIN_THREADS, NonZeroUsize::get);
        Self {
            pool: Pool::new(Bounds {
                workers: settings.operation_threads.unwrap_or_else(|| processors.max(MIN_THREADS)),
                queue: settings.operation_queue,
                share: settings.operation_queue_share,
            }),
        }
    }

    /// Runs work that may take long, on a thread that may block. Panics where the work does.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        network: Option<ClientNetwork>,
        gone: &Gone,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.pool.permit(network, gone).await.map_err(refused)?;
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match task.await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => Err(Error::new(ErrorCode::Unavailable, "The server stops. Try again in a moment.")),
        }
    }

    /// Runs a future whose polls may take long, on a thread that may block.
    pub(super) async fn drive<T: Send + 'static>(
        &self,
        network: Option<ClientNetwork>,
        gone: &Gone,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Error> {
        self.run(network, gone, move || Handle::current().block_on(work)).await
    }
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::QueueFull => {
            Error::new(ErrorCode::Unavailable, "Too many large requests wait. Try again in a moment.")
        }
        Refusal::ShareFull => Error::limited(
            "OPERATION_QUEUE_SHARE",
            RETRY_AFTER,
            "Too many large requests from your address wait. Try again in a moment.",
        ),
        Refusal::Gone => Error::new(ErrorCode::Unavailable, "The client disconnected before its request was read."),
    }
}
