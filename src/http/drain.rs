//! The order in which a server goes down.

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

#[derive(Clone, Default)]
pub(super) struct Drain {
    begun: CancellationToken,
    closing: CancellationToken,
    expired: CancellationToken,
    abandoned: CancellationToken,
    sockets: TaskTracker,
}

impl Drain {
    /// From here on the server is not ready and takes no new sockets.
    pub(super) fn begin(&self) {
        self.begun.cancel();
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// From here on no connection is accepted, and sockets close as soon as their requests are done.
    pub(super) fn close(&self) {
        self.closing.cancel();
        self.sockets.close();
    }

    pub(super) fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        self.closing.clone().cancelled_owned()
    }

    /// The time is up: what is still in flight is left behind.
    pub(super) fn expire(&self) {
        self.expired.cancel();
    }

    pub(super) fn expired(&self) -> impl Future<Output = ()> + Send + use<> {
        self.expired.clone().cancelled_owned()
    }

    /// Ready when every connection must be dropped, in whatever state it is.
    pub(super) fn abandoned(&self) -> impl Future<Output = ()> + Send + use<> {
        self.abandoned.clone().cancelled_owned()
    }

    /// Abandons the connections once it is dropped.
    pub(super) fn abandon_on_drop(&self) -> DropGuard {
        self.abandoned.clone().drop_guard()
    }

    /// Counts a socket's session until that is dropped.
    pub(super) fn track(&self) -> TaskTrackerToken {
        self.sockets.token()
    }

    pub(super) async fn sockets_closed(&self) {
        self.sockets.wait().await;
    }
}
