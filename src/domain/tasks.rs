//! What a node does on its own, beside what it is asked.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::RETRY;

/// The tasks that run until the node stops.
pub(super) struct Tasks {
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

impl Tasks {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { stop, running: Vec::new() }
    }

    /// Begins at once, and goes on until the node stops.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.push(tokio::spawn(self.stop.clone().run_until_cancelled_owned(task).map(drop)));
    }

    /// Whether all of them run: one that has ended by a defect must not go unnoticed.
    pub(super) fn are_running(&self) -> bool {
        self.running.iter().all(|task| !task.is_finished())
    }
}

/// Waits between two looks for what is due: as long as the last one said, or where nothing is pending until there is
/// word of something, or the time has come to look all the same. `failed` is what did not come to pass where it failed.
pub(super) async fn rest<E: Debug>(
    looked: Result<Option<Duration>, E>,
    idle: Duration,
    word: impl Future<Output = ()>,
    failed: &'static str,
) {
    match looked {
        Ok(Some(wait)) => tokio::time::sleep(wait).await,
        Ok(None) => drop(tokio::time::timeout(idle, word).await),
        Err(error) => {
            warn!(?error, after = ?RETRY, "{failed}; trying again");
            tokio::time::sleep(RETRY).await;
        }
    }
}
