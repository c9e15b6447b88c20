//! The exchange, which carries live state from the node on which it changes to the other nodes.

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::ids::{ConversationId, SessionId, UserId};

/// Maximum number of messages that wait in a subscription. While the queue is full, the sender waits.
const INCOMING_QUEUE: usize = 1024;
/// Maximum number of messages that the memory exchange keeps for its slowest subscriber.
const MEMORY_QUEUE: usize = 4096;

/// Identifies one run of one node. A node that restarts gets another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// A message from one node to other nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeMessage {
    pub from: NodeId,
    /// Number of `Changes` messages that the node has published, up to and including this message. A receiver that has
    /// missed such a message asks for all facts of the node.
    pub number: u64,
    pub body: Body,
    /// Changes of devices, which belong to a `Changes` message. They are a separate member, because nodes of the former
    /// version ignore an unknown member, but cannot read a list with an unknown change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceChange>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Body {
    /// A heartbeat.
    Alive,
    /// The node asks the receivers for all their facts.
    Ask,
    Changes(Vec<LiveChange>),
    /// All facts of the node. They replace the facts that the receiver knew about the node.
    All(NodeFacts),
    /// The node shuts down. Its users have PRESENCE_GRACE to reconnect.
    Leaving,
}

/// A change that a node publishes about the users who are connected to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LiveChange {
    Present {
        user: UserId,
        activity: Activity,
    },
    Absent {
        user: UserId,
        seen: DateTime<Utc>,
    },
    /// Applies to the user on every node to which the user is connected.
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
    /// The user is typing or has stopped. Without a further message, each node ends the typing after TYPING_TIMEOUT.
    Typing {
        conversation: ConversationId,
        user: UserId,
        typing: bool,
    },
    /// Published in `NodeMessage::devices`.
    #[serde(skip)]
    Device(DeviceChange),
}

/// A change of a device: a session that has a connection to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceChange {
    pub user: UserId,
    pub session: SessionId,
    pub state: DeviceState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceState {
    /// The device has a connection to the node.
    Connected(Activity),
    /// The device has no connection to the node.
    Disconnected,
    /// Applies to the device on every node to which the device is connected. AWAY means that its page is hidden.
    Active(Activity),
}

/// Whether a connected user or device is ONLINE or AWAY. The newest value replaces older values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Activity {
    /// Time of the change, as Unix time in milliseconds.
    pub at: i64,
    pub away: bool,
}

/// The users and devices that are connected to one node, and the conversations that these users have open on this node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeFacts {
    pub present: Vec<(UserId, Activity)>,
    pub rooms: Vec<(ConversationId, UserId)>,
    /// Empty if the node is of the former version.
    #[serde(default)]
    pub devices: Vec<(UserId, SessionId, Activity)>,
}

/// The receivers of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    AllNodes,
    Node(NodeId),
}

/// The connection between nodes. An exchange can lose messages: a receiver notices a missing number, and asks the
/// sender for all facts.
pub trait Exchange: Send + Sync {
    fn publish<'a>(&'a self, to: Target, message: &'a NodeMessage) -> BoxFuture<'a, Result<()>>;

    /// Subscribes to the messages that any node, including this node, publishes to all nodes or to `node`. The
    /// subscription ends when `stop` is cancelled.
    fn subscribe(&self, node: NodeId, stop: CancellationToken) -> mpsc::Receiver<Incoming>;
}

/// An item of a subscription.
#[derive(Debug)]
pub enum Incoming {
    Message(NodeMessage),
    /// The subscription is established. Earlier messages might have been lost.
    Connected,
}

/// An exchange within one process.
pub struct MemoryExchange {
    sender: broadcast::Sender<(Target, NodeMessage)>,
}

impl Default for MemoryExchange {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(MEMORY_QUEUE) }
    }
}

impl Exchange for MemoryExchange {
    fn publish<'a>(&'a self, to: Target, message: &'a NodeMessage) -> BoxFuture<'a, Result<()>> {
        // The send fails only if no node has subscribed.
        let _ = self.sender.send((to, message.clone()));
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
                        Ok((Target::AllNodes, message)) => break Incoming::Message(message),
                        Ok((Target::Node(to), message)) if to == node => break Incoming::Message(message),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as nodes of the former version read and write it.
    #[derive(Serialize, Deserialize)]
    struct Former {
        from: NodeId,
        number: u64,
        body: FormerBody,
    }

    #[derive(Serialize, Deserialize)]
    enum FormerBody {
        Changes(Vec<LiveChange>),
        All(FormerFacts),
    }

    #[derive(Serialize, Deserialize)]
    struct FormerFacts {
        present: Vec<(UserId, Activity)>,
        rooms: Vec<(ConversationId, UserId)>,
    }

    fn read<T: serde::de::DeserializeOwned>(message: &impl Serialize) -> T {
        serde_json::from_str(&serde_json::to_string(message).unwrap()).unwrap()
    }

    #[test]
    fn nodes_of_the_former_version_ignore_changes_of_devices() {
        let (user, session) = (UserId(uuid::Uuid::nil()), SessionId(uuid::Uuid::nil()));
        let activity = Activity { at: 1, away: false };
        let devices = vec![DeviceChange { user, session, state: DeviceState::Connected(activity) }];
        let changes = vec![LiveChange::Present { user, activity }];
        let message = NodeMessage { from: NodeId(7), number: 3, body: Body::Changes(changes.clone()), devices };
        let former: Former = read(&message);
        assert_eq!((former.from, former.number), (message.from, message.number));
        assert!(matches!(former.body, FormerBody::Changes(read) if read == changes));
        assert_eq!(read::<NodeMessage>(&message).devices, message.devices);

        let facts =
            NodeFacts { present: vec![(user, activity)], rooms: Vec::new(), devices: vec![(user, session, activity)] };
        let message = NodeMessage { from: NodeId(7), number: 3, body: Body::All(facts), devices: Vec::new() };
        let former: Former = read(&message);
        assert!(matches!(former.body, FormerBody::All(facts) if facts.present == [(user, activity)]));
    }

    #[test]
    fn messages_of_the_former_version_have_no_devices() {
        let facts = FormerFacts { present: Vec::new(), rooms: Vec::new() };
        let message = Former { from: NodeId(7), number: 3, body: FormerBody::All(facts) };
        let new: NodeMessage = read(&message);
        assert!(new.devices.is_empty());
        assert!(matches!(new.body, Body::All(facts) if facts.devices.is_empty()));
    }
}
