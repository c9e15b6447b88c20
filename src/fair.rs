//! A bounded worker pool that serves its keys in turn, so that a key with many waiting jobs delays the jobs of another
//! key by one turn at most. A key is the address or the user that causes the work.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Signal that the client of a request no longer waits for the response. The default value is never signalled.
#[derive(Clone, Debug, Default)]
pub struct Gone(CancellationToken);

impl Gone {
    /// Returns a signal and its guard. Dropping the guard sends the signal.
    pub fn on_drop() -> (Self, DropGuard) {
        let token = CancellationToken::new();
        (Self(token.clone()), token.drop_guard())
    }

    pub fn is_gone(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Maximum numbers of running and of waiting jobs of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Maximum number of jobs that run at the same time.
    pub workers: usize,
    /// Maximum number of waiting jobs of all keys together.
    pub queue: usize,
    /// Maximum number of waiting jobs of one key.
    pub share: usize,
}

/// Reason why a pool does not run a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The queue is full.
    QueueFull,
    /// The share of the key in the queue is full.
    ShareFull,
    /// The client disconnected before the job began.
    Gone,
}

/// A worker pool. A job needs a permit of the pool to run. Clones share the same workers and queues.
#[derive(Debug)]
pub struct Pool<K: Hash + Eq + Clone>(Arc<Shared<K>>);

impl<K: Hash + Eq + Clone> Clone for Pool<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Shared<K> {
    bounds: Bounds,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    running: usize,
    waiting: usize,
    /// Number that the next queued job gets.
    next: u64,
    /// Queues of waiting jobs, by key. No queue is empty.
    queues: HashMap<Option<K>, VecDeque<Job>>,
    /// The keys of `queues`, in the order of their turns.
    turns: VecDeque<Option<K>>,
}

#[derive(Debug)]
struct Job {
    number: u64,
    start: oneshot::Sender<()>,
}

/// The right to run one job. Dropping the permit frees the worker.
#[derive(Debug)]
pub struct Permit<K: Hash + Eq + Clone>(Arc<Shared<K>>);

impl<K: Hash + Eq + Clone> Pool<K> {
    pub fn new(bounds: Bounds) -> Self {
        let state = State { running: 0, waiting: 0, next: 0, queues: HashMap::new(), turns: VecDeque::new() };
        Self(Arc::new(Shared { bounds, state: Mutex::new(state) }))
    }

    /// Waits until a job of `key` may run. All jobs without a key share one turn, and `Bounds::share` does not limit
    /// their number. The job leaves the queue when `gone` is signalled or the future is dropped.
    pub async fn permit(&self, key: impl Into<Option<K>>, gone: &Gone) -> Result<Permit<K>, Refusal> {
        let mut waiting = match self.0.submit(key.into(), gone)? {
            Outcome::Started(permit) => return Ok(permit),
            Outcome::Queued(waiting) => waiting,
        };
        tokio::select! {
            biased;
            () = gone.0.cancelled() => Err(Refusal::Gone),
            // The queue keeps the sender until the job is started, so receiving does not fail.
            _ = &mut waiting.started => waiting.permit().ok_or(Refusal::Gone),
        }
    }

    /// Waits for the turn of a job that is never refused, because it is part of work that has begun.
    pub async fn turn(&self, key: Option<K>) -> Permit<K> {
        let mut waiting = match self.0.submit_unbounded(key) {
            Outcome::Started(permit) => return permit,
            Outcome::Queued(waiting) => waiting,
        };
        // The queue keeps the sender until the job is started, so receiving does not fail.
        let _ = (&mut waiting.started).await;
        waiting.shared.take().map_or_else(|| Permit(Arc::clone(&self.0)), Permit)
    }

    /// Returns the number of running jobs and the number of waiting jobs.
    pub fn load(&self) -> (usize, usize) {
        let state = self.0.state.lock();
        (state.running, state.waiting)
    }
}

enum Outcome<K: Hash + Eq + Clone> {
    Started(Permit<K>),
    Queued(Waiting<K>),
}

impl<K: Hash + Eq + Clone> Shared<K> {
    fn submit(self: &Arc<Self>, key: Option<K>, gone: &Gone) -> Result<Outcome<K>, Refusal> {
        if gone.is_gone() {
            return Err(Refusal::Gone);
        }
        let mut state = self.state.lock();
        if let Some(permit) = self.start(&mut state) {
            return Ok(Outcome::Started(permit));
        }
        if key.is_some() && state.queues.get(&key).map_or(0, VecDeque::len) >= self.bounds.share {
            return Err(Refusal::ShareFull);
        }
        if state.waiting >= self.bounds.queue {
            return Err(Refusal::QueueFull);
        }
        Ok(self.queue(&mut state, key))
    }

    fn submit_unbounded(self: &Arc<Self>, key: Option<K>) -> Outcome<K> {
        let mut state = self.state.lock();
        match self.start(&mut state) {
            Some(permit) => Outcome::Started(permit),
            None => self.queue(&mut state, key),
        }
    }

    /// Returns a permit if a worker is free.
    fn start(self: &Arc<Self>, state: &mut State<K>) -> Option<Permit<K>> {
        let is_free = state.running < self.bounds.workers;
        state.running += usize::from(is_free);
        is_free.then(|| Permit(Arc::clone(self)))
    }

    fn queue(self: &Arc<Self>, state: &mut State<K>, key: Option<K>) -> Outcome<K> {
        let (start, started) = oneshot::channel();
        let number = state.push(key.clone(), start);
        Outcome::Queued(Waiting { shared: Some(Arc::clone(self)), key, number, started })
    }
}

impl<K: Hash + Eq + Clone> State<K> {
    fn push(&mut self, key: Option<K>, start: oneshot::Sender<()>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        let queue = match self.queues.entry(key) {
            Entry::Occupied(queue) => queue.into_mut(),
            Entry::Vacant(vacant) => {
                self.turns.push_back(vacant.key().clone());
                vacant.insert(VecDeque::new())
            }
        };
        queue.push_back(Job { number, start });
        number
    }

    /// Removes a waiting job from its queue. Returns false if the job has started.
    fn remove(&mut self, key: Option<&K>, number: u64) -> bool {
        let key = key.cloned();
        let Some(queue) = self.queues.get_mut(&key) else { return false };
        let Some(index) = queue.iter().position(|job| job.number == number) else { return false };
        queue.remove(index);
        self.waiting -= 1;
        if queue.is_empty() {
            self.queues.remove(&key);
            self.turns.retain(|other| *other != key);
        }
        true
    }

    /// Gives a worker that became free to the first job of the key whose turn it is.
    fn release(&mut self) {
        while let Some(key) = self.turns.pop_front() {
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            let job = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&key);
            } else {
                self.turns.push_back(key);
            }
            let Some(job) = job else { continue };
            self.waiting -= 1;
            // If the job is cancelled at this moment, the drop of its `Waiting` releases the permit.
            let _ = job.start.send(());
            return;
        }
        self.running -= 1;
    }
}

/// A job in the queue. Dropping this value removes the job from the queue, or releases the permit if the job was
/// started and has not taken the permit yet.
struct Waiting<K: Hash + Eq + Clone> {
    /// The pool. None after the permit was taken.
    shared: Option<Arc<Shared<K>>>,
    key: Option<K>,
    number: u64,
    /// Receives the start of the job. Exists as long as the job is in the queue, so that starting the job never fails.
    started: oneshot::Receiver<()>,
}

impl<K: Hash + Eq + Clone> Waiting<K> {
    /// Takes the permit of a job that has been started. None if the permit was already taken.
    fn permit(&mut self) -> Option<Permit<K>> {
        self.shared.take().map(Permit)
    }
}

impl<K: Hash + Eq + Clone> Drop for Waiting<K> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let mut state = shared.state.lock();
        if !state.remove(self.key.as_ref(), self.number) {
            state.release();
        }
    }
}

impl<K: Hash + Eq + Clone> Drop for Permit<K> {
    fn drop(&mut self) {
        self.0.state.lock().release();
    }
}
