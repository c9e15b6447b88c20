//! Rendering for each viewer: events whose document depends on the viewer.
//!
//! Streams put their events into a queue and wait for the results. A few tasks, the workers, take the events from the
//! queue in chunks: events of one plan for many viewers. Each chunk has its own loaders and runs all its executions
//! together. So one statement for each level of the document loads the data of all viewers, and no stream waits for a
//! lock. The queue is fair between users, see [`FairQueue`]. The workers are few and yield often, so that a document
//! that is expensive to render delays its own subscribers, and nothing else on the node.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, ready};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::execution::Execution;
use super::fair_queue::FairQueue;
use super::rendered::Rendered;
use super::response::Body;
use super::time_slice::{Gate, TimeSlice};
use crate::graphql::{Batches, Caller, Identity, InboxItem, Loaders, StreamLoaders};
use crate::ids::UserId;
use crate::log::{Cursor, Log};
use crate::metrics::Metrics;

/// Maximum cost of the executions of one chunk, in the unit of OPERATION_MAX_COMPLEXITY. A more expensive execution is
/// a chunk of its own. Bounds the memory of the executions, and how long the next chunk waits. A thousand viewers of a
/// small document are one chunk.
const CHUNK_COST: u64 = 10_000;
/// Maximum number of statements that one chunk runs at once, if the pool has enough connections.
const MAX_CONCURRENT_LOADS: usize = 2;
/// Maximum age of a result that serves another stream of the same user, if the position of the log has not changed. All
/// streams of a user get an event at nearly the same time.
const REUSE: Duration = Duration::from_secs(1);
/// Maximum bytes of results that are cached for reuse.
const REUSE_BYTES: u64 = 8 * 1024 * 1024;
/// Estimated bytes that a cached result takes in addition to its text.
const ENTRY_BYTES: usize = 300;

/// Renders events for single viewers. A node has one. Cheap to clone.
#[derive(Clone)]
pub(super) struct Personal(Arc<Inner>);

struct Inner {
    loaders: StreamLoaders,
    log: Log,
    metrics: Metrics,
    state: Mutex<State>,
    recent: Cache<Key, Recent, Weight>,
    gate: Gate,
    /// Maximum number of chunks that run at the same time.
    max_chunks: usize,
    /// Maximum number of statements that a chunk runs at once.
    max_loads: usize,
}

/// Identifies a rendering: one event of a plan, for one user.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    plan: u64,
    user: UserId,
    item: InboxItem,
}

type Answer = oneshot::Sender<Option<Rendered>>;

#[derive(Default)]
struct State {
    queue: FairQueue<Key>,
    /// Renderings that wait in the queue.
    waiting: HashMap<Key, Waiting>,
    /// Renderings that have begun.
    running: HashMap<Key, Running>,
    /// Number of running chunks of each plan.
    busy: HashMap<u64, usize>,
    workers: usize,
    /// Whether a worker has started and has not taken its first chunk yet.
    is_starting: bool,
}

struct Waiting {
    execution: Arc<Execution>,
    caller: Caller,
    answers: Vec<Answer>,
}

struct Running {
    /// The tail's position when the rendering began.
    position: Cursor,
    answers: Answers,
}

/// Senders of the result of one rendering, one for each stream that waits for the result.
type Answers = Arc<Mutex<Vec<Answer>>>;

#[derive(Clone)]
struct Recent {
    position: Cursor,
    at: Instant,
    rendered: Option<Rendered>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Recent> for Weight {
    fn weight(&self, _: &Key, recent: &Recent) -> u64 {
        (recent.rendered.as_ref().map_or(0, Rendered::len) + ENTRY_BYTES) as u64
    }
}

impl Personal {
    /// Creates the renderer. `connections` is the size of the pool of connections to Postgres.
    pub(super) fn new(loaders: StreamLoaders, log: Log, metrics: Metrics, connections: u32) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        // Half of the processors and half of the connections are left for other work. While one chunk waits for
        // Postgres, another chunk runs.
        let half = (usize::try_from(connections).unwrap_or(usize::MAX) / 2).max(1);
        let max_loads = MAX_CONCURRENT_LOADS.min(half);
        let max_chunks = processors.max(2).min(half / max_loads);
        let entries = usize::try_from(REUSE_BYTES).unwrap_or(usize::MAX) / (2 * ENTRY_BYTES);
        Self(Arc::new(Inner {
            loaders,
            log,
            metrics,
            state: Mutex::default(),
            recent: Cache::with_weighter(entries, REUSE_BYTES, Weight),
            gate: Gate::new((processors / 2).max(1)),
            max_chunks,
            max_loads,
        }))
    }

    /// Returns the gate, for executions on behalf of one viewer that do not run in chunks.
    pub(super) fn gate(&self) -> Gate {
        self.0.gate.clone()
    }

    /// Queues the items and returns their results in the same order. The workers render the items even while the
    /// returned future is not polled. If the future is dropped, the workers skip the items that no other stream waits
    /// for.
    pub(super) fn render(
        &self,
        execution: &Arc<Execution>,
        caller: &Caller,
        items: &[InboxItem],
    ) -> impl Future<Output = Vec<Option<Rendered>>> + Send + use<> {
        let results: Vec<_> = items.iter().map(|&item| self.enqueue(execution, caller, item)).collect();
        join_all(results.into_iter().map(|result| match result {
            Either::Left(rendered) => Either::Left(ready(rendered)),
            // The sender was dropped without a result if the chunk has panicked.
            Either::Right(answer) => {
                Either::Right(answer.map(|result| result.unwrap_or_else(|_| Some(Rendered::new(Body::crashed())))))
            }
        }))
    }

    fn enqueue(
        &self,
        execution: &Arc<Execution>,
        caller: &Caller,
        item: InboxItem,
    ) -> Either<Option<Rendered>, oneshot::Receiver<Option<Rendered>>> {
        let Identity::SignedIn(viewer) = caller.identity else {
            let error = crate::graphql::Error::not_signed_in();
            return Either::Left(Some(Rendered::new(Body::refused(error))));
        };
        let (key, position) = (Key { plan: execution.id, user: viewer.user, item }, self.0.log.position());
        let mut state = self.0.state.lock();
        if let Some(recent) = self.0.recent.get(&key)
            && recent.position == position
            && recent.at.elapsed() < REUSE
        {
            return Either::Left(recent.rendered);
        }
        let (answer, answered) = oneshot::channel();
        if let Some(running) = state.running.get(&key).filter(|running| running.position == position) {
            running.answers.lock().push(answer);
        } else if let Some(waiting) = state.waiting.get_mut(&key) {
            waiting.answers.push(answer);
        } else {
            let waiting = Waiting { execution: Arc::clone(execution), caller: caller.clone(), answers: vec![answer] };
            state.waiting.insert(key, waiting);
            state.queue.push(execution.id, viewer.user, execution.cost, key);
            self.start_worker(&mut state);
        }
        Either::Right(answered)
    }

    /// Starts a worker, unless another worker is starting or the maximum number of workers run. So all streams that an
    /// event wakes can queue the event before the first worker takes it.
    fn start_worker(&self, state: &mut State) {
        if !state.is_starting && state.workers < self.0.max_chunks {
            state.is_starting = true;
            state.workers += 1;
            tokio::spawn(self.clone().work());
        }
    }

    async fn work(self) {
        tokio::task::yield_now().await;
        self.0.state.lock().is_starting = false;
        while let Some((plan, jobs)) = self.next_chunk() {
            // After a panic the jobs are dropped, and the streams that wait for them get an error. The panic hook has
            // already reported the panic.
            let _ = AssertUnwindSafe(self.run(jobs)).catch_unwind().await;
            let mut state = self.0.state.lock();
            if let Some(chunks) = state.busy.get_mut(&plan) {
                *chunks -= 1;
                if *chunks == 0 {
                    state.busy.remove(&plan);
                }
            }
        }
    }

    /// Takes the jobs of the next chunk from the queue. Returns None if no chunk may run now. The worker is then no
    /// longer counted and must end.
    fn next_chunk(&self) -> Option<(u64, Vec<Job>)> {
        // A plan never runs the maximum number of chunks, unless the maximum is one. So other plans need not wait for
        // it.
        let max = (self.0.max_chunks - 1).max(1);
        let mut state = self.0.state.lock();
        let State { queue, busy, .. } = &mut *state;
        let Some((plan, keys)) =
            queue.next_jobs(|plan| busy.get(&plan).is_some_and(|chunks| *chunks >= max), CHUNK_COST)
        else {
            state.workers -= 1;
            return None;
        };
        *state.busy.entry(plan).or_default() += 1;
        let position = self.0.log.position();
        let jobs = keys.into_iter().filter_map(|key| self.begin(&mut state, key, position)).collect();
        if !state.queue.is_empty() {
            self.start_worker(&mut state);
        }
        Some((plan, jobs))
    }

    /// Marks a queued rendering as running and returns its job. Returns None if all streams that waited for the
    /// rendering have ended.
    fn begin(&self, state: &mut State, key: Key, position: Cursor) -> Option<Job> {
        let Waiting { execution, caller, mut answers } = state.waiting.remove(&key)?;
        answers.retain(|answer| !answer.is_closed());
        if answers.is_empty() {
            return None;
        }
        let answers = Arc::new(Mutex::new(answers));
        state.running.insert(key, Running { position, answers: Arc::clone(&answers) });
        Some(Job { personal: self.clone(), key, position, execution, caller, answers })
    }

    /// Runs all jobs of a chunk together, so that they share their loads.
    async fn run(&self, jobs: Vec<Job>) {
        let batches = Batches::at_most(self.0.max_loads);
        let loaders = self.0.loaders.loaders(batches.clone());
        let slice = TimeSlice::default();
        let mut executions = jobs
            .into_iter()
            .map(|job| {
                let (personal, key, answers) = (self.clone(), job.key, Arc::clone(&job.answers));
                slice.run_part(move || personal.abandon(&key, &answers), job.run(loaders.clone()))
            })
            .collect::<FuturesUnordered<_>>();
        let all = batches.drive(async { while executions.next().await.is_some() {} });
        slice.run_task(self.0.gate.clone(), all).await;
    }

    /// Returns whether all streams that wait for a rendering have ended. If so, no other stream can join the rendering
    /// from then on.
    fn abandon(&self, key: &Key, answers: &Answers) -> bool {
        let ended = || answers.lock().iter().all(oneshot::Sender::is_closed);
        if !ended() {
            return false;
        }
        // A stream may have joined since the first check.
        let mut state = self.0.state.lock();
        if !ended() {
            return false;
        }
        if state.running.get(key).is_some_and(|running| Arc::ptr_eq(&running.answers, answers)) {
            state.running.remove(key);
        }
        true
    }
}

/// A rendering that has begun. If the job is dropped, the streams that still wait for the rendering get an error.
struct Job {
    personal: Personal,
    key: Key,
    position: Cursor,
    execution: Arc<Execution>,
    caller: Caller,
    answers: Answers,
}

impl Job {
    async fn run(self, loaders: Loaders) {
        let inner = &self.personal.0;
        inner.metrics.renders(false);
        let execution = self.execution.execute(self.key.item, self.caller.clone(), loaders, None);
        // A panic fails only this rendering, not the whole chunk.
        let body = AssertUnwindSafe(execution).catch_unwind().await.unwrap_or_else(|_| Some(Body::crashed()));
        // A result with errors is not cached, because the next rendering may succeed.
        let succeeded = body.as_ref().is_none_or(|body| body.errors.is_empty());
        let (rendered, position, at) = (body.map(Rendered::new), self.position, Instant::now());
        if succeeded {
            inner.recent.insert(self.key, Recent { position, at, rendered: rendered.clone() });
        }
        self.close();
        for answer in self.answers.lock().drain(..) {
            // The send fails if the stream has ended meanwhile.
            let _ = answer.send(rendered.clone());
        }
    }

    /// Removes the rendering from the running ones, so that no other stream can join it.
    fn close(&self) {
        let mut state = self.personal.0.state.lock();
        if state.running.get(&self.key).is_some_and(|running| Arc::ptr_eq(&running.answers, &self.answers)) {
            state.running.remove(&self.key);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.close();
    }
}
