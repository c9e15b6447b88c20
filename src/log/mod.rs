//! The durable event log: one row for each durable change, in a total order, and the streams of these rows to clients.
//!
//! `seq` comes from one counter row that a transaction locks until its commit. It therefore has no holes and follows
//! commit order: a reader that has read up to 41 has missed no event below it.

mod append;
mod broker;
mod cursor;
mod event;
mod follow;
mod index;
mod interest;
mod memory;
mod queue;
mod read;
mod redis;
mod retention;
mod streams;
mod tail;
mod transaction;

use std::sync::Arc;

use diesel_async::AsyncConnection as _;
use futures_util::StreamExt as _;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use broker::{Broker, Incoming, MemoryBroker, Publication};
pub use cursor::{Cursor, InvalidCursor};
pub use event::{Audience, Change, Event, Seq};
pub use follow::{Follow, Item};
pub use interest::Interest;
pub use memory::Generation;
pub use redis::RedisBroker;
pub use streams::SessionWatch;
pub use transaction::Transaction;

use crate::clock::Clock;
use crate::config::LogSettings;
use crate::error::{Error, Result};
use crate::ids::{ConversationId, MessageId, SessionId, UserId};
use crate::metrics::Metrics;
use crate::random::Random;
use crate::store::messaging::messages::Message;
use crate::store::people::users::User;
use crate::store::{Connection, Database};
use streams::Streams;

/// Begins a new epoch, so that the cursors of the old one require a resync. Use it for a database that was restored
/// from a backup: its log continues from an earlier position than clients have seen.
pub async fn reset_cursors(url: &str, random: &Random) -> Result<()> {
    let mut connection = Connection::establish(url).await.map_err(|error| Error::Connection(error.to_string()))?;
    read::set_epoch(&mut connection, i64::from_be_bytes(random.bytes())).await
}

/// Maximum number of transactions that wait to be published. The events of further transactions are not published; the
/// tails read them from Postgres.
const PUBLISH_QUEUE: usize = 4096;
/// Events published in one call to the broker. The last transaction of a batch can exceed this number.
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
    streams: Arc<Streams>,
    publish: mpsc::Sender<Committed>,
    tail: Arc<JoinHandle<()>>,
    metrics: Metrics,
}

impl Log {
    /// Starts this node's tail and its publisher. Both run until `stop` is cancelled.
    pub async fn open(
        database: Database,
        broker: Arc<dyn Broker>,
        clock: Clock,
        settings: LogSettings,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<Self> {
        // Subscribes before it reads the head, so that it misses no event between the two.
        let incoming = broker.subscribe(stop.clone());
        let mut connection = database.connection().await?;
        retention::prepare(&mut connection).await?;
        let head = read::head(&mut connection).await?;
        drop(connection);
        let streams = Arc::new(Streams::new(head.seq, &settings, metrics.clone()));
        let tail =
            tail::Tail::new(database.clone(), Arc::clone(&streams), settings.clone(), clock, metrics.clone(), &head);
        let tail = Arc::new(tokio::spawn(tail.run(incoming, stop.clone())));
        let (publish, queue) = mpsc::channel(PUBLISH_QUEUE);
        tokio::spawn(publish_all(broker, head.epoch, queue, metrics.clone(), stop));
        Ok(Self { database, settings, epoch: head.epoch, streams, publish, tail, metrics })
    }

    /// Watches for the revocation of the session on any node. Start the watch before you read the session from
    /// Postgres, so that no revocation is missed between the two.
    pub fn watch_session(&self, session: SessionId) -> SessionWatch {
        Streams::watch_session(&self.streams, session)
    }

    /// The sessions out of `sessions` that have a connection open on this node.
    pub fn connected(&self, sessions: &[SessionId]) -> Vec<SessionId> {
        self.streams.connected(sessions)
    }

    /// Waits until a call rings or is answered, on any node.
    pub async fn call(&self) {
        self.streams.memory.calls.notified().await;
    }

    /// The message that was published with a recent event, as of that event. None if the message was not published with
    /// its event or is no longer cached.
    pub fn carried(&self, message: MessageId) -> Option<Arc<Message>> {
        self.streams.memory.message(message)
    }

    /// Version of what a rendering of the item shows. It changes when an event invalidates older renderings of the
    /// item.
    pub fn state_of(&self, item: &Item) -> Seq {
        match item {
            Item::Event(event) => self.streams.memory.changed_after(event),
            _ => 0,
        }
    }

    /// Receives the users whose profile, privacy settings, contacts or blocks change from now on, on any node.
    pub fn updated_users(&self) -> broadcast::Receiver<UserId> {
        self.streams.memory.updated_users.subscribe()
    }

    /// Waits for a new message that expires, stored by any node.
    pub async fn expiring_message(&self) {
        self.streams.memory.expiring.notified().await;
    }

    /// Whether the session is cached as live: it was live in Postgres, and the log has not revoked it since.
    pub fn is_live(&self, session: SessionId) -> bool {
        self.streams.memory.is_live(session)
    }

    /// The cached user as of the tail's position. None if the user is not cached. Only streams use this: a request
    /// queries Postgres, because the tail can be behind it.
    pub fn user(&self, user: UserId) -> Option<Arc<User>> {
        self.streams.memory.user(user)
    }

    /// The current generation of the cache of users, for [`Log::keep_users`].
    pub fn generation(&self) -> Generation {
        self.streams.memory.generation()
    }

    /// Caches users that were read from Postgres after `generation` was taken. Does nothing if a user of the cache has
    /// changed since.
    pub fn keep_users(&self, generation: Generation, users: &[User]) {
        self.streams.memory.keep_users(generation, users);
    }

    /// The participants of the conversation who have a stream on this node, as of the tail's position.
    pub fn listeners(&self, conversation: ConversationId) -> Vec<UserId> {
        self.streams.listeners(conversation)
    }

    /// Whether the user is a participant of the conversation and has a stream on this node.
    pub fn is_listener(&self, user: UserId, conversation: ConversationId) -> bool {
        self.streams.is_listener(user, conversation)
    }

    /// Waits until the user is not a participant of the conversation. Returns at once if the user is none now.
    pub async fn departure(&self, user: UserId, conversation: ConversationId) {
        let mut follow = self.follow(user, Interest::Membership(conversation), None);
        while follow.next().await.is_some_and(|item| item != Item::Closed) {}
    }

    /// Whether the tail and the publisher are running. The health check asks for it, because a defect could end them.
    pub fn is_running(&self) -> bool {
        !self.tail.is_finished() && !self.publish.is_closed()
    }

    /// The position that this node's tail has reached.
    pub fn position(&self) -> Cursor {
        self.cursor(self.streams.position())
    }

    pub fn cursor(&self, seq: Seq) -> Cursor {
        Cursor { epoch: self.epoch, seq }
    }

    /// Creates the partitions of today and of the next days, if they are missing.
    pub async fn prepare(&self) -> Result<()> {
        retention::prepare(&mut *self.database.connection().await?).await
    }

    /// Drops the partitions whose events are all older than `days` days. Does nothing while another node does
    /// housekeeping.
    pub async fn forget(&self, days: i32) -> Result<()> {
        retention::forget(&mut *self.database.connection().await?, days).await
    }

    fn publish(&self, events: Vec<Event>, messages: Vec<Arc<Message>>) {
        // This node ends a revoked session at once. Other nodes end it when their tail gets the event.
        for event in &events {
            if let Change::SessionRevoked { session, .. } = event.change {
                self.streams.end_session(session);
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

/// Publishes committed events through the broker, in batches. The tails read lost events from Postgres.
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
