//! What a node knows of another node.

use tokio::time::Instant;

/// Another node.
#[derive(Default)]
pub(super) struct Peer {
    /// Number of the newest `Changes` that were received.
    pub(super) number: u64,
    /// Own heartbeats that were received since the last message of this node.
    pub(super) missed_heartbeats: u32,
    /// When the node is removed, because it shuts down.
    pub(super) remove_at: Option<Instant>,
}
