//! The background tasks of a node.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::RETRY_DELAY;

/// Tasks that run until the node stops.
pub(super) struct Tasks {
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

impl Tasks {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { stop, running: Vec::new() }
    }

    /// Starts the task. The task is cancelled when the node stops.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.push(tokio::spawn(self.stop.clone().run_until_cancelled_owned(task).map(drop)));
    }

    /// Whether all tasks still run. If a bug has ended a task, the node is not ready.
    pub(super) fn are_running(&self) -> bool {
        self.running.iter().all(|task| !task.is_finished())
    }
}

/// Poll interval of a task without pending work, in poll intervals of the tail. The log reports new work; such a poll
/// finds work whose publication was lost.
pub(super) const IDLE_TAIL_POLLS: u32 = 10;

/// Waits until the next poll for due work. `polled` is the result of the last poll: the time until the next work is
/// due, or None if no work is pending. If no work is pending, waits until `wake` completes, but at most for `idle`.
/// After an error, logs `failed` and waits for `RETRY_DELAY`.
pub(super) async fn wait_for_next_poll<E: Debug>(
    polled: Result<Option<Duration>, E>,
    idle: Duration,
    wake: impl Future<Output = ()>,
    failed: &'static str,
) {
    match polled {
        Ok(Some(wait)) => tokio::time::sleep(wait).await,
        Ok(None) => drop(tokio::time::timeout(idle, wake).await),
        Err(error) => {
            warn!(?error, after = ?RETRY_DELAY, "{failed}; trying again");
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}
