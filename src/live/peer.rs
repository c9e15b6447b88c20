//! State that a node keeps about another node.

use tokio::time::Instant;

/// State of another node (the peer).
#[derive(Default)]
pub(super) struct Peer {
    /// The `NodeMessage::number` of the last message from the peer.
    pub(super) number: u64,
    /// Number of this node's own heartbeats that it has received back since the last message from the peer.
    pub(super) missed_heartbeats: u32,
    /// Time at which the peer is removed, if it has announced that it shuts down.
    pub(super) remove_at: Option<Instant>,
}
