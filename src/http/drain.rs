//! The steps of a shutdown.

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Signals the steps of a shutdown to all connections. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Drain {
    begun: CancellationToken,
    closing: CancellationToken,
    expired: CancellationToken,
    abandoned: CancellationToken,
    sockets: TaskTracker,
}

impl Drain {
    /// Begins the drain. From now on the server reports that it is not ready, and accepts no new sockets.
    pub(super) fn begin(&self) {
        self.begun.cancel();
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Closes the node. From now on no connection is accepted, and sockets close when their requests are done.
    pub(super) fn close(&self) {
        self.closing.cancel();
        self.sockets.close();
    }

    pub(super) fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        self.closing.clone().cancelled_owned()
    }

    /// Ends all sockets and subscriptions, even if their requests are still in flight.
    pub(super) fn expire(&self) {
        self.expired.cancel();
    }

    pub(super) fn expired(&self) -> impl Future<Output = ()> + Send + use<> {
        self.expired.clone().cancelled_owned()
    }

    /// Waits until every connection must be dropped, whatever its state.
    pub(super) fn abandoned(&self) -> impl Future<Output = ()> + Send + use<> {
        self.abandoned.clone().cancelled_owned()
    }

    /// Returns a guard. All connections are abandoned when the guard is dropped.
    pub(super) fn abandon_on_drop(&self) -> DropGuard {
        self.abandoned.clone().drop_guard()
    }

    /// Counts an open socket until the token is dropped.
    pub(super) fn track(&self) -> TaskTrackerToken {
        self.sockets.token()
    }

    pub(super) async fn sockets_closed(&self) {
        self.sockets.wait().await;
    }
}
