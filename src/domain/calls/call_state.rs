//! The state of a call: what each step changes, and which users are notified.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::core::CallsCore;
use crate::domain::error::{CallConflict, Error, Result, Violation};
use crate::domain::messaging::system::{self, SystemEvent};
use crate::domain::viewer::Viewer;
use crate::ids::{CallId, CallParticipantId, SessionId, UserId};
use crate::log::{Audience, Change, Transaction};
use crate::random::Random;
use crate::store::calls::call_participants::{self, CallParticipant};
use crate::store::calls::call_signals;
use crate::store::calls::calls::{self, Call, CallEndReason, CallKind, CallState};
use crate::store::conversations::conversations::{self, Conversation};
use crate::store::messaging::messages::SystemEventKind;

/// Period over which a user's starts and joins of calls are counted.
pub(super) const MINUTE: Duration = Duration::from_mins(1);

/// Error for a call that does not exist, and for a call that the viewer has no permission to see.
pub(super) const NO_CALL: Error = Error::NotFound("No such call. `viewer.call` is the call that you are in.");

/// A call that only this transaction can change, because the transaction has locked the conversation.
pub(super) struct LockedCall {
    pub(super) call: Call,
    pub(super) conversation: Conversation,
    /// The participants who are in the call, in the order in which they joined.
    pub(super) present: Vec<CallParticipant>,
    /// Time of Postgres when the call was loaded. With the time of Postgres, all nodes use the same clock.
    pub(super) now: DateTime<Utc>,
}

/// Locks the conversation of the call and loads the call. Returns NOT_FOUND if the call is not visible to the viewer.
pub(super) async fn lock(tx: &mut Transaction<'_>, viewer: Viewer, id: CallId) -> Result<LockedCall> {
    let seen = calls::visible_to(tx.conn(), viewer.user, &[id]).await?.pop().ok_or(NO_CALL)?;
    let conversation = conversations::lock(tx.conn(), seen.conversation_id).await?.ok_or(NO_CALL)?;
    // The call is read again after the lock is taken, so that no other transaction can change it.
    let call = calls::visible_to(tx.conn(), viewer.user, &[id]).await?.pop().ok_or(NO_CALL)?;
    LockedCall::of(tx, conversation, call).await
}

/// Returns the CONFLICT error for a reason. `path` is the input field that identifies the call.
pub(super) fn conflict(reason: CallConflict, path: &str) -> Error {
    let message = match reason {
        CallConflict::Over => "This call is over.",
        CallConflict::Full => "This call is full.",
        CallConflict::OnAnotherDevice => "You are in this call with another device.",
        CallConflict::InAnotherCall => "You are in another call. Leave it first.",
        CallConflict::InThisCall => "You are in this call: leave it.",
        CallConflict::NotInThisCall => "This device is not in the call.",
    };
    Error::CallConflict(reason, Violation::new(path, message))
}

impl LockedCall {
    /// Loads the participants of a call. The conversation must be locked.
    pub(super) async fn of(tx: &mut Transaction<'_>, conversation: Conversation, call: Call) -> Result<Self> {
        let present = call_participants::present(tx.conn(), &[call.id]).await?;
        let now = calls::now(tx.conn()).await?;
        Ok(Self { call, conversation, present, now })
    }

    pub(super) fn of_user(&self, user: UserId) -> Option<&CallParticipant> {
        self.present.iter().find(|present| present.user_id == user)
    }

    pub(super) fn of_session(&self, session: SessionId) -> Option<&CallParticipant> {
        self.present.iter().find(|present| present.session_id == session)
    }

    pub(super) fn check_live(&self) -> Result<()> {
        match self.call.state {
            CallState::Ended => Err(conflict(CallConflict::Over, "callId")),
            CallState::Ringing | CallState::Ongoing => Ok(()),
        }
    }

    /// Adds the viewer's device to the call. If the call is ringing, this answers it. Returns CONFLICT if another
    /// device of the viewer is in the call, or if the call is full. `path` is the input field that identifies the call.
    pub(super) async fn join(
        &mut self,
        tx: &mut Transaction<'_>,
        core: &CallsCore,
        viewer: Viewer,
        path: &str,
    ) -> Result<()> {
        match self.of_user(viewer.user) {
            Some(own) if own.session_id == viewer.session => return Ok(()),
            Some(_) => return Err(conflict(CallConflict::OnAnotherDevice, path)),
            None => {}
        }
        // With LiveKit, a call has no maximum number of devices.
        if core.webrtc.livekit().is_none() && self.present.len() >= core.settings.call_max_mesh {
            return Err(conflict(CallConflict::Full, path));
        }
        let limit = core.settings.call_joins_per_minute;
        if let Some(wait) = call_participants::next_join(tx.conn(), viewer.user, limit, MINUTE).await? {
            return Err(Error::RateLimited("CALL_JOINS_PER_MINUTE", wait, "You join too many calls."));
        }
        let own = self.enter(tx, core, viewer, path).await?;
        calls::stop_ringing(tx.conn(), self.call.id, viewer.user).await?;
        if self.call.state == CallState::Ringing {
            self.call.state = CallState::Ongoing;
            self.call.answered_at = Some(self.now);
            // If the call was hidden from the callee, who blocked the caller, the callee has ended the block and called
            // back.
            self.call.withheld_from = None;
            calls::update(tx.conn(), &self.call).await?;
        }
        tx.record(Change::CallAnswered { conversation: self.conversation.id, participant: own });
        Ok(())
    }

    /// Adds the viewer's device to the call without an event. Returns CONFLICT if the viewer is in another call.
    pub(super) async fn enter(
        &mut self,
        tx: &mut Transaction<'_>,
        core: &CallsCore,
        viewer: Viewer,
        path: &str,
    ) -> Result<CallParticipantId> {
        let own = self.participant(core, viewer, None);
        if !call_participants::insert(tx.conn(), &own).await? {
            return Err(conflict(CallConflict::InAnotherCall, path));
        }
        let id = own.id;
        self.present.push(own);
        Ok(id)
    }

    /// Stops the ringing for the viewer. If the call does not end, only the viewer's own devices get an event.
    pub(super) async fn decline(&mut self, tx: &mut Transaction<'_>, core: &CallsCore, viewer: Viewer) -> Result<()> {
        let rang = self.stop_ringing(tx, &core.base.random, viewer.user, CallEndReason::Declined).await?;
        if rang && self.call.state != CallState::Ended {
            let own = self.participant(core, viewer, Some(self.now));
            call_participants::insert(tx.conn(), &own).await?;
            tx.record(Change::CallLeft { to: Audience::User(viewer.user), participant: own.id });
        }
        Ok(())
    }

    /// Stops the ringing for a user, and returns whether the call was ringing for the user. If the call was not
    /// answered and rings for no other user, the call ends with `reason`.
    pub(super) async fn stop_ringing(
        &mut self,
        tx: &mut Transaction<'_>,
        random: &Random,
        user: UserId,
        reason: CallEndReason,
    ) -> Result<bool> {
        let rang = calls::stop_ringing(tx.conn(), self.call.id, user).await?;
        if rang && self.call.state == CallState::Ringing && !calls::rings_for_any_user(tx.conn(), self.call.id).await? {
            self.end(tx, random, reason).await?;
        }
        Ok(rang)
    }

    /// Stops the ringing if the ringing time is over. A call that was not answered ends as MISSED. In an ongoing call,
    /// only the users for whom the call still rang get an event.
    pub(super) async fn stop_overdue_ringing(&mut self, tx: &mut Transaction<'_>, random: &Random) -> Result<()> {
        match self.call.state {
            _ if self.call.rings_until > self.now => Ok(()),
            CallState::Ringing => self.end(tx, random, CallEndReason::Missed).await,
            CallState::Ongoing => {
                for user in calls::stop_all_ringing(tx.conn(), self.call.id).await? {
                    tx.record(Change::CallEnded { to: Audience::User(user), call: self.call.id });
                }
                Ok(())
            }
            CallState::Ended => Ok(()),
        }
    }

    /// Removes a participant from the call. If fewer than two participants are left, the call ends: with `reason` if it
    /// was answered, otherwise as MISSED.
    pub(super) async fn leave(
        &mut self,
        tx: &mut Transaction<'_>,
        random: &Random,
        id: CallParticipantId,
        reason: CallEndReason,
    ) -> Result<()> {
        self.present.retain(|present| present.id != id);
        call_participants::leave(tx.conn(), &[id], self.now).await?;
        call_signals::delete_of(tx.conn(), &[id]).await?;
        tx.record(Change::CallLeft { to: self.audience(), participant: id });
        match self.call.state {
            // Only the caller is in a ringing call, so the call ends without an answer.
            CallState::Ringing => self.end(tx, random, CallEndReason::Missed).await,
            CallState::Ongoing if self.present.len() < 2 => self.end(tx, random, reason).await,
            CallState::Ongoing | CallState::Ended => Ok(()),
        }
    }

    /// Ends the call and adds a SYSTEM message about the end.
    pub(super) async fn end(&mut self, tx: &mut Transaction<'_>, random: &Random, reason: CallEndReason) -> Result<()> {
        let participants: Vec<_> = self.present.drain(..).map(|present| present.id).collect();
        call_participants::leave(tx.conn(), &participants, self.now).await?;
        call_signals::delete_of(tx.conn(), &participants).await?;
        calls::stop_all_ringing(tx.conn(), self.call.id).await?;
        tx.record(Change::CallEnded { to: self.audience(), call: self.call.id });
        (self.call.state, self.call.ended_at, self.call.end_reason) = (CallState::Ended, Some(self.now), Some(reason));
        let event = SystemEvent {
            kind: SystemEventKind::CallEnded,
            actor: self.call.started_by,
            subject: None,
            text: Some(summary(&self.call, reason, self.now)),
        };
        let (conversation, blocker) = (&mut self.conversation, self.call.withheld_from);
        let message = system::add_at(self.now, random, tx, conversation, event, blocker).await?;
        self.call.message_id = Some(message.id);
        Ok(calls::update(tx.conn(), &self.call).await?)
    }

    /// Returns the users who get the events of the call: only the caller if the callee blocks the caller, otherwise all
    /// participants of the conversation.
    fn audience(&self) -> Audience {
        match self.call.withheld_from {
            None => Audience::Conversation(self.conversation.id),
            Some(_) => Audience::User(self.call.started_by),
        }
    }

    fn participant(&self, core: &CallsCore, viewer: Viewer, left_at: Option<DateTime<Utc>>) -> CallParticipant {
        CallParticipant {
            id: CallParticipantId::new(self.now, &core.base.random),
            call_id: self.call.id,
            user_id: viewer.user,
            session_id: viewer.session,
            joined_at: self.now,
            left_at,
            seen_at: self.now,
            signals_until: self.now,
        }
    }
}

/// Returns the text of the SYSTEM message about the end of a call, such as `Missed call` or `Video call, 3 min 12 s`.
fn summary(call: &Call, reason: CallEndReason, ended_at: DateTime<Utc>) -> String {
    let (name, upper) = match call.kind {
        CallKind::Audio => ("call", "Call"),
        CallKind::Video => ("video call", "Video call"),
    };
    match (reason, call.answered_at) {
        (CallEndReason::Missed, _) => format!("Missed {name}"),
        (CallEndReason::Declined, _) => format!("Declined {name}"),
        (CallEndReason::Busy, _) => format!("Missed {name}, busy"),
        (CallEndReason::HungUp, Some(at)) => format!("{upper}, {}", duration(ended_at - at)),
        (CallEndReason::Failed, Some(at)) => format!("{upper}, {}, connection lost", duration(ended_at - at)),
        (CallEndReason::HungUp | CallEndReason::Failed, None) => format!("{upper}, not answered"),
    }
}

fn duration(time: TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_at_most_two_units() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (192, "3 min 12 s"), (3600, "1 h 0 min"), (7384, "2 h 3 min")]
        {
            assert_eq!(duration(TimeDelta::seconds(seconds)), text);
        }
    }
}
