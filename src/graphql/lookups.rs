//! Lookups of rows outside of an execution. The streams of a node use them to decide whether a user may see an event.
//!
//! All streams that receive an event look up a row at nearly the same time. Their keys wait in a queue while one
//! statement runs, and the next statement reads the rows of all waiting keys. So the number of statements hardly grows
//! with the number of streams, and no stream waits for a lock.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use parking_lot::Mutex;
use tokio::sync::oneshot::{self, error::RecvError};

use super::calls::call::{RingKey, VisibleCallKey};
use super::error::{Error, ErrorCode};
use super::loaders::Rows;
use super::message_loaders::VisibilityKey;
use crate::domain::App;
use crate::error::RETRY_DELAY;
use crate::ids::CallParticipantId;

/// Maximum number of keys in one statement.
const MAX_KEYS: usize = 1000;

/// The lookups of a node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lookups(Arc<Inner>);

struct Inner {
    visibilities: Arc<Lookup<VisibilityKey>>,
    rings: Arc<Lookup<RingKey>>,
    calls: Arc<Lookup<VisibleCallKey>>,
    call_participants: Arc<Lookup<CallParticipantId>>,
}

/// Lookups of one kind of row.
pub(super) struct Lookup<K: Key>
where
    Rows: Loader<K>,
{
    rows: Arc<Rows>,
    queue: Mutex<Queue<K, <Rows as Loader<K>>::Value>>,
}

struct Queue<K, V> {
    waiting: PendingKeys<K, V>,
    /// Whether a task is reading the rows of the waiting keys.
    is_running: bool,
}

/// Keys, each with the channel to the stream that waits for its value. The value is None if the row does not exist.
type PendingKeys<K, V> = Vec<(K, oneshot::Sender<Option<V>>)>;

pub(super) trait Key: Copy + Eq + Hash + Send + Sync + 'static {}

impl<K: Copy + Eq + Hash + Send + Sync + 'static> Key for K {}

impl Lookups {
    pub(super) fn new(app: App) -> Self {
        let rows = Arc::new(Rows::of_request(app));
        Self(Arc::new(Inner {
            visibilities: Lookup::new(&rows),
            rings: Lookup::new(&rows),
            calls: Lookup::new(&rows),
            call_participants: Lookup::new(&rows),
        }))
    }

    pub(super) fn visibilities(&self) -> &Arc<Lookup<VisibilityKey>> {
        &self.0.visibilities
    }

    pub(super) fn rings(&self) -> &Arc<Lookup<RingKey>> {
        &self.0.rings
    }

    pub(super) fn calls(&self) -> &Arc<Lookup<VisibleCallKey>> {
        &self.0.calls
    }

    pub(super) fn call_participants(&self) -> &Arc<Lookup<CallParticipantId>> {
        &self.0.call_participants
    }
}

impl<K: Key> Lookup<K>
where
    Rows: Loader<K, Error = Error>,
{
    fn new(rows: &Arc<Rows>) -> Arc<Self> {
        let queue = Mutex::new(Queue { waiting: Vec::new(), is_running: false });
        Arc::new(Self { rows: Arc::clone(rows), queue })
    }

    /// Returns the row of a key. None if the row does not exist. Waits while Postgres is unavailable. Fails if the
    /// statement fails for another reason.
    pub(super) async fn get(self: &Arc<Self>, key: K) -> Result<Option<<Rows as Loader<K>>::Value>, RecvError> {
        self.enqueue(key).await
    }

    fn enqueue(self: &Arc<Self>, key: K) -> oneshot::Receiver<Option<<Rows as Loader<K>>::Value>> {
        let (answer, answered) = oneshot::channel();
        let mut queue = self.queue.lock();
        queue.waiting.push((key, answer));
        if !queue.is_running {
            queue.is_running = true;
            tokio::spawn(Arc::clone(self).answer_all());
        }
        answered
    }

    async fn answer_all(self: Arc<Self>) {
        let _guard = Guard(Arc::clone(&self));
        // Lets the other streams that the same event has woken add their keys first.
        tokio::task::yield_now().await;
        while let Some(batch) = self.next() {
            let keys: HashSet<_> = batch.iter().map(|(key, _)| *key).collect();
            let Some(values) = self.load(keys.into_iter().collect()).await else { continue };
            for (key, answer) in batch {
                // Sending fails if the stream has ended meanwhile.
                let _ = answer.send(values.get(&key).cloned());
            }
        }
    }

    /// Takes the keys for the next statement from the queue. None if no key waits; the task then ends.
    fn next(&self) -> Option<PendingKeys<K, <Rows as Loader<K>>::Value>> {
        let mut queue = self.queue.lock();
        queue.waiting.retain(|(_, answer)| !answer.is_closed());
        let count = queue.waiting.len().min(MAX_KEYS);
        queue.is_running = count > 0;
        queue.is_running.then(|| queue.waiting.drain(..count).collect())
    }

    /// Reads the rows of the keys, and retries while Postgres is unavailable. None if the statement fails for another
    /// reason, which the server has logged.
    async fn load(&self, keys: Vec<K>) -> Option<HashMap<K, <Rows as Loader<K>>::Value>> {
        loop {
            match Loader::load(&*self.rows, &keys).await {
                Ok(values) => return Some(values),
                Err(error) if error.code() == ErrorCode::Unavailable => tokio::time::sleep(RETRY_DELAY).await,
                Err(_) => return None,
            }
        }
    }
}

/// Resets the queue if its task panics: the waiting lookups fail, and the next lookup starts a new task.
struct Guard<K: Key>(Arc<Lookup<K>>)
where
    Rows: Loader<K>;

impl<K: Key> Drop for Guard<K>
where
    Rows: Loader<K>,
{
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = self.0.queue.lock();
            queue.is_running = false;
            queue.waiting.clear();
        }
    }
}
