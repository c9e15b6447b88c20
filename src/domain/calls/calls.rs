//! Calls: starting, answering, declining, leaving and finding them. `call_state` changes the state of a call, and
//! `call_keeper` ends calls that no device ends. docs/decisions/0014-calls-in-the-log.md explains the design.

use std::sync::Arc;

use super::call_state::{self, HeldCall, MINUTE, conflict};
use super::core::CallsCore;
use crate::domain::error::{BLOCKING, CallConflict, Error, NO_CONVERSATION, Result};
use crate::domain::viewer::Viewer;
use crate::ids::{CallId, CallParticipantId, ConversationId, MessageId, UserId};
use crate::log::{Audience, Change, Transaction};
use crate::store::calls::call_participants::{self, CallParticipant};
use crate::store::calls::calls::{self, Call, CallEndReason, CallKind, CallState, Seen};
use crate::store::conversations::conversations::{self, Conversation, ConversationKind};
use crate::store::conversations::participants::{self, Standing};

pub struct Calls<'a> {
    pub(in crate::domain) core: &'a Arc<CallsCore>,
}

impl Calls<'_> {
    /// Starts a call that rings for all other participants. If the conversation already has a call, the viewer joins
    /// it, so that two users who call each other at the same time are in one call.
    pub async fn start(&self, viewer: Viewer, conversation: ConversationId, kind: CallKind) -> Result<Call> {
        let mut tx = self.core.base.log.begin().await?;
        let done = self.start_in(&mut tx, viewer, conversation, kind).await;
        tx.finish(done).await
    }

    /// Joins a call with the viewer's device. Returns CONFLICT if another device of the viewer has joined it before.
    pub async fn accept(&self, viewer: Viewer, id: CallId) -> Result<Call> {
        let mut tx = self.core.base.log.begin().await?;
        let done = self.accept_in(&mut tx, viewer, id).await;
        tx.finish(done).await
    }

    /// Stops the ringing on all devices of the viewer. The call ends if it rings for no other user, so a direct call
    /// always ends.
    pub async fn decline(&self, viewer: Viewer, id: CallId) -> Result<Call> {
        let mut tx = self.core.base.log.begin().await?;
        let done = self.decline_in(&mut tx, viewer, id).await;
        tx.finish(done).await
    }

    /// Leaves a call. Leaving it again, or leaving a call that is over, changes nothing.
    pub async fn leave(&self, viewer: Viewer, id: CallId) -> Result<Call> {
        let mut tx = self.core.base.log.begin().await?;
        let done = self.leave_in(&mut tx, viewer, id).await;
        tx.finish(done).await
    }

    /// The call that the viewer is in, on any of their devices.
    pub async fn current(&self, viewer: Viewer) -> Result<Option<Call>> {
        Ok(calls::of_user(&mut *self.core.base.connection().await?, viewer.user).await?)
    }

    /// Calls visible to the viewer.
    pub async fn find_many(&self, viewer: Viewer, ids: &[CallId]) -> Result<Vec<Call>> {
        Ok(calls::visible_to(&*self.core.base.connection().await?, viewer.user, ids).await?)
    }

    /// Calls for pairs of a user and a call. Leaves out calls that the user may not see.
    pub async fn visible(&self, pairs: &[(UserId, CallId)]) -> Result<Vec<Seen>> {
        Ok(calls::visible(&*self.core.base.connection().await?, pairs).await?)
    }

    /// The calls that have not ended, for pairs of a user and a conversation. Leaves out calls that the user may not
    /// see.
    pub async fn live_in(&self, pairs: &[(UserId, ConversationId)]) -> Result<Vec<Seen>> {
        Ok(calls::live_in(&*self.core.base.connection().await?, pairs).await?)
    }

    /// The calls whose end these SYSTEM messages report.
    pub async fn of_messages(&self, ids: &[MessageId]) -> Result<Vec<Call>> {
        Ok(calls::by_messages(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// The calls of events. The caller has checked the recipients of the events.
    pub async fn of_events(&self, ids: &[CallId]) -> Result<Vec<Call>> {
        Ok(calls::by_ids(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// The devices of events, which are or were in a call. The caller has checked the recipients of the events.
    pub async fn devices_of_events(&self, ids: &[CallParticipantId]) -> Result<Vec<CallParticipant>> {
        Ok(call_participants::by_ids(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// The devices that are in the calls now.
    pub async fn present_devices(&self, ids: &[CallId]) -> Result<Vec<CallParticipant>> {
        Ok(call_participants::present(&mut *self.core.base.connection().await?, ids).await?)
    }

    async fn start_in(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        id: ConversationId,
        kind: CallKind,
    ) -> Result<Call> {
        let conversation = conversations::lock(tx.conn(), id).await?.ok_or(NO_CONVERSATION)?;
        let standing = participants::among(tx.conn(), &[(id, viewer.user)]).await?.pop().ok_or(NO_CONVERSATION)?;
        if standing.blocks {
            return Err(BLOCKING);
        }
        if let Some(call) = calls::live_of(tx.conn(), id).await? {
            let mut held = HeldCall::of(tx, conversation, call).await?;
            held.join(tx, self.core, viewer, "conversationId").await?;
            return Ok(held.call);
        }
        let others = self.callees(tx, viewer.user, id).await?;
        self.check_rate(tx, viewer.user).await?;
        self.ring(tx, viewer, conversation, kind, &standing, others).await
    }

    /// The users for whom a call in the conversation rings: all other participants. Returns BAD_USER_INPUT if there are
    /// none, or too many.
    async fn callees(&self, tx: &mut Transaction<'_>, caller: UserId, id: ConversationId) -> Result<Vec<UserId>> {
        let others = participants::others(tx.conn(), id, caller).await?;
        let max = self.core.settings.call_max_group_size;
        if others.is_empty() {
            return Err(Error::invalid("conversationId", "This conversation has no other participant to call."));
        }
        if others.len() >= max {
            return Err(Error::invalid(
                "conversationId",
                format!("Calls are allowed in groups of up to {max} participants."),
            ));
        }
        Ok(others)
    }

    async fn check_rate(&self, tx: &mut Transaction<'_>, caller: UserId) -> Result<()> {
        let limit = self.core.settings.call_starts_per_minute;
        match calls::next_start(tx.conn(), caller, limit, MINUTE).await? {
            None => Ok(()),
            Some(wait) => {
                Err(Error::RateLimited("CALL_STARTS_PER_MINUTE", wait, "You start too many calls. Try again later."))
            }
        }
    }

    /// Creates a call. It rings for all callees who are in no other call, and ends at once if all are in one. It does
    /// not ring for a callee who blocks the caller; the caller sees it ringing until it is missed.
    async fn ring(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        conversation: Conversation,
        kind: CallKind,
        standing: &Standing,
        mut callees: Vec<UserId>,
    ) -> Result<Call> {
        let now = calls::now(tx.conn()).await?;
        let call = Call {
            id: CallId::new(now, &self.core.base.random),
            conversation_id: conversation.id,
            kind,
            state: CallState::Ringing,
            started_by: viewer.user,
            created_at: now,
            rings_until: now + self.core.settings.call_ring_timeout,
            answered_at: None,
            ended_at: None,
            end_reason: None,
            withheld_from: standing.blocked_by,
            message_id: None,
        };
        calls::insert(tx.conn(), &call).await?;
        let (id, direct) = (conversation.id, conversation.kind == ConversationKind::Direct);
        let mut held = HeldCall::of(tx, conversation, call).await?;
        held.enter(tx, self.core, viewer, "conversationId").await?;
        if direct {
            // Recorded for the caller alone, so that a block is not noticed. CallRinging notifies the callee.
            tx.record(Change::MembershipUpdated { user: viewer.user, conversation: id });
        }
        if standing.blocked_by.is_some() {
            return Ok(held.call);
        }
        let busy = call_participants::busy(tx.conn(), &callees).await?;
        callees.retain(|user| !busy.contains(user));
        if callees.is_empty() {
            held.end(tx, &self.core.base.random, CallEndReason::Busy).await?;
            return Ok(held.call);
        }
        calls::ring(tx.conn(), held.call.id, &callees).await?;
        for user in callees {
            tx.record(Change::CallRinging { user, call: held.call.id });
        }
        if !direct {
            tx.record(Change::ConversationUpdated { conversation: id });
        }
        Ok(held.call)
    }

    async fn accept_in(&self, tx: &mut Transaction<'_>, viewer: Viewer, id: CallId) -> Result<Call> {
        let mut held = call_state::hold(tx, viewer, id).await?;
        held.check_live()?;
        held.join(tx, self.core, viewer, "callId").await?;
        Ok(held.call)
    }

    async fn decline_in(&self, tx: &mut Transaction<'_>, viewer: Viewer, id: CallId) -> Result<Call> {
        let mut held = call_state::hold(tx, viewer, id).await?;
        held.check_live()?;
        if held.of_user(viewer.user).is_some() {
            return Err(conflict(CallConflict::InThisCall, "callId"));
        }
        held.decline(tx, self.core, viewer).await?;
        Ok(held.call)
    }

    async fn leave_in(&self, tx: &mut Transaction<'_>, viewer: Viewer, id: CallId) -> Result<Call> {
        let mut held = call_state::hold(tx, viewer, id).await?;
        if held.call.state == CallState::Ended {
            return Ok(held.call);
        }
        match held.of_session(viewer.session).map(|own| own.id) {
            Some(own) => held.leave(tx, &self.core.base.random, own, CallEndReason::HungUp).await?,
            None if call_participants::was_in(tx.conn(), id, viewer.session).await? => {}
            None => return Err(conflict(CallConflict::NotInThisCall, "callId")),
        }
        Ok(held.call)
    }
}

/// Removes a user who leaves the conversation from its call. The conversation must be locked.
pub(in crate::domain) async fn take_out(
    core: &CallsCore,
    tx: &mut Transaction<'_>,
    conversation: &mut Conversation,
    user: UserId,
) -> Result<()> {
    let Some(call) = calls::live_of(tx.conn(), conversation.id).await? else { return Ok(()) };
    let mut held = HeldCall::of(tx, conversation.clone(), call).await?;
    // Recorded for the user, too: events of the conversation no longer reach them.
    let to = Audience::User(user);
    if let Some(participant) = held.of_user(user).map(|own| own.id) {
        held.leave(tx, &core.base.random, participant, CallEndReason::HungUp).await?;
        tx.record(Change::CallLeft { to, participant });
    } else if held.silence(tx, &core.base.random, user, CallEndReason::Missed).await? {
        tx.record(Change::CallEnded { to, call: held.call.id });
    }
    *conversation = held.conversation;
    Ok(())
}

/// Ends the call of a direct conversation because one user blocks the other. To the blocked user, it looks as if the
/// blocker had left or declined. The conversation must be locked.
pub(in crate::domain) async fn cut(
    core: &CallsCore,
    tx: &mut Transaction<'_>,
    conversation: &Conversation,
    blocker: UserId,
) -> Result<()> {
    debug_assert_eq!(conversation.kind, ConversationKind::Direct, "a block does not affect groups");
    let Some(call) = calls::live_of(tx.conn(), conversation.id).await? else { return Ok(()) };
    let mut held = HeldCall::of(tx, conversation.clone(), call).await?;
    match held.of_user(blocker).map(|own| own.id) {
        Some(own) => held.leave(tx, &core.base.random, own, CallEndReason::HungUp).await,
        None => held.silence(tx, &core.base.random, blocker, CallEndReason::Declined).await.map(drop),
    }
}
