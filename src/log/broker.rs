//! The broker, which carries committed events from the node that wrote them to every node's tail.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::event::Event;
use crate::error::Result;
use crate::store::messaging::messages::Message;

/// Maximum number of publications that wait in a subscription. While a subscription is full, the task that adds
/// publications to it waits.
const INCOMING_QUEUE: usize = 1024;
/// Maximum number of publications that the memory broker keeps for its slowest subscriber. A subscriber that lags
/// further behind gets `Incoming::Gap`.
const MEMORY_QUEUE: usize = 4096;

/// A publication: committed events in the order of their seq, and the epoch of their log. A tail compares the epoch
/// with that of its own log, and ignores the publication if two servers with different databases share a broker by
/// mistake.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publication {
    pub epoch: i64,
    pub events: Vec<Event>,
    /// The messages that the events added, so that nodes do not have to read these messages from Postgres. Some
    /// messages might be missing.
    #[serde(default)]
    pub messages: Vec<Arc<Message>>,
}

/// The fast path for events between nodes. A broker may lose, duplicate and reorder publications: the tail restores the
/// order and reads missing events from Postgres.
pub trait Broker: Send + Sync {
    fn publish<'a>(&'a self, publication: &'a Publication) -> BoxFuture<'a, Result<()>>;

    /// Subscribes to the publications of all nodes from now on, until `stop` is cancelled.
    fn subscribe(&self, stop: CancellationToken) -> mpsc::Receiver<Incoming>;
}

/// An item that a subscriber receives from the broker.
#[derive(Debug)]
pub enum Incoming {
    Published(Publication),
    /// Publications might have been lost, for instance while the connection was broken. The tail has to read Postgres
    /// at once.
    Gap,
}

/// A broker in memory, for a server with only one node. The node publishes to itself.
pub struct MemoryBroker {
    sender: broadcast::Sender<Publication>,
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(MEMORY_QUEUE) }
    }
}

impl Broker for MemoryBroker {
    fn publish<'a>(&'a self, publication: &'a Publication) -> BoxFuture<'a, Result<()>> {
        // Sending fails only without a subscription.
        let _ = self.sender.send(publication.clone());
        Box::pin(async { Ok(()) })
    }

    fn subscribe(&self, stop: CancellationToken) -> mpsc::Receiver<Incoming> {
        let mut receiver = self.sender.subscribe();
        let (sender, incoming) = channel();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                let next = match receiver.recv().await {
                    Ok(publication) => Incoming::Published(publication),
                    Err(broadcast::error::RecvError::Lagged(_)) => Incoming::Gap,
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                if sender.send(next).await.is_err() {
                    return;
                }
            }
        }));
        incoming
    }
}

pub(super) fn channel() -> (mpsc::Sender<Incoming>, mpsc::Receiver<Incoming>) {
    mpsc::channel(INCOMING_QUEUE)
}
