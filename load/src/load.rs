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
use crate::ledger::{Ledger, ReceivedRange, Violations};
use crate::listener::Listener;
use crate::numbers::{float, length};
use crate::process::{Sample, Usage};
use crate::sender::{self, Pacer};
use crate::stopwatch::{Stopwatch, Window};
use crate::timeline::{Span, Timeline};

/// Time without a delivery after which the outstanding messages count as lost.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which the listeners stay connected after the last message, to find messages that are delivered twice.
/// Longer than TAIL_POLL_INTERVAL, which is 1 s by default.
const DUPLICATE_WAIT: Duration = Duration::from_millis(1500);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum number of clients that connect at the same time.
const MAX_CONNECTING: usize = 64;

/// The plan of a load. Senders and listeners refer to a room by its index in `rooms`.
pub struct Plan {
    /// Addresses of the servers. Senders and listeners are distributed over all servers.
    pub nodes: Vec<SocketAddr>,
    /// Process ids of the servers, whose processor time and memory are measured. Empty if the servers run on other
    /// machines.
    pub pids: Vec<u32>,
    /// Ids of the conversations.
    pub rooms: Vec<String>,
    pub senders: Vec<Sender>,
    pub listeners: Vec<ListenerPlan>,
    pub pace: Pace,
    /// Time before the measurement, in which caches, connections and query plans become warm.
    pub warm_up: Duration,
    pub length: Duration,
    /// Share of the listeners that reconnect in each second.
    pub churn: f64,
    /// Whether failed requests are retried and disconnected listeners reconnect, as real clients do. If false, a failed
    /// request and a disconnection are violations.
    pub persistent: bool,
}

/// One connection that sends to its rooms in turn, with one account for each room.
pub struct Sender {
    pub turns: Vec<(u32, Account)>,
}

/// One socket with an `inbox` subscription, and the rooms whose messages are delivered to it.
pub struct ListenerPlan {
    pub account: Account,
    pub rooms: Vec<u32>,
    /// Whether the subscription has fields that depend on the viewer.
    pub personal: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// A sender begins its next message when its previous message is acknowledged.
    Acknowledged,
    /// Number of messages in flight. A new message begins when all listeners have received one of these messages.
    InFlight(usize),
    /// Number of messages per second of all senders together. A sender that still waits for an acknowledgement sends
    /// its next message later.
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
    /// Index of each room. The key is the id of its conversation.
    pub(crate) room_indexes: HashMap<String, u32>,
    pub(crate) watch: Stopwatch,
    pub(crate) ledger: Ledger,
    pub(crate) timeline: Timeline,
    /// Permits for new messages, used by `Pace::InFlight`.
    pub(crate) permits: Semaphore,
    pub(crate) persistent: bool,
    pub(crate) retries: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    /// Cancelled when the listeners must stop.
    pub(crate) stop: CancellationToken,
}

type ReceivedRanges = Vec<(usize, u32, ReceivedRange)>;

/// Connects all clients, runs the load, and waits until all messages are delivered or `DELIVERY_TIMEOUT` has passed.
pub async fn run(plan: Plan) -> Result<Outcome> {
    let connected = ConnectedListeners::connect(&plan).await?;
    let clients: Vec<Client> = stream::iter((0..plan.senders.len()).map(|index| plan.nodes[index % plan.nodes.len()]))
        .map(Client::connect)
        .buffered(MAX_CONNECTING)
        .try_collect()
        .await?;
    let watch = Stopwatch::new();
    let window = Window { start: plan.warm_up, end: plan.warm_up + plan.length };
    let shared = Arc::new(Shared::new(&plan, watch, window));
    let listeners = connected.listeners.len();
    let (listening, churns) = connected.listen(&shared);
    let churning = (plan.churn > 0.0).then(|| tokio::spawn(churn(churns, plan.churn)));
    let usage = tokio::spawn(measure(plan.pids, watch, window));
    let count = plan.senders.len();
    let sending = plan.senders.into_iter().zip(clients).enumerate().map(|(index, (sender, client))| {
        let pacer = Pacer::new(plan.pace, index, count);
        tokio::spawn(sender::run(Arc::clone(&shared), index, sender, client, pacer))
    });
    let sending: Vec<JoinHandle<()>> = sending.collect();
    for sender in sending {
        sender.await?;
    }
    if let Some(churning) = churning {
        churning.abort();
    }
    wait_for_deliveries(&shared).await;
    sleep(DUPLICATE_WAIT).await;
    shared.stop.cancel();
    let mut ranges = ReceivedRanges::new();
    for received in join_all(listening).await {
        ranges.extend(received?);
    }
    let violations = shared.ledger.close(ranges);
    Ok(shared.outcome(listeners, usage.await?, violations))
}

impl Shared {
    fn new(plan: &Plan, watch: Stopwatch, window: Window) -> Self {
        let mut listeners = vec![0; plan.rooms.len()];
        for room in plan.listeners.iter().flat_map(|listener| &listener.rooms) {
            if let Some(count) = usize::try_from(*room).ok().and_then(|room| listeners.get_mut(room)) {
                *count += 1;
            }
        }
        let permits = match plan.pace {
            Pace::InFlight(permits) => permits,
            Pace::Acknowledged | Pace::Rate(_) => 0,
        };
        Self {
            nodes: plan.nodes.clone(),
            rooms: plan.rooms.clone(),
            room_indexes: plan.rooms.iter().cloned().zip(0..).collect(),
            watch,
            ledger: Ledger::new(listeners),
            timeline: Timeline::new(window),
            permits: Semaphore::new(permits),
            persistent: plan.persistent,
            retries: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            stop: CancellationToken::new(),
        }
    }

    /// Returns the address of the server that client number `index` uses after `tried` failed attempts.
    pub(crate) fn node(&self, index: usize, tried: usize) -> SocketAddr {
        self.nodes[(index + tried) % self.nodes.len()]
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
            violations: violations.descriptions,
        }
    }
}

impl Outcome {
    /// Returns the servers' processor time for one delivery, in microseconds. None if the processor time could not be
    /// measured.
    pub fn server_micros(&self) -> Option<f64> {
        Some(self.usage.server_seconds? / (self.total.deliveries_per_second * self.seconds) * 1e6)
    }

    pub fn violations(&self) -> Violations {
        Violations { count: self.violation_count, descriptions: self.violations.clone() }
    }
}

/// All listeners of a load, after they have connected.
struct ConnectedListeners {
    listeners: Vec<Listener>,
}

impl ConnectedListeners {
    async fn connect(plan: &Plan) -> Result<Self> {
        let connect = async |(index, listener): (usize, &ListenerPlan)| {
            Listener::connect(index, plan.nodes[index % plan.nodes.len()], listener).await
        };
        let listeners = stream::iter(plan.listeners.iter().enumerate().map(connect)).buffered(MAX_CONNECTING);
        Ok(Self { listeners: listeners.try_collect().await.context("connecting the listeners")? })
    }

    /// Starts a task for each listener. Returns the tasks, and for each task a `Notify` that makes its listener
    /// reconnect.
    fn listen(self, shared: &Arc<Shared>) -> (Vec<JoinHandle<ReceivedRanges>>, Vec<Arc<Notify>>) {
        let listen = |listener: Listener| {
            let churn = Arc::new(Notify::new());
            (tokio::spawn(listener.listen(Arc::clone(shared), Arc::clone(&churn))), churn)
        };
        self.listeners.into_iter().map(listen).unzip()
    }
}

/// Makes this share of the listeners reconnect in each second, one listener after the other and evenly over time.
async fn churn(listeners: Vec<Arc<Notify>>, share: f64) {
    let per_second = length(listeners.len()) * share;
    if per_second == 0.0 {
        return;
    }
    let pause = Duration::from_secs_f64(1.0 / per_second);
    let begin = tokio::time::Instant::now();
    // The stride is a prime, so that neighbours in the list do not reconnect one after the other.
    for (turn, index) in (1_u64..).zip((0..).map(|turn: usize| turn.wrapping_mul(7919) % listeners.len())) {
        sleep_until(begin + pause.mul_f64(float(turn))).await;
        listeners[index].notify_one();
    }
}

async fn measure(pids: Vec<u32>, watch: Stopwatch, window: Window) -> Usage {
    sleep_until(watch.at(window.start)).await;
    let (before, begin) = (Sample::measure(&pids), watch.now());
    sleep_until(watch.at(window.end)).await;
    Sample::measure(&pids).since(&before, watch.now().saturating_sub(begin))
}

/// Waits until every listener has received all acknowledged messages, or until no message was delivered for
/// `DELIVERY_TIMEOUT`.
async fn wait_for_deliveries(shared: &Shared) {
    let (mut total, mut since) = (0, shared.watch.now());
    while !shared.ledger.is_complete() {
        let now = shared.ledger.deliveries();
        if now > total {
            (total, since) = (now, shared.watch.now());
        }
        if shared.watch.now().saturating_sub(since) > DELIVERY_TIMEOUT {
            return;
        }
        sleep(POLL_INTERVAL).await;
    }
}
