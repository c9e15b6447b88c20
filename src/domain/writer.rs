//! The writer: commits the messages that are waiting as one transaction.
//!
//! Every commit holds the log's head until it is on disk, so that commits come one after the other. At low load a
//! batch holds one message; at high load hundreds share one commit, and those who wait hold no connection.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::conversations::UNKNOWN;
use super::error::{Error, Result, Violation};
use super::messages::NewMessage;
use crate::clock::Clock;
use crate::config::Writing;
use crate::error::Error as Internal;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::log::{Log, Transaction};
use crate::metrics::Metrics;
use crate::random::Random;
use crate::store::conversations::{self, Conversation};
use crate::store::messages::{self, Message, MessageKind};
use crate::store::participants;

const OVERLOADED: Error = Error::Overloaded("Too many messages are being sent just now. Try again in a moment.");

const NOT_STORED: Error =
    Error::Overloaded("It is not certain that the message was stored. Send it again with the same clientId.");

/// A message that was checked, and who sends it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) sender: UserId,
    pub(super) message: NewMessage,
}

struct Job {
    outgoing: Outgoing,
    reply: oneshot::Sender<Result<Message>>,
}

/// The queue of the writer.
pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
    metrics: Metrics,
}

impl Writer {
    /// Starts the writer, which runs until `stop` is cancelled.
    pub(super) fn start(
        log: Log,
        clock: Clock,
        random: Random,
        metrics: Metrics,
        settings: &Writing,
        stop: CancellationToken,
    ) -> Self {
        let (queue, jobs) = mpsc::channel(settings.write_queue);
        let committer = Committer { log, clock, random, metrics: metrics.clone() };
        tokio::spawn(stop.run_until_cancelled_owned(write(committer, jobs, settings.write_batch)));
        Self { queue, metrics }
    }

    pub(super) fn is_running(&self) -> bool {
        !self.queue.is_closed()
    }

    /// The message as stored; UNAVAILABLE where the queue is full.
    pub(super) async fn send(&self, outgoing: Outgoing) -> Result<Message> {
        let (reply, answer) = oneshot::channel();
        let place = self.queue.try_reserve().map_err(|_| OVERLOADED)?;
        self.metrics.queued();
        place.send(Job { outgoing, reply });
        // The writer goes away only when the whole node does.
        answer.await.map_err(|_| OVERLOADED)?
    }
}

async fn write(committer: Committer, mut jobs: mpsc::Receiver<Job>, max: usize) {
    let mut batch = Vec::with_capacity(max);
    while jobs.recv_many(&mut batch, max).await > 0 {
        committer.metrics.batch_taken(batch.len());
        let (outgoing, replies): (Vec<_>, Vec<_>) = batch.drain(..).map(|job| (job.outgoing, job.reply)).unzip();
        match committer.commit(&outgoing).await {
            Ok(results) => replies.into_iter().zip(results).for_each(|(reply, result)| answer(reply, result)),
            Err(error) if outgoing.len() > 1 && spoils_others(&error) => {
                for (reply, outgoing) in replies.into_iter().zip(&outgoing) {
                    let result = committer.commit(std::slice::from_ref(outgoing)).await;
                    answer(reply, result.and_then(|mut results| results.pop().unwrap_or(Err(UNKNOWN))));
                }
            }
            Err(error) => fail(replies, error),
        }
    }
}

/// Whether one message's fault has kept the others from being stored, so that each is to be tried for itself.
/// Where Postgres is away, or has not said whether it committed, trying again would wait or store twice.
fn spoils_others(error: &Error) -> bool {
    use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};
    match error {
        Error::Conflict(_) => true,
        Error::Internal(Internal::Database(Diesel::DatabaseError(kind, _))) => {
            matches!(kind, Kind::UniqueViolation | Kind::ForeignKeyViolation | Kind::CheckViolation)
        }
        _ => false,
    }
}

/// The first hears what it was, and so does the log.
fn fail(replies: Vec<oneshot::Sender<Result<Message>>>, error: Error) {
    let mut error = Some(error);
    for reply in replies {
        answer(reply, Err(error.take().unwrap_or(NOT_STORED)));
    }
}

fn answer(reply: oneshot::Sender<Result<Message>>, result: Result<Message>) {
    // Whoever asked may have gone; the message is stored all the same.
    let _ = reply.send(result);
}

struct Committer {
    log: Log,
    clock: Clock,
    random: Random,
    metrics: Metrics,
}

impl Committer {
    /// Each message's own result; or an error, where nothing was committed or nobody knows.
    async fn commit(&self, outgoing: &[Outgoing]) -> Result<Vec<Result<Message>>> {
        let mut tx = self.log.begin().await?;
        let done = self.store(&mut tx, outgoing).await;
        let (results, stored) = tx.finish(done).await?;
        self.metrics.messages_stored(stored);
        Ok(results)
    }

    async fn store(&self, tx: &mut Transaction<'_>, outgoing: &[Outgoing]) -> Result<(Vec<Result<Message>>, usize)> {
        let mut batch = Batch::load(tx, outgoing, self.clock).await?;
        let results: Vec<_> = outgoing.iter().map(|outgoing| batch.number(outgoing, &self.random)).collect();
        if !batch.new.is_empty() {
            messages::insert_numbered(tx.conn(), &batch.new).await.map_err(spoiled)?;
            for message in &batch.new {
                tx.record_message(message);
            }
        }
        Ok((results, batch.new.len()))
    }
}

/// What a batch is decided by, and what it comes to.
struct Batch {
    now: DateTime<Utc>,
    /// Locked: their numbers are this transaction's to give.
    conversations: HashMap<ConversationId, Conversation>,
    participants: HashSet<(ConversationId, UserId)>,
    /// The messages under each clientId, of before and of this batch.
    known: HashMap<(UserId, String), Message>,
    new: Vec<Message>,
}

impl Batch {
    async fn load(tx: &mut Transaction<'_>, outgoing: &[Outgoing], clock: Clock) -> Result<Self> {
        let ids: HashSet<_> = outgoing.iter().map(|outgoing| outgoing.message.conversation).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let senders: HashSet<_> = outgoing.iter().map(|outgoing| outgoing.sender).collect();
        let senders: Vec<_> = senders.into_iter().collect();
        let client_ids: Vec<_> = outgoing.iter().filter_map(|outgoing| outgoing.message.client_id.as_deref()).collect();

        let locked = conversations::lock_many(tx.conn(), &ids).await?;
        let participants = participants::among(tx.conn(), &ids, &senders).await?;
        let known = match client_ids.as_slice() {
            [] => Vec::new(),
            client_ids => messages::by_client_ids(tx.conn(), &senders, client_ids).await?,
        };
        let key = |message: &Message| Some((message.sender_id?, message.client_id.clone()?));
        Ok(Self {
            // After the wait for the locks: times follow the numbers, as far as the nodes' clocks agree.
            now: clock.now(),
            conversations: locked.into_iter().map(|conversation| (conversation.id, conversation)).collect(),
            participants: participants.into_iter().collect(),
            known: known.into_iter().filter_map(|message| Some((key(&message)?, message))).collect(),
            new: Vec::with_capacity(outgoing.len()),
        })
    }

    /// Gives a message its number, unless it was sent before or is not the sender's to send.
    fn number(&mut self, outgoing: &Outgoing, random: &Random) -> Result<Message> {
        let Outgoing { sender, message: new } = outgoing;
        if !self.participants.contains(&(new.conversation, *sender)) {
            return Err(UNKNOWN);
        }
        let key = new.client_id.as_ref().map(|client_id| (*sender, client_id.clone()));
        if let Some(first) = key.as_ref().and_then(|key| self.known.get(key)) {
            return if first.conversation_id == new.conversation { Ok(first.clone()) } else { Err(reused()) };
        }
        let conversation = self.conversations.get_mut(&new.conversation).ok_or(UNKNOWN)?;
        conversation.last_message_number += 1;
        conversation.revision += 1;
        let message = Message {
            id: MessageId::new(self.now, random),
            conversation_id: new.conversation,
            number: conversation.last_message_number,
            revision: conversation.revision,
            sender_id: Some(*sender),
            kind: MessageKind::Text,
            body: Some(new.body.clone()),
            client_id: new.client_id.clone(),
            created_at: self.now,
        };
        if let Some(key) = key {
            self.known.insert(key, message.clone());
        }
        self.new.push(message.clone());
        Ok(message)
    }
}

fn reused() -> Error {
    Error::Conflict(Violation::new("clientId", "This clientId belongs to a message in another conversation."))
}

/// The locks rule out that a clientId comes twice at once in one conversation, but not in two on two nodes.
fn spoiled(error: diesel::result::Error) -> Error {
    use diesel::result::{DatabaseErrorKind, Error as Diesel};
    match &error {
        Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, details)
            if details.constraint_name() == Some("messages_by_client_id") =>
        {
            reused()
        }
        _ => error.into(),
    }
}
