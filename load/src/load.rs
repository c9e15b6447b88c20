//! Runs one load: connects senders and listeners, sends for a given time, and collects the results.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::client::{Account, Client};
use crate::ledger::{Hearing, Ledger, Violations};
use crate::listener::Listener;
use crate::numbers::{float, length};
use crate::process::{Sample, Usage};
use crate::sender::{self, Pacer};
use crate::stopwatch::{Stopwatch, Window};
use crate::timeline::{Span, Timeline};

/// If no message is delivered for this long, the outstanding messages count as lost.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// The listeners stay connected for this long after the last message, to find messages that are delivered twice. Longer
/// than TAIL_POLL_INTERVAL, 1 s by default.
const AFTERMATH: Duration = Duration::from_millis(1500);
const LOOK: Duration = Duration::from_millis(20);
/// Number of clients that connect at the same time.
const CONNECTING: usize = 64;

/// The plan of a load. Senders and listeners name a room by its index in `rooms`.
pub struct Plan {
    /// Senders and listeners are spread over these servers.
    pub nodes: Vec<SocketAddr>,
    /// Process ids of the servers, if they run on this machine: their processor time and memory are measured.
    pub pids: Vec<u32>,
    /// Ids of conversations.
    pub rooms: Vec<String>,
    pub senders: Vec<Sender>,
    pub listeners: Vec<Ear>,
    pub pace: Pace,
    /// Time before the measurement, in which caches, connections and query plans become warm.
    pub warm_up: Duration,
    pub length: Duration,
    /// Share of the listeners that reconnect each second.
    pub churn: f64,
    /// Whether failed requests are retried and disconnected listeners reconnect, as real clients do. If false, both
    /// are violations.
    pub persistent: bool,
}

/// One connection that sends to its rooms in turn, with an account for each.
pub struct Sender {
    pub turns: Vec<(u32, Account)>,
}

/// One socket with an `inbox` subscription, and the rooms whose messages are delivered to it.
pub struct Ear {
    pub account: Account,
    pub rooms: Vec<u32>,
    /// Whether the subscription has fields that depend on the viewer.
    pub personal: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Each sender's next message begins when its last one is acknowledged.
    Acknowledged,
    /// This many messages are in flight. The next one begins when all listeners have received one of them.
    Heard(usize),
    /// Messages per second of all senders together. A sender that is still waiting for an acknowledgement sends later.
    Rate(f64),
}

/// The results of a load.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub total: Span,
    pub spans: Vec<Span>,
    pub usage: Usage,
    pub seconds: f64,
    pub listeners: usize,
    pub reconnects: u64,
    /// Number of requests that were retried.
    pub retries: u64,
    pub checked_messages: u64,
    pub checked_deliveries: u64,
    pub violation_count: usize,
    pub violations: Vec<String>,
}

/// The state that all tasks of a load share.
pub(crate) struct Shared {
    pub(crate) nodes: Vec<SocketAddr>,
    pub(crate) rooms: Vec<String>,
    /// Index of each room by the id of its conversation.
    pub(crate) places: HashMap<String, u32>,
    pub(crate) watch: Stopwatch,
    pub(crate) ledger: Ledger,
    pub(crate) timeline: Timeline,
    /// Permits for new messages, used by `Pace::Heard`.
    pub(crate) slots: Semaphore,
    pub(crate) persistent: bool,
    pub(crate) retries: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    /// Cancelled when the listeners shall stop.
    pub(crate) stop: CancellationToken,
}

type Hearings = Vec<(usize, u32, Hearing)>;

/// Connects all clients, runs the load, and waits until all messages are delivered or `DELIVERY_TIMEOUT` has passed.
pub async fn run(plan: Plan) -> Result<Outcome> {
    let audience = Audience::gather(&plan).await?;
    let clients: Vec<Client> = stream::iter((0..plan.senders.len()).map(|place| plan.nodes[place % plan.nodes.len()]))
        .map(Client::connect)
        .buffered(CONNECTING)
        .try_collect()
        .await?;
    let watch = Stopwatch::new();
    let window = Window { start: plan.warm_up, end: plan.warm_up + plan.length };
    let shared = Arc::new(Shared::new(&plan, watch, window));
    let listeners = audience.listeners.len();
    let (hearing, churns) = audience.listen(&shared);
    let churning = (plan.churn > 0.0).then(|| tokio::spawn(churn(churns, plan.churn)));
    let usage = tokio::spawn(measure(plan.pids, watch, window));
    let count = plan.senders.len();
    let sending = plan.senders.into_iter().zip(clients).enumerate().map(|(place, (sender, client))| {
        let pacer = Pacer::new(plan.pace, place, count);
        tokio::spawn(sender::run(Arc::clone(&shared), place, sender, client, pacer))
    });
    let sending: Vec<JoinHandle<()>> = sending.collect();
    for sender in sending {
        sender.await?;
    }
    if let Some(churning) = churning {
        churning.abort();
    }
    until_heard(&shared).await;
    sleep(AFTERMATH).await;
    shared.stop.cancel();
    let mut hearings = Hearings::new();
    for heard in join_all(hearing).await {
        hearings.extend(heard?);
    }
    let violations = shared.ledger.close(hearings);
    Ok(shared.outcome(listeners, usage.await?, violations))
}

impl Shared {
    fn new(plan: &Plan, watch: Stopwatch, window: Window) -> Self {
        let mut listeners = vec![0; plan.rooms.len()];
        for room in plan.listeners.iter().flat_map(|ear| &ear.rooms) {
            if let Some(count) = usize::try_from(*room).ok().and_then(|room| listeners.get_mut(room)) {
                *count += 1;
            }
        }
        let slots = match plan.pace {
            Pace::Heard(slots) => slots,
            Pace::Acknowledged | Pace::Rate(_) => 0,
        };
        Self {
            nodes: plan.nodes.clone(),
            rooms: plan.rooms.clone(),
            places: plan.rooms.iter().cloned().zip(0..).collect(),
            watch,
            ledger: Ledger::new(listeners),
            timeline: Timeline::new(window),
            slots: Semaphore::new(slots),
            persistent: plan.persistent,
            retries: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            stop: CancellationToken::new(),
        }
    }

    /// The server that client number `place` uses after `tried` failed attempts.
    pub(crate) fn node(&self, place: usize, tried: usize) -> SocketAddr {
        self.nodes[(place + tried) % self.nodes.len()]
    }

    fn outcome(&self, listeners: usize, usage: Usage, violations: Violations) -> Outcome {
        Outcome {
            total: self.timeline.total(),
            spans: self.timeline.spans(),
            usage,
            seconds: self.timeline.window().length().as_secs_f64(),
            listeners,
            reconnects: self.reconnects.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            checked_messages: self.ledger.messages(),
            checked_deliveries: self.ledger.deliveries(),
            violation_count: violations.count,
            violations: violations.words,
        }
    }
}

impl Outcome {
    /// Microseconds of the servers' processor time per delivery. None if it could not be measured.
    pub fn server_micros(&self) -> Option<f64> {
        Some(self.usage.server_seconds? / (self.total.deliveries_per_second * self.seconds) * 1e6)
    }

    pub fn found(&self) -> Violations {
        Violations { count: self.violation_count, words: self.violations.clone() }
    }
}

/// All listeners, connected.
struct Audience {
    listeners: Vec<Listener>,
}

impl Audience {
    async fn gather(plan: &Plan) -> Result<Self> {
        let connect = async |(place, ear): (usize, &Ear)| {
            Listener::connect(place, plan.nodes[place % plan.nodes.len()], ear).await
        };
        let listeners = stream::iter(plan.listeners.iter().enumerate().map(connect)).buffered(CONNECTING);
        Ok(Self { listeners: listeners.try_collect().await.context("connecting the listeners")? })
    }

    /// Starts a task for each listener. Returns the tasks, and a `Notify` for each of them that makes it reconnect.
    fn listen(self, shared: &Arc<Shared>) -> (Vec<JoinHandle<Hearings>>, Vec<Arc<Notify>>) {
        let listen = |listener: Listener| {
            let churn = Arc::new(Notify::new());
            (tokio::spawn(listener.listen(Arc::clone(shared), Arc::clone(&churn))), churn)
        };
        self.listeners.into_iter().map(listen).unzip()
    }
}

/// Makes a share of the listeners reconnect each second, one after the other and evenly over time.
async fn churn(listeners: Vec<Arc<Notify>>, share: f64) {
    let per_second = length(listeners.len()) * share;
    if per_second == 0.0 {
        return;
    }
    let pause = Duration::from_secs_f64(1.0 / per_second);
    let begin = tokio::time::Instant::now();
    // The stride is a prime, so that neighbours in the list do not reconnect one after the other.
    for (turn, place) in (1_u64..).zip((0..).map(|turn: usize| turn.wrapping_mul(7919) % listeners.len())) {
        sleep_until(begin + pause.mul_f64(float(turn))).await;
        listeners[place].notify_one();
    }
}

async fn measure(pids: Vec<u32>, watch: Stopwatch, window: Window) -> Usage {
    sleep_until(watch.at(window.start)).await;
    let (before, begin) = (Sample::take(&pids), watch.now());
    sleep_until(watch.at(window.end)).await;
    Sample::take(&pids).since(&before, watch.now().saturating_sub(begin))
}

/// Waits until every listener has all acknowledged messages, or until no message was delivered for `DELIVERY_TIMEOUT`.
async fn until_heard(shared: &Shared) {
    let (mut total, mut since) = (0, shared.watch.now());
    while !shared.ledger.is_complete() {
        let now = shared.ledger.deliveries();
        if now > total {
            (total, since) = (now, shared.watch.now());
        }
        if shared.watch.now().saturating_sub(since) > DELIVERY_TIMEOUT {
            return;
        }
        sleep(LOOK).await;
    }
}
