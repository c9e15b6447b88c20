//! What a node does on its own, beside what it is asked.

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

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
