//! This node's tail of the log. It dispatches every event once and in `seq` order, although the broker may lose,
//! duplicate and reorder events.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::broker::Incoming;
use super::dispatcher::Dispatcher;
use super::event::{Change, Event, Seq};
use super::read::{self, Head};
use crate::clock::Clock;
use crate::config::LogSettings;
use crate::error::Result;
use crate::ids::MessageId;
use crate::metrics::{Metrics, Source};
use crate::store::Database;
use crate::store::people::sessions;

/// Maximum number of events that one query reads to fill a gap or to catch up.
const READ_PAGE: i64 = 1000;
/// Maximum number of early events that are put aside. Further early events are dropped, and read from Postgres later.
const MAX_EARLY: usize = 10_000;

pub(super) struct Tail {
    database: Database,
    dispatcher: Arc<Dispatcher>,
    settings: LogSettings,
    clock: Clock,
    metrics: Metrics,
    epoch: i64,
    position: Seq,
    /// Events that arrived before an event with a lower seq.
    early: BTreeMap<Seq, Event>,
    /// Time at which the events that are missing before the first early event are read from Postgres. None if no such
    /// read is due.
    hole_due: Option<Instant>,
}

impl Tail {
    pub(super) fn new(
        database: Database,
        dispatcher: Arc<Dispatcher>,
        settings: LogSettings,
        clock: Clock,
        metrics: Metrics,
        head: &Head,
    ) -> Self {
        let (epoch, position) = (head.epoch, head.seq);
        metrics.set_log_position(position);
        Self { database, dispatcher, settings, clock, metrics, epoch, position, early: BTreeMap::new(), hole_due: None }
    }

    pub(super) async fn run(mut self, mut incoming: mpsc::Receiver<Incoming>, stop: CancellationToken) {
        let mut poll = interval(self.settings.tail_poll_interval);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let read = tokio::select! {
                () = stop.cancelled() => return,
                next = incoming.recv() => match next {
                    Some(Incoming::Published(publication)) => {
                        if publication.epoch == self.epoch {
                            // A message that is published late or twice might have changed since its event.
                            let fresh = publication.events.iter().any(|event| event.seq > self.position);
                            for message in &publication.messages {
                                self.dispatcher.observers.observe_message(message, fresh);
                            }
                            self.accept(publication.events, Source::Published);
                        } else {
                            warn!("ignored a publication of another database; give each its own REDIS_PREFIX");
                        }
                        false
                    }
                    Some(Incoming::Gap) => true,
                    None => return,
                },
                () = sleep_until_due(self.hole_due) => {
                    debug!(position = self.position, "events are missing; reading them from Postgres");
                    true
                }
                _ = poll.tick() => true,
            };
            if read && let Err(error) = self.read().await {
                warn!(%error, "the tail cannot read Postgres; it will retry at the next poll");
                self.hole_due = None;
            }
        }
    }

    /// Dispatches the events that are next in order, and puts early events aside.
    fn accept(&mut self, events: Vec<Event>, source: Source) {
        for event in events {
            if event.seq == self.position + 1 {
                self.advance(event, source);
            } else if event.seq > self.position && self.early.len() < MAX_EARLY {
                self.early.insert(event.seq, event);
            }
        }
        while let Some(entry) = self.early.first_entry() {
            match *entry.key() - self.position {
                ..=0 => drop(entry.remove()),
                1 => {
                    let event = entry.remove();
                    self.advance(event, Source::Published);
                }
                _ => break,
            }
        }
        self.hole_due = match (self.early.is_empty(), self.hole_due) {
            (true, _) => None,
            (false, due) => due.or_else(|| Some(Instant::now() + self.settings.tail_hole_wait)),
        };
    }

    fn advance(&mut self, event: Event, source: Source) {
        self.position = event.seq;
        self.metrics.set_log_position(event.seq);
        self.metrics.event_dispatched(source);
        if let Change::MessageAdded { message, .. } = event.change {
            self.metrics.message_dispatched(self.age(message));
        }
        self.dispatcher.dispatch(event);
    }

    /// Returns the age of the message. Returns zero if the clock of the node that created the message is ahead.
    fn age(&self, message: MessageId) -> Duration {
        (self.clock.now() - message.created_at()).to_std().unwrap_or_default()
    }

    /// Reads all events after the position from Postgres.
    async fn read(&mut self) -> Result<()> {
        self.hole_due = None;
        let mut hole = !self.early.is_empty();
        loop {
            let read_at = std::time::Instant::now();
            let mut connection = self.database.connection().await?;
            let head = read::head(&mut connection).await?;
            let events = if head.seq > self.position {
                read::between(&mut connection, self.position, Seq::MAX, READ_PAGE).await?
            } else {
                Vec::new()
            };
            drop(connection);
            if head.forgotten > self.position {
                self.skip_to(head.forgotten).await?;
            }
            if events.is_empty() {
                self.metrics.set_at_head(read_at);
                return Ok(());
            }
            if std::mem::take(&mut hole) {
                self.metrics.hole_filled();
            }
            self.accept(events, Source::Read);
        }
    }

    /// Skips events that were dropped before this node could read them, because the node was disconnected for longer
    /// than events are kept. Reads from Postgres which watched sessions these events have revoked.
    async fn skip_to(&mut self, forgotten: Seq) -> Result<()> {
        warn!(from = self.position, to = forgotten, "events were dropped before this node read them");
        // A watch that begins from now on is not affected: its caller reads the session from Postgres afterwards.
        let mut ended = self.dispatcher.observers.clear();
        let live = sessions::unrevoked(&mut *self.database.connection().await?, &ended).await?;
        let live: HashSet<_> = live.into_iter().collect();
        ended.retain(|session| !live.contains(session));
        self.dispatcher.skip_to(forgotten, &ended);
        self.position = forgotten;
        Ok(())
    }
}

async fn sleep_until_due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
