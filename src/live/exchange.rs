//! How what does not outlive the moment travels from the node it happens on to the others.

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::ids::{ConversationId, UserId};

/// Publications that may wait in a subscription before the sender must.
const INCOMING_QUEUE: usize = 1024;
/// Publications the memory exchange keeps for its slowest subscriber.
const MEMORY_QUEUE: usize = 4096;

/// One run of one node: who starts again is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publication {
    pub from: NodeId,
    /// How many `Changes` the node has published, with this. Who misses one asks for all.
    pub number: u64,
    pub body: Body,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Body {
    /// The node is there.
    Alive,
    /// The node would know what there is on the receiver's.
    Ask,
    Changes(Vec<Change>),
    /// All that there is on the node, in the place of what was known of it.
    All(Facts),
    /// The node goes down. Its users have the time of a reconnect.
    Leaving,
}

/// What a node tells of the users that are connected to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Present {
        user: UserId,
        activity: Activity,
    },
    Absent {
        user: UserId,
        seen: DateTime<Utc>,
    },
    /// Of the user on whichever node.
    Activity {
        user: UserId,
        activity: Activity,
    },
    Entered {
        conversation: ConversationId,
        user: UserId,
    },
    Left {
        conversation: ConversationId,
        user: UserId,
    },
    /// It lapses on each node by itself.
    Typing {
        conversation: ConversationId,
        user: UserId,
        typing: bool,
    },
}

/// Whether a user who is there is away. The newest word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Activity {
    /// Milliseconds since 1970.
    pub at: i64,
    pub away: bool,
}

/// What there is on one node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Facts {
    pub present: Vec<(UserId, Activity)>,
    pub rooms: Vec<(ConversationId, UserId)>,
}

/// To whom a publication goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Everybody,
    Node(NodeId),
}

/// The way between nodes. It may lose: the nodes count what they hear, and ask for what they have missed.
pub trait Exchange: Send + Sync {
    fn publish<'a>(&'a self, to: To, publication: &'a Publication) -> BoxFuture<'a, Result<()>>;

    /// What any node publishes to everybody or to `node` from now on, its own included, until `stop` is cancelled.
    fn subscribe(&self, node: NodeId, stop: CancellationToken) -> mpsc::Receiver<Incoming>;
}

/// What a subscription brings.
#[derive(Debug)]
pub enum Incoming {
    Published(Publication),
    /// It stands, from now on; what came before is unknown.
    Connected,
}

/// Within one process.
pub struct MemoryExchange {
    sender: broadcast::Sender<(To, Publication)>,
}

impl Default for MemoryExchange {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(MEMORY_QUEUE) }
    }
}

impl Exchange for MemoryExchange {
    fn publish<'a>(&'a self, to: To, publication: &'a Publication) -> BoxFuture<'a, Result<()>> {
        // It fails only where nobody listens.
        let _ = self.sender.send((to, publication.clone()));
        Box::pin(async { Ok(()) })
    }

    fn subscribe(&self, node: NodeId, stop: CancellationToken) -> mpsc::Receiver<Incoming> {
        let mut receiver = self.sender.subscribe();
        let (sender, incoming) = channel();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let mut next = Incoming::Connected;
            loop {
                if sender.send(next).await.is_err() {
                    return;
                }
                next = loop {
                    match receiver.recv().await {
                        Ok((To::Everybody, publication)) => break Incoming::Published(publication),
                        Ok((To::Node(to), publication)) if to == node => break Incoming::Published(publication),
                        Ok(_) => {}
                        Err(broadcast::error::RecvError::Lagged(_)) => break Incoming::Connected,
                        Err(broadcast::error::RecvError::Closed) => return,
                    }
                };
            }
        }));
        incoming
    }
}

pub(super) fn channel() -> (mpsc::Sender<Incoming>, mpsc::Receiver<Incoming>) {
    mpsc::channel(INCOMING_QUEUE)
}
