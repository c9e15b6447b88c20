//! Ends what nobody ends: calls that have rung for long enough, and the part of devices that are gone. Every node does
//! it, so that it does not matter which of them dies.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;
use tracing::warn;

use super::call_state::HeldCall;
use super::error::Result;
use super::tasks;
use crate::config::CallSettings;
use crate::error::RETRY;
use crate::ids::{CallParticipantId, ConversationId};
use crate::log::{Log, Transaction};
use crate::random::Random;
use crate::store::calls::{self, CallEndReason, CallState};
use crate::store::{Database, call_participants, call_signals, conversations};

/// Between two looks at Postgres while there is a call on any node, unless something is due before.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Until the next look where another node is at what is due.
const BUSY: Duration = Duration::from_millis(50);
/// Looks of the tail between two of ours while there is no call. Of one that begins the log tells; this is for one
/// whose publication is lost, or that rings for nobody. It is never so long that a sighting, or the end of a ring, is
/// late.
const TAIL_LOOKS: u32 = 10;
/// How often a device is seen in the time that it may be away.
const SIGHTINGS: u32 = 6;
/// Calls that one look sees to.
const BATCH: i64 = 100;

pub(super) struct CallKeeper {
    database: Database,
    log: Log,
    random: Random,
    settings: CallSettings,
    idle_look: Duration,
    /// How long ago a device was seen at least before it is seen again.
    sighting: Duration,
}

impl CallKeeper {
    /// `tail_look` is the time between two looks of the tail.
    pub(super) fn new(
        database: &Database,
        log: &Log,
        random: &Random,
        settings: &CallSettings,
        tail_look: Duration,
    ) -> Self {
        let sighting = settings.call_absence_timeout / SIGHTINGS;
        Self {
            database: database.clone(),
            log: log.clone(),
            random: random.clone(),
            settings: settings.clone(),
            idle_look: (tail_look * TAIL_LOOKS).min(sighting).min(settings.call_ring_timeout),
            sighting,
        }
    }

    /// Begins with what is due already. Nobody is taken for gone before every node has had the time to see who is
    /// there: after a start devices have yet to come back, and while Postgres was away nobody was seen.
    pub(super) async fn run(self) {
        let mut steady_from = Instant::now() + self.settings.call_absence_timeout;
        loop {
            let looked = self.look(Instant::now() >= steady_from).await;
            if looked.is_err() {
                steady_from = steady_from.max(Instant::now() + self.sighting + RETRY + LOOK_INTERVAL);
            }
            tasks::rest(looked, self.idle_look, self.log.call(), "calls are not looked after").await;
        }
    }

    /// Tells how long it is until the next look is due, as where one has rung for long enough; None where there is no
    /// call. `steady` is whether those who were not seen are gone.
    async fn look(&self, steady: bool) -> Result<Option<Duration>> {
        let mut connection = self.database.connection().await?;
        let Some(wait) = calls::until_next(&mut connection).await? else { return Ok(None) };
        // First those who are here, so that nobody is taken for gone because this node was away.
        let here = self.log.connected(&call_participants::sessions(&mut connection).await?);
        if !here.is_empty() {
            call_participants::see(&mut connection, &here, self.sighting.as_secs_f64()).await?;
        }
        call_signals::delete_old(&mut connection, self.settings.call_signal_ttl.as_secs_f64()).await?;
        let absence = steady.then(|| self.absence());
        let mut due: HashMap<ConversationId, HashSet<CallParticipantId>> = HashMap::new();
        for lost in call_participants::lost(&mut connection, absence.map(|time| time.as_secs_f64()), BATCH).await? {
            let signed_out = due.entry(lost.conversation_id).or_default();
            if lost.signed_out {
                signed_out.insert(lost.id);
            }
        }
        if wait.is_zero() {
            for conversation in calls::overdue(&mut connection, BATCH).await? {
                due.entry(conversation).or_default();
            }
        }
        drop(connection);
        let mut again = BUSY;
        for (conversation, signed_out) in due {
            let mut tx = self.log.begin().await?;
            let done = self.see_to(&mut tx, conversation, &signed_out, absence).await;
            // One that fails keeps no other from being seen to.
            if let Err(error) = tx.finish(done).await {
                warn!(?error, %conversation, after = ?RETRY, "a call is not seen to; trying again");
                again = RETRY;
            }
        }
        Ok(Some(wait.min(LOOK_INTERVAL).max(again).min(self.sighting)))
    }

    /// Since when a device was not seen that is gone. It may have been there for a while after it was last seen, as
    /// long as the next sighting and the look at which that was due had not come.
    fn absence(&self) -> Duration {
        self.settings.call_absence_timeout + self.sighting + LOOK_INTERVAL.min(self.sighting)
    }

    /// Another node that is at the same waits for the lock, and then finds nothing left to do.
    async fn see_to(
        &self,
        tx: &mut Transaction<'_>,
        conversation: ConversationId,
        signed_out: &HashSet<CallParticipantId>,
        absence: Option<Duration>,
    ) -> Result<()> {
        let Some(conversation) = conversations::lock(tx.conn(), conversation).await? else { return Ok(()) };
        let Some(call) = calls::live_of(tx.conn(), conversation.id).await? else { return Ok(()) };
        let mut held = HeldCall::of(tx, conversation, call).await?;
        let absence = absence.and_then(|time| TimeDelta::from_std(time).ok()).unwrap_or(TimeDelta::MAX);
        let gone: Vec<_> = held
            .present
            .iter()
            .filter_map(|present| {
                if signed_out.contains(&present.id) {
                    return Some((present.id, CallEndReason::HungUp));
                }
                (held.now - present.seen_at > absence).then_some((present.id, CallEndReason::Failed))
            })
            .collect();
        for (id, reason) in gone {
            if held.call.state != CallState::Ended {
                held.leave(tx, &self.random, id, reason).await?;
            }
        }
        held.ring_out(tx, &self.random).await
    }
}
