//! The broker, which carries committed events from the node that wrote them to every node's tail.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::event::Event;
use crate::error::Result;
use crate::store::messaging::messages::Message;

/// Maximum number of publications that wait in a subscription. Then its sender has to wait.
const INCOMING_QUEUE: usize = 1024;
/// Number of publications that the memory broker keeps for its slowest subscriber.
const MEMORY_QUEUE: usize = 4096;

/// Committed events in the order of their seq, and the epoch of their log. The epoch shows when two servers with
/// different databases share a broker by mistake.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publication {
    pub epoch: i64,
    pub events: Vec<Event>,
    /// The messages that were added, so that nodes do not have to read them from Postgres. Some may be missing.
    #[serde(default)]
    pub messages: Vec<Arc<Message>>,
}

/// The fast path between nodes. It may lose, duplicate and reorder publications: the tail restores the order and reads
/// missing events from Postgres.
pub trait Broker: Send + Sync {
    fn publish<'a>(&'a self, publication: &'a Publication) -> BoxFuture<'a, Result<()>>;

    /// Subscribes to the publications of all nodes from now on, until `stop` is cancelled.
    fn subscribe(&self, stop: CancellationToken) -> mpsc::Receiver<Incoming>;
}

/// An item of a subscription.
#[derive(Debug)]
pub enum Incoming {
    Published(Publication),
    /// Publications may have been lost, for instance while the connection was broken. The tail has to read Postgres at
    /// once.
    Gap,
}

/// A broker within one process: the only node publishes to itself.
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
        // It fails only if there is no subscription.
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
