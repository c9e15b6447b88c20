//! Sends the push deliveries that are due. Every node does this, and each delivery is claimed by one of them.
//!
//! A node claims only as many deliveries as it can start to send at once. A crash loses nothing, because claims end
//! after `CLAIM`. Only the pushes that were in flight are sent twice.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::core::PushCore;
use super::facts::Facts;
use super::outcomes::{Batch, Sent, Warnings};
use super::places::{Free, Places};
use super::targets::voip_token;
use super::texts::{Letter, Unsent, Writer};
use crate::config::{PUSH_CONCURRENCY_PER_HOST, PushContent, PushSettings, SEND_TIMEOUT};
use crate::error::{RETRY_DELAY, Result};
use crate::store::push::deliveries::{self, Claimed, DeliveryKind, Room};

/// Time after which another node may claim a delivery that was claimed and not finished. `Pusher::send` returns within
/// half of it, so the rest is for Postgres.
const CLAIM: Duration = Duration::from_secs(30);
/// Time for which further answers are collected after an answer, so that one transaction stores them.
const GATHER: Duration = Duration::from_millis(5);
/// Minimum time between two counts of the deliveries that wait.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum time at shutdown for the pushes in flight. It is shorter than SEND_TIMEOUT, because part of the shutdown is
/// already over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
const _: () = assert!(CLAIM.as_secs() > 2 * SEND_TIMEOUT.as_secs());

/// The sending of push deliveries on this node. Clones share the same pushes.
#[derive(Clone)]
pub(in crate::domain) struct Deliveries {
    core: Arc<PushCore>,
    content: PushContent,
    interval: Duration,
    /// Cancelled when the node stops: no further deliveries are claimed.
    closing: CancellationToken,
    running: TaskTracker,
}

struct Worker {
    core: Arc<PushCore>,
    content: PushContent,
    interval: Duration,
    closing: CancellationToken,
    places: Places,
    sends: JoinSet<Sent>,
    /// Results that are not stored yet.
    batch: Batch,
    warnings: Warnings,
    /// Whether the last claim had deliveries that were finished without a push.
    has_finished_unsent: bool,
    /// When the deliveries that wait were last counted.
    counted_at: Option<Instant>,
}

impl Deliveries {
    /// `tail_poll_interval` is the time after which the worker polls if it was not woken.
    pub(in crate::domain) fn new(core: &Arc<PushCore>, settings: &PushSettings, tail_poll_interval: Duration) -> Self {
        Self {
            core: Arc::clone(core),
            content: settings.push_content,
            interval: tail_poll_interval,
            closing: CancellationToken::new(),
            running: TaskTracker::new(),
        }
    }

    /// Sends deliveries until the returned future is dropped. `wake` signals new deliveries. The pushes in
    /// flight are then finished in the background, and `close` waits for them.
    pub(in crate::domain) async fn run(self, wake: Arc<Notify>) {
        let _closes = self.closing.clone().drop_guard();
        let worker = Worker {
            core: self.core,
            content: self.content,
            interval: self.interval,
            closing: self.closing.clone(),
            places: Places::default(),
            sends: JoinSet::new(),
            batch: Batch::default(),
            warnings: Warnings::default(),
            has_finished_unsent: false,
            counted_at: None,
        };
        if let Err(error) = self.running.spawn(worker.run(wake)).await {
            error!(%error, "the worker of push deliveries ended");
        }
    }

    /// Waits at the end of the node until the pushes in flight are answered and their results are stored, but at most
    /// for `CLOSE_TIMEOUT`.
    pub(in crate::domain) async fn close(&self) {
        self.closing.cancel();
        self.running.close();
        if timeout(CLOSE_TIMEOUT, self.running.wait()).await.is_err() {
            warn!("the server stops before all pushes in flight were answered; another node may send them again");
        }
    }
}

impl Worker {
    async fn run(mut self, wake: Arc<Notify>) {
        let closing = self.closing.clone();
        while !closing.is_cancelled() {
            if let Err(error) = self.work().await {
                warn!(%error, after = ?RETRY_DELAY, "sending push notifications failed; trying again");
                closing.run_until_cancelled(sleep(RETRY_DELAY)).await;
                continue;
            }
            // The places of deliveries that were not sent are free, so others are claimed at once.
            let pause = if self.has_finished_unsent { Duration::ZERO } else { self.interval };
            tokio::select! {
                () = closing.cancelled() => {}
                () = wake.notified() => {}
                Some(sent) = self.sends.join_next() => self.gather(sent).await,
                () = sleep(pause) => {}
            }
        }
        self.finish().await;
    }

    /// Stores the results of pushes, and starts to send the deliveries that are due, as many as there are places.
    async fn work(&mut self) -> Result<()> {
        self.store_results().await?;
        self.start_due().await?;
        // Deliveries that are not sent are finished already.
        self.store_results().await?;
        self.count().await
    }

    async fn start_due(&mut self) -> Result<()> {
        self.has_finished_unsent = false;
        let Free { total, unproven, services } = self.places.free();
        if total == 0 {
            return Ok(());
        }
        let room = Room {
            services: services.iter().map(|service| service.name.as_str()).collect(),
            free: services.iter().map(|service| count(service.free)).collect(),
            are_proven: services.iter().map(|service| service.is_proven).collect(),
            others: count(PUSH_CONCURRENCY_PER_HOST),
            unproven: count(unproven),
            total: count(total),
        };
        let core = Arc::clone(&self.core);
        let mut connection = core.base.connection().await?;
        let claimed = deliveries::claim(&mut connection, &room, CLAIM).await?;
        if claimed.is_empty() {
            return Ok(());
        }
        let now = core.base.now();
        let facts = match Facts::read(&mut connection, &claimed, now).await {
            Ok(facts) => facts,
            Err(error) => {
                for delivery in &claimed {
                    self.batch.give_back(delivery);
                }
                return Err(error.into());
            }
        };
        drop(connection);
        let writer = Writer { texts: &core.texts, content: self.content, facts: &facts, now };
        for delivery in claimed {
            self.start(delivery, &writer);
        }
        Ok(())
    }

    /// Starts to send a delivery, or finishes it if there is nothing to send.
    fn start(&mut self, delivery: Claimed, writer: &Writer<'_>) {
        if self.is_told_otherwise(&delivery) {
            return self.finish_unsent(&delivery);
        }
        let Letter { target, push, message } = match writer.letter(&delivery) {
            Ok(letter) => letter,
            Err(Unsent::Obsolete) => return self.finish_unsent(&delivery),
            Err(Unsent::Invalid(reason)) => {
                self.warnings.log(&delivery.service, &reason);
                return self.finish_unsent(&delivery);
            }
        };
        let place = self.places.take(&delivery.service);
        let pusher = self.core.pusher.clone();
        let voip_token = voip_token(&target).map(str::to_owned);
        self.sends.spawn(async move {
            let started = Instant::now();
            let outcome = pusher.send(&target, &push).await;
            drop(place);
            Sent { delivery, message, voip_token, remaining: push.ttl.saturating_sub(started.elapsed()), outcome }
        });
    }

    fn finish_unsent(&mut self, delivery: &Claimed) {
        self.has_finished_unsent = true;
        self.batch.finish(delivery);
    }

    /// Whether the user sees the message or the call without a push, by the rule of `PushCore::is_seen`. For a call,
    /// only a visible device counts.
    fn is_told_otherwise(&self, delivery: &Claimed) -> bool {
        let (user, session) = (delivery.user_id, delivery.session_id);
        match delivery.kind {
            DeliveryKind::Message => delivery.conversation_id.is_some_and(|id| self.core.is_seen(id, user, session)),
            DeliveryKind::Call => self.core.live.is_session_visible(session),
            DeliveryKind::Dismiss | DeliveryKind::CallEnded => false,
        }
    }

    /// Collects an answer, and those that follow within `GATHER`.
    async fn gather(&mut self, first: Result<Sent, JoinError>) {
        self.collect(first);
        let end = Instant::now() + GATHER;
        while let Ok(Some(next)) = timeout_at(end, self.sends.join_next()).await {
            self.collect(next);
        }
    }

    fn collect(&mut self, sent: Result<Sent, JoinError>) {
        match sent {
            Ok(sent) => self.batch.add(sent, &self.core.base.random, &mut self.warnings),
            // The delivery is sent again when its claim ends.
            Err(error) => error!(%error, "sending a push ended without an answer"),
        }
    }

    async fn store_results(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        self.batch.store(&mut *core.base.connection().await?, core.base.now()).await?;
        self.batch = Batch::default();
        Ok(())
    }

    /// Counts the deliveries that wait, for the metrics.
    async fn count(&mut self) -> Result<()> {
        if self.counted_at.is_some_and(|at| at.elapsed() < COUNT_INTERVAL) {
            return Ok(());
        }
        let waiting = deliveries::count(&mut *self.core.base.connection().await?).await?;
        self.core.base.metrics.push().set_queue_length(waiting);
        self.counted_at = Some(Instant::now());
        Ok(())
    }

    /// Waits for the answers to the pushes in flight, and stores all results. Deliveries that were claimed and not sent
    /// are given back.
    async fn finish(mut self) {
        loop {
            let next = self.sends.join_next().await;
            let is_last = next.is_none();
            if let Some(sent) = next {
                self.gather(sent).await;
            }
            let stored = self.store_results().await;
            if let Err(error) = stored {
                warn!(%error, "storing the results of push notifications failed");
            }
            if is_last {
                return;
            }
        }
    }
}

fn count(places: usize) -> i64 {
    i64::try_from(places).unwrap_or(i64::MAX)
}
