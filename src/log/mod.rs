//! The durable event log: one totally ordered row for each durable change, and its streams to clients.
//!
//! `seq` comes from one counter row that a transaction holds until its commit. It therefore has no holes
//! and follows commit order: whoever has read up to 41 has missed nothing below it.

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

/// Begins a new epoch: the cursors of the old one require a resync. For a database that was restored from a
/// backup, whose log goes on from an earlier place than clients have seen.
pub async fn reset_cursors(url: &str, random: &Random) -> Result<()> {
    let mut connection = Connection::establish(url).await.map_err(|error| Error::Connection(error.to_string()))?;
    read::set_epoch(&mut connection, i64::from_be_bytes(random.bytes())).await
}

/// Transactions waiting to be published; the events of one more are left to the tails' look at Postgres.
const PUBLISH_QUEUE: usize = 4096;
/// Events published in one call to the broker, or a few more.
const PUBLISH_BATCH: usize = 512;

/// What one transaction has committed.
struct Committed {
    events: Vec<Event>,
    messages: Vec<Arc<Message>>,
}

/// The log as this node sees it. Cheap to clone.
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
    /// Starts this node's tail and its publisher, which both run until `stop` is cancelled.
    pub async fn open(
        database: Database,
        broker: Arc<dyn Broker>,
        clock: Clock,
        settings: LogSettings,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<Self> {
        // Before the head is read, so that no event falls between the two.
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

    /// Opens a transaction; what it records is appended as its last statement and published after its commit.
    pub async fn begin(&self) -> Result<Transaction<'_>> {
        Transaction::begin(self).await
    }

    /// Tells when the session is revoked, on whichever node. Watch first and look at the session afterwards:
    /// then no revocation falls between.
    pub fn watch_session(&self, session: SessionId) -> SessionWatch {
        Streams::watch_session(&self.streams, session)
    }

    /// Those of the sessions that have a connection open on this node.
    pub fn connected(&self, sessions: &[SessionId]) -> Vec<SessionId> {
        self.streams.connected(sessions)
    }

    /// Waits for somebody to be in a call, on whichever node.
    pub async fn call(&self) {
        self.streams.memory.calls.notified().await;
    }

    /// The message of a recent event, as it was then; None where it did not come along.
    pub fn carried(&self, message: MessageId) -> Option<Arc<Message>> {
        self.streams.memory.message(message)
    }

    /// Which of its states an event shows: another number once the message that it shows has changed.
    pub fn state_of(&self, item: &Item) -> Seq {
        match item {
            Item::Event(event) => self.streams.memory.changed_after(event),
            _ => 0,
        }
    }

    /// The users whose profile, privacy, contacts or blocks change from now on, on whichever node.
    pub fn updated_users(&self) -> broadcast::Receiver<UserId> {
        self.streams.memory.updated_users.subscribe()
    }

    /// Waits for a new message that will delete itself, on whichever node it was stored.
    pub async fn expiring_message(&self) {
        self.streams.memory.expiring.notified().await;
    }

    /// Whether the session is known to be live: Postgres said so, and the log has not revoked it since.
    pub fn is_live(&self, session: SessionId) -> bool {
        self.streams.memory.is_live(session)
    }

    /// The user as of the tail's position; None where the node has it not in mind. No newer than the tail: what streams
    /// render is this old at most, and a request asks Postgres.
    pub fn user(&self, user: UserId) -> Option<Arc<User>> {
        self.streams.memory.user(user)
    }

    pub fn generation(&self) -> Generation {
        self.streams.memory.generation()
    }

    /// Keeps in mind users that were read from Postgres after the generation was asked for.
    pub fn keep_users(&self, generation: Generation, users: &[User]) {
        self.streams.memory.keep_users(generation, users);
    }

    /// The users with a stream on this node who take part in the conversation, as of the tail's position.
    pub fn listeners(&self, conversation: ConversationId) -> Vec<UserId> {
        self.streams.listeners(conversation)
    }

    /// Whether the user is one of them.
    pub fn is_listener(&self, user: UserId, conversation: ConversationId) -> bool {
        self.streams.is_listener(user, conversation)
    }

    /// Ends when the user takes no part in the conversation, from now on or any more.
    pub async fn departure(&self, user: UserId, conversation: ConversationId) {
        let mut follow = self.follow(user, Interest::Membership(conversation), None);
        while follow.next().await.is_some_and(|item| item != Item::Closed) {}
    }

    /// Whether the node still hears and tells: a tail or publisher that has ended by a defect must not go unnoticed.
    pub fn is_running(&self) -> bool {
        !self.tail.is_finished() && !self.publish.is_closed()
    }

    /// How far this node's tail has come.
    pub fn position(&self) -> Cursor {
        self.cursor(self.streams.position())
    }

    pub fn cursor(&self, seq: Seq) -> Cursor {
        Cursor { epoch: self.epoch, seq }
    }

    /// Makes the partitions of the next days, where they are missing.
    pub async fn prepare(&self) -> Result<()> {
        retention::prepare(&mut *self.database.connection().await?).await
    }

    /// Drops the partitions whose events are all older than so many days, unless another node is at it.
    pub async fn forget(&self, days: i32) -> Result<()> {
        retention::forget(&mut *self.database.connection().await?, days).await
    }

    fn publish(&self, events: Vec<Event>, messages: Vec<Arc<Message>>) {
        // On the node that revokes a session it ends at once; elsewhere when the tail hears of it.
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

/// Hands committed events to the broker, a batch at a time. What it loses, the tails find in Postgres.
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
