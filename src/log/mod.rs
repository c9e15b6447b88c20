//! The durable event log: one row for each durable change, in a total order. Streams deliver these events to clients.
//!
//! `seq` comes from one counter row, which a transaction locks until its commit. The numbers therefore have no gaps
//! and follow commit order: a reader that has read up to seq 41 has missed no earlier event.

mod append;
mod broker;
mod consumer;
mod cursor;
mod dispatcher;
mod event;
mod index;
mod interest;
mod item;
mod live_sessions;
mod observers;
mod queue;
mod read;
mod redis;
mod retention;
mod row_cache;
mod signals;
mod stream;
mod tail;
mod transaction;

use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use broker::{Broker, Incoming, MemoryBroker, Publication};
pub use consumer::{Batch, Consumer, Polled};
pub use cursor::{Cursor, InvalidCursor};
pub use event::{Audience, Category, Change, Event, Seq};
pub use interest::Interest;
pub use item::Item;
pub use live_sessions::{LiveSessions, SessionWatch};
pub use observers::Observers;
pub use redis::RedisBroker;
pub use row_cache::RowCache;
pub use signals::Signals;
pub use stream::LogStream;
pub use transaction::Transaction;

use crate::clock::Clock;
use crate::config::LogSettings;
use crate::error::Result;
use crate::ids::{ConversationId, UserId};
use crate::metrics::Metrics;
use crate::random::Random;
use crate::store::messaging::messages::Message;
use crate::store::{self, Database};
use dispatcher::Dispatcher;

/// Begins a new epoch of the log, so that clients with a cursor of an earlier epoch have to resync. Use this for a
/// database that was restored from a backup: its log continues from an earlier position than clients have seen.
pub async fn reset_cursors(url: &str, random: &Random) -> Result<()> {
    let mut connection = store::connect(url).await?;
    read::set_epoch(&mut connection, i64::from_be_bytes(random.bytes())).await
}

/// Maximum number of transactions that wait to be published. The events of further transactions are not published; the
/// tails read them from Postgres.
const PUBLISH_QUEUE: usize = 4096;
/// Number of events after which no further transaction is added to a publication. The last transaction of a publication
/// can exceed this number.
const PUBLISH_BATCH: usize = 512;

/// The events and messages of one committed transaction.
struct Committed {
    events: Vec<Event>,
    messages: Vec<Arc<Message>>,
}

/// A handle to the log on this node. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    database: Database,
    settings: LogSettings,
    epoch: i64,
    dispatcher: Arc<Dispatcher>,
    publish: mpsc::Sender<Committed>,
    tail: Arc<JoinHandle<()>>,
    metrics: Metrics,
}

impl Log {
    /// Starts this node's tail and its publisher. Both run until `stop` is cancelled.
    pub async fn open(
        database: Database,
        broker: Arc<dyn Broker>,
        observers: Observers,
        clock: Clock,
        settings: LogSettings,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<Self> {
        // The subscription begins before the head is read, so that no event between the two is missed.
        let incoming = broker.subscribe(stop.clone());
        let mut connection = database.connection().await?;
        retention::create_partitions(&mut connection).await?;
        let head = read::head(&mut connection).await?;
        drop(connection);
        let dispatcher = Arc::new(Dispatcher::new(head.seq, observers, &settings, metrics.clone()));
        let tail =
            tail::Tail::new(database.clone(), Arc::clone(&dispatcher), settings.clone(), clock, metrics.clone(), &head);
        let tail = Arc::new(tokio::spawn(tail.run(incoming, stop.clone())));
        let (publish, queue) = mpsc::channel(PUBLISH_QUEUE);
        tokio::spawn(publish_all(broker, head.epoch, queue, metrics.clone(), stop));
        Ok(Self { database, settings, epoch: head.epoch, dispatcher, publish, tail, metrics })
    }

    /// Returns the participants of the conversation who have a stream on this node, as of the tail's position.
    pub fn listeners(&self, conversation: ConversationId) -> Vec<UserId> {
        self.dispatcher.listeners(conversation)
    }

    /// Whether the user is a participant of the conversation and has a stream on this node.
    pub fn is_listener(&self, user: UserId, conversation: ConversationId) -> bool {
        self.dispatcher.is_listener(user, conversation)
    }

    /// Waits until the user is not a participant of the conversation. Returns at once if the user is not a participant
    /// now.
    pub async fn membership_end(&self, user: UserId, conversation: ConversationId) {
        let mut stream = self.stream(user, Interest::Membership(conversation), None);
        while stream.next().await.is_some_and(|item| item != Item::Closed) {}
    }

    /// Whether the tail and the publisher are running. The health check uses this, because a defect could end these
    /// tasks.
    pub fn is_running(&self) -> bool {
        !self.tail.is_finished() && !self.publish.is_closed()
    }

    /// Returns the position that this node's tail has reached.
    pub fn position(&self) -> Cursor {
        self.cursor(self.dispatcher.position())
    }

    /// Returns a receiver of the position that this node's tail has reached, for consumers.
    pub fn positions(&self) -> watch::Receiver<Seq> {
        self.dispatcher.positions()
    }

    pub fn cursor(&self, seq: Seq) -> Cursor {
        Cursor { epoch: self.epoch, seq }
    }

    /// Creates the partitions of today and of the next days, if they are missing.
    pub async fn create_partitions(&self) -> Result<()> {
        retention::create_partitions(&mut *self.database.connection().await?).await
    }

    /// Drops the partitions whose events are all older than `days` days. Does nothing while another node does
    /// housekeeping.
    pub async fn drop_partitions(&self, days: i32) -> Result<()> {
        retention::drop_partitions(&mut *self.database.connection().await?, days).await
    }

    fn publish(&self, events: Vec<Event>, messages: Vec<Arc<Message>>) {
        // This node ends a revoked session at once. Other nodes end the session when their tail gets the event.
        for event in &events {
            if let Change::SessionRevoked { session, .. } = event.change {
                self.dispatcher.observers.sessions.end(session);
            }
        }
        let left = match self.publish.try_send(Committed { events, messages }) {
            Ok(()) => 0,
            Err(TrySendError::Full(left) | TrySendError::Closed(left)) => left.events.len(),
        };
        if left > 0 {
            self.metrics.unpublished(left);
            warn!(left, "the queue of publications is full; tails will read these events from Postgres");
        }
    }
}

/// Publishes committed events through the broker, the events of several transactions at once. The tails read events
/// from Postgres whose publication was lost.
async fn publish_all(
    broker: Arc<dyn Broker>,
    epoch: i64,
    mut queue: mpsc::Receiver<Committed>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut batch = Publication { epoch, events: Vec::new(), messages: Vec::new() };
    while let Some(Some(mut committed)) = stop.run_until_cancelled(queue.recv()).await {
        loop {
            batch.events.append(&mut committed.events);
            batch.messages.append(&mut committed.messages);
            if batch.events.len() >= PUBLISH_BATCH {
                break;
            }
            let Ok(next) = queue.try_recv() else { break };
            committed = next;
        }
        if let Err(error) = broker.publish(&batch).await {
            metrics.unpublished(batch.events.len());
            warn!(%error, events = batch.events.len(), "publication failed; tails will read from Postgres");
        }
        batch.events.clear();
        batch.messages.clear();
    }
}
