//! How committed events travel from the node that wrote them to every node's tail.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::event::Event;
use crate::error::Result;
use crate::store::messaging::messages::Message;

/// Batches that may wait in a subscription before the sender must.
const INCOMING_QUEUE: usize = 1024;
/// Batches the memory broker keeps for its slowest subscriber.
const MEMORY_QUEUE: usize = 4096;

/// Events that were committed, in the order of their seq, and the log that they are of: two servers with
/// databases of their own may share a broker by mistake.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publication {
    pub epoch: i64,
    pub events: Vec<Event>,
    /// The messages that were added, so that nobody has to read them from Postgres. Some may be missing.
    #[serde(default)]
    pub messages: Vec<Arc<Message>>,
}

/// The fast path between nodes. It may lose, double and reorder: Postgres is the truth, and the tail mends.
pub trait Broker: Send + Sync {
    fn publish<'a>(&'a self, publication: &'a Publication) -> BoxFuture<'a, Result<()>>;

    /// What any node publishes from now on, until `stop` is cancelled.
    fn subscribe(&self, stop: CancellationToken) -> mpsc::Receiver<Incoming>;
}

/// What a subscription brings.
#[derive(Debug)]
pub enum Incoming {
    Published(Publication),
    /// Some may have been lost, for instance while the connection was away: look at Postgres at once.
    Gap,
}

/// Within one process: the only node publishes to itself.
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
        // It fails only where nobody listens.
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
