//! The writers. Each writer takes the messages and receipts that wait in its queue, and commits them in one
//! transaction.
//!
//! Every commit keeps the head of the log locked until the commit is on disk, so commits run one after another. At low
//! load a batch has one request. At high load hundreds of requests share one commit, and requests in the queue use no
//! connection to Postgres.

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::batch::{self, Outgoing, Receipt, Results};
use crate::clock::Clock;
use crate::config::Writing;
use crate::domain::error::{Error, NO_CONVERSATION, Result};
use crate::domain::tasks::Tasks;
use crate::error::Error as Internal;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::random::Random;
use crate::store::conversations::conversations::Conversation;
use crate::store::messaging::messages::Message;

const OVERLOADED: Error = Error::Overloaded("Too many messages and receipts wait to be stored. Try again in a moment.");

const OUTCOME_UNKNOWN: Error =
    Error::Overloaded("It is unknown whether this was stored. Try again, and use the same clientId for a message.");

type Reply<T> = oneshot::Sender<Result<T>>;

enum Job {
    Send(Outgoing, Reply<Message>),
    Receipt(Receipt, Reply<Conversation>),
}

/// The requests of one transaction and the channels for their results.
#[derive(Default)]
struct PendingRequests {
    sends: Vec<Outgoing>,
    senders: Vec<Reply<Message>>,
    receipts: Vec<Receipt>,
    readers: Vec<Reply<Conversation>>,
}

/// The queues of the writers.
pub(in crate::domain) struct Writers {
    queues: Vec<mpsc::Sender<Job>>,
    metrics: Metrics,
}

impl Writers {
    pub(in crate::domain) fn start(tasks: &mut Tasks, committer: &Committer, settings: &Writing) -> Self {
        let start = |_| {
            let (queue, jobs) = mpsc::channel(settings.write_queue);
            tasks.spawn(write(committer.clone(), jobs, settings.write_batch));
            queue
        };
        Self { queues: (0..settings.writers).map(start).collect(), metrics: committer.metrics.clone() }
    }

    /// Queues the message, waits until it is stored, and returns the stored message. Returns UNAVAILABLE if the queue
    /// is full. On one node, all messages of a conversation go to the same writer, so that their order is kept.
    pub(super) async fn send(&self, outgoing: Outgoing) -> Result<Message> {
        let conversation = outgoing.message.conversation.0;
        self.enqueue(conversation, |reply| Job::Send(outgoing, reply)).await
    }

    /// Queues the receipt, waits until it is stored, and returns the conversation. Returns UNAVAILABLE if the queue is
    /// full. The order of receipts does not matter, because watermarks never move back.
    pub(super) async fn advance(&self, receipt: Receipt) -> Result<Conversation> {
        self.enqueue(receipt.user.0, |reply| Job::Receipt(receipt, reply)).await
    }

    async fn enqueue<T>(&self, key: Uuid, job: impl FnOnce(Reply<T>) -> Job) -> Result<T> {
        let writer = usize::try_from(key.as_u128() % self.queues.len().max(1) as u128).unwrap_or_default();
        let permit = self.queues.get(writer).ok_or(OVERLOADED)?.try_reserve().map_err(|_| OVERLOADED)?;
        let (reply, answer) = oneshot::channel();
        self.metrics.queued();
        permit.send(job(reply));
        // A writer drops a job without a result only when the node stops.
        answer.await.map_err(|_| OVERLOADED)?
    }
}

async fn write(committer: Committer, mut jobs: mpsc::Receiver<Job>, max: usize) {
    let mut batch = Vec::with_capacity(max);
    while jobs.recv_many(&mut batch, max).await > 0 {
        drain_queued(&mut batch, &mut jobs, max).await;
        committer.metrics.batch_started(batch.len());
        let waiting: PendingRequests = batch.drain(..).collect();
        match committer.commit(&waiting.sends, &waiting.receipts).await {
            Ok(results) => waiting.answer(results),
            Err(error) if waiting.sends.len() + waiting.receipts.len() > 1 && should_retry_individually(&error) => {
                waiting.commit_individually(&committer).await;
            }
            Err(error) => waiting.fail(error),
        }
    }
}

/// Adds the requests that are already queued to the batch, so that one commit covers them. Such a commit takes hardly
/// longer than a commit for one request. Yields before each pass, so that tasks that are ready to run can queue their
/// requests.
async fn drain_queued(batch: &mut Vec<Job>, jobs: &mut mpsc::Receiver<Job>, max: usize) {
    let mut before = 0;
    while before < batch.len() && batch.len() < max {
        before = batch.len();
        tokio::task::yield_now().await;
        while batch.len() < max
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
    }
}

/// Returns whether a single request can have caused the error, so that the other requests can succeed in separate
/// transactions. Returns false if Postgres is unavailable or the result of the commit is unknown: a retry would wait,
/// or store a message twice.
fn should_retry_individually(error: &Error) -> bool {
    use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};
    match error {
        Error::Conflict(_) => true,
        Error::Internal(Internal::Database(Diesel::DatabaseError(kind, details))) => {
            matches!(kind, Kind::UniqueViolation | Kind::ForeignKeyViolation | Kind::CheckViolation)
                || details.message() == "deadlock detected"
        }
        _ => false,
    }
}

impl FromIterator<Job> for PendingRequests {
    fn from_iter<I: IntoIterator<Item = Job>>(jobs: I) -> Self {
        let mut waiting = Self::default();
        for job in jobs {
            match job {
                Job::Send(outgoing, reply) => {
                    waiting.sends.push(outgoing);
                    waiting.senders.push(reply);
                }
                Job::Receipt(receipt, reply) => {
                    waiting.receipts.push(receipt);
                    waiting.readers.push(reply);
                }
            }
        }
        waiting
    }
}

impl PendingRequests {
    fn answer(self, results: Results) {
        self.senders.into_iter().zip(results.sends).for_each(|(reply, result)| answer(reply, result));
        self.readers.into_iter().zip(results.receipts).for_each(|(reply, result)| answer(reply, result));
    }

    async fn commit_individually(self, committer: &Committer) {
        for (outgoing, reply) in self.sends.iter().zip(self.senders) {
            let results = committer.commit(std::slice::from_ref(outgoing), &[]).await;
            answer(reply, results.and_then(|mut results| results.sends.pop().unwrap_or(Err(NO_CONVERSATION))));
        }
        for (receipt, reply) in self.receipts.iter().zip(self.readers) {
            let results = committer.commit(&[], std::slice::from_ref(receipt)).await;
            answer(reply, results.and_then(|mut results| results.receipts.pop().unwrap_or(Err(NO_CONVERSATION))));
        }
    }

    /// Returns an error to all requests of the transaction. Only the first request gets `error`, so that it is logged
    /// once. The other requests get `OUTCOME_UNKNOWN`.
    fn fail(self, error: Error) {
        let mut error = Some(error);
        let mut next = || error.take().unwrap_or(OUTCOME_UNKNOWN);
        self.senders.into_iter().for_each(|reply| answer(reply, Err(next())));
        self.readers.into_iter().for_each(|reply| answer(reply, Err(next())));
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T>) {
    // The send fails if the client has disconnected. A disconnect does not undo a stored request.
    let _ = reply.send(result);
}

/// The log, clock, random generator and metrics for transactions that store messages.
#[derive(Clone)]
pub(in crate::domain) struct Committer {
    pub(in crate::domain) log: Log,
    pub(in crate::domain) clock: Clock,
    pub(in crate::domain) random: Random,
    pub(in crate::domain) metrics: Metrics,
}

impl Committer {
    /// Stores the requests in one transaction. Returns an error if nothing was committed, or if the outcome is unknown.
    async fn commit(&self, sends: &[Outgoing], receipts: &[Receipt]) -> Result<Results> {
        let stored = self.log.transaction(async |tx| batch::store(tx, sends, receipts, self.clock, &self.random).await);
        let results = stored.await?;
        self.metrics.messages_stored(results.stored);
        Ok(results)
    }
}
