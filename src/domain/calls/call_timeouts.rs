//! Ends calls that no device ends: stops calls that have rung too long, and removes absent devices from their calls.
//! Every node does this, so that calls end even if a node dies.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;
use tracing::warn;

use super::call_state::LockedCall;
use crate::config::CallSettings;
use crate::domain::error::{Error, Result};
use crate::domain::tasks::{self, IDLE_TAIL_POLLS};
use crate::error::{Error as Internal, RETRY_DELAY};
use crate::ids::{CallParticipantId, ConversationId};
use crate::log::{LiveSessions, Log, Signals, Transaction};
use crate::random::Random;
use crate::store::Database;
use crate::store::calls::calls::{self, CallEndReason, CallState};
use crate::store::calls::{call_participants, call_signals};
use crate::store::conversations::conversations;

/// Poll interval while any node has a call. The interval is shorter if a call is due earlier.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between two polls. A call can stay due while another node has locked it and handles it.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Number of times within CALL_ABSENCE_TIMEOUT that a connected device is marked as seen.
const MARKS_PER_TIMEOUT: u32 = 6;
/// Maximum number of calls that one poll handles.
const BATCH_SIZE: i64 = 100;

pub(in crate::domain) struct CallTimeouts {
    database: Database,
    log: Log,
    live_sessions: LiveSessions,
    signals: Signals,
    random: Random,
    settings: CallSettings,
    /// Poll interval while no node has a call. The log does not report a call that rings for no user, so this interval
    /// is short enough to mark devices as seen in time, and to stop ringing in time.
    idle_interval: Duration,
    /// Minimum time between two marks of a device as seen.
    mark_interval: Duration,
}

impl CallTimeouts {
    pub(in crate::domain) fn new(
        database: &Database,
        log: &Log,
        live_sessions: &LiveSessions,
        signals: &Signals,
        random: &Random,
        settings: &CallSettings,
        tail_poll_interval: Duration,
    ) -> Self {
        let mark_interval = settings.call_absence_timeout / MARKS_PER_TIMEOUT;
        Self {
            database: database.clone(),
            log: log.clone(),
            live_sessions: live_sessions.clone(),
            signals: signals.clone(),
            random: random.clone(),
            settings: settings.clone(),
            idle_interval: (tail_poll_interval * IDLE_TAIL_POLLS).min(mark_interval).min(settings.call_ring_timeout),
            mark_interval,
        }
    }

    /// Polls until the task is cancelled, and handles the calls that are due. For CALL_ABSENCE_TIMEOUT after the start,
    /// and for a short time after a failed or late poll, no device counts as absent, so that every node can first mark
    /// its connected devices as seen: after a start, devices still have to reconnect, and while Postgres is unavailable
    /// or all nodes are paused, no device is marked.
    pub(in crate::domain) async fn run(self) {
        let max_gap = self.mark_interval + RETRY_DELAY + POLL_INTERVAL;
        let mut last_poll = Instant::now();
        let mut may_remove_from = last_poll + self.settings.call_absence_timeout;
        loop {
            let now = Instant::now();
            if now - last_poll > max_gap {
                may_remove_from = may_remove_from.max(now + max_gap);
            }
            last_poll = now;
            let polled = self.poll(now >= may_remove_from).await;
            if polled.is_err() {
                may_remove_from = may_remove_from.max(Instant::now() + max_gap);
            }
            tasks::wait_for_next_poll(polled, self.idle_interval, self.signals.call_started(), "polling calls failed")
                .await;
        }
    }

    /// Handles the calls that are due. Returns the time until the next poll, or None if no node has a call.
    /// `may_remove_absent` says whether devices that were not seen recently count as absent.
    async fn poll(&self, may_remove_absent: bool) -> Result<Option<Duration>> {
        let mut connection = self.database.connection().await?;
        let Some(wait) = calls::until_next(&mut connection).await? else { return Ok(None) };
        // Connected devices are marked as seen first. Otherwise a device could count as absent because this node did
        // not poll.
        let connected = self.live_sessions.connected(&call_participants::sessions(&mut connection).await?);
        if !connected.is_empty() {
            call_participants::mark_seen(&mut connection, &connected, self.mark_interval.as_secs_f64()).await?;
        }
        call_signals::delete_old(&mut connection, self.settings.call_signal_ttl.as_secs_f64()).await?;
        let absence = may_remove_absent.then(|| self.absence());
        let mut due: HashMap<ConversationId, HashSet<CallParticipantId>> = HashMap::new();
        for lost in call_participants::lost(&mut connection, absence.map(|time| time.as_secs_f64()), BATCH_SIZE).await?
        {
            let signed_out = due.entry(lost.conversation_id).or_default();
            if lost.signed_out {
                signed_out.insert(lost.id);
            }
        }
        if wait.is_zero() {
            for conversation in calls::overdue(&mut connection, BATCH_SIZE).await? {
                due.entry(conversation).or_default();
            }
        }
        drop(connection);
        let mut delay = MIN_POLL_INTERVAL;
        for (conversation, signed_out) in due {
            let handled = self.log.transaction(async |tx| self.end_due(tx, conversation, &signed_out, absence).await);
            match handled.await {
                Ok(()) => {}
                Err(error @ Error::Internal(Internal::Connection(_))) => return Err(error),
                // If one call fails, the other calls are still handled.
                Err(error) => {
                    warn!(?error, %conversation, after = ?RETRY_DELAY, "handling a call failed; trying again");
                    delay = RETRY_DELAY;
                }
            }
        }
        Ok(Some(wait.min(POLL_INTERVAL).max(delay).min(self.mark_interval)))
    }

    /// Returns the time after which a device that was not marked as seen again counts as absent. This time is longer
    /// than CALL_ABSENCE_TIMEOUT, because the device may have stayed connected until just before the next mark.
    fn absence(&self) -> Duration {
        self.settings.call_absence_timeout + self.mark_interval + POLL_INTERVAL.min(self.mark_interval)
    }

    /// Removes absent and signed-out devices from the call of a conversation, and stops its ringing if the ringing time
    /// is over. If two nodes do this at the same time, the second node waits for the lock and then has nothing left to
    /// do.
    async fn end_due(
        &self,
        tx: &mut Transaction<'_>,
        conversation: ConversationId,
        signed_out: &HashSet<CallParticipantId>,
        absence: Option<Duration>,
    ) -> Result<()> {
        let Some(conversation) = conversations::lock(tx.conn(), conversation).await? else { return Ok(()) };
        let Some(call) = calls::live_of(tx.conn(), conversation.id).await? else { return Ok(()) };
        let mut locked = LockedCall::of(tx, conversation, call).await?;
        let absence = absence.and_then(|time| TimeDelta::from_std(time).ok()).unwrap_or(TimeDelta::MAX);
        let to_remove: Vec<_> = locked
            .present
            .iter()
            .filter_map(|present| {
                if signed_out.contains(&present.id) {
                    return Some((present.id, CallEndReason::HungUp));
                }
                (locked.now - present.seen_at > absence).then_some((present.id, CallEndReason::Failed))
            })
            .collect();
        for (id, reason) in to_remove {
            if locked.call.state != CallState::Ended {
                locked.leave(tx, &self.random, id, reason).await?;
            }
        }
        locked.stop_overdue_ringing(tx, &self.random).await
    }
}
