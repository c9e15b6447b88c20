//! Calls: starting, answering, declining, leaving and finding them. `call_state` changes the state of a call, and
//! `call_timeouts` ends calls that no device ends. docs/decisions/0014-calls-in-the-log.md explains the design.

use std::sync::Arc;

use super::call_state::{self, LockedCall, MINUTE, conflict};
use super::core::CallsCore;
use crate::domain::error::{BLOCKING, CallConflict, Error, NO_CONVERSATION, Result};
use crate::domain::viewer::Viewer;
use crate::ids::{CallId, CallParticipantId, ConversationId, MessageId, UserId};
use crate::log::{Audience, Change, Transaction};
use crate::store::calls::call_participants::{self, CallParticipant};
use crate::store::calls::calls::{self, Call, CallEndReason, CallKind, CallState, Seen};
use crate::store::conversations::conversations::{self, Conversation, ConversationKind};
use crate::store::conversations::participants::{self, MembershipCheck};

pub struct Calls<'a> {
    pub(in crate::domain) core: &'a Arc<CallsCore>,
}

impl Calls<'_> {
    /// Starts a call that rings for all other participants. If the conversation already has a call, the viewer joins
    /// that call, so that two users who call each other at the same time are in one call.
    pub async fn start(&self, viewer: Viewer, id: ConversationId, kind: CallKind) -> Result<Call> {
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let conversation = conversations::lock(tx.conn(), id).await?.ok_or(NO_CONVERSATION)?;
            let membership = participants::memberships_for(tx.conn(), &[(id, viewer.user)]).await?.pop();
            let membership = membership.ok_or(NO_CONVERSATION)?;
            if membership.blocks {
                return Err(BLOCKING);
            }
            if let Some(call) = calls::live_of(tx.conn(), id).await? {
                let mut locked = LockedCall::of(tx, conversation, call).await?;
                locked.join(tx, self.core, viewer, "conversationId").await?;
                return Ok(locked.call);
            }
            let others = self.callees(tx, viewer.user, id).await?;
            self.check_start_rate(tx, viewer.user).await?;
            self.create(tx, viewer, conversation, kind, &membership, others).await
        })
        .await
    }

    /// Joins a call with the viewer's device. Returns CONFLICT if another device of the viewer has already joined the
    /// call.
    pub async fn accept(&self, viewer: Viewer, id: CallId) -> Result<Call> {
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let mut locked = call_state::lock(tx, viewer, id).await?;
            locked.check_live()?;
            locked.join(tx, self.core, viewer, "callId").await?;
            Ok(locked.call)
        })
        .await
    }

    /// Declines a call: stops the ringing on all devices of the viewer. If the call was not answered and rings for no
    /// other user, the call ends. So a direct call always ends.
    pub async fn decline(&self, viewer: Viewer, id: CallId) -> Result<Call> {
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let mut locked = call_state::lock(tx, viewer, id).await?;
            locked.check_live()?;
            if locked.of_user(viewer.user).is_some() {
                return Err(conflict(CallConflict::InThisCall, "callId"));
            }
            locked.decline(tx, self.core, viewer).await?;
            Ok(locked.call)
        })
        .await
    }

    /// Leaves a call with the viewer's device. Changes nothing if the device has already left the call, or if the call
    /// has ended.
    pub async fn leave(&self, viewer: Viewer, id: CallId) -> Result<Call> {
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let mut locked = call_state::lock(tx, viewer, id).await?;
            if locked.call.state == CallState::Ended {
                return Ok(locked.call);
            }
            match locked.of_session(viewer.session).map(|own| own.id) {
                Some(own) => locked.leave(tx, &self.core.base.random, own, CallEndReason::HungUp).await?,
                None if call_participants::was_in(tx.conn(), id, viewer.session).await? => {}
                None => return Err(conflict(CallConflict::NotInThisCall, "callId")),
            }
            Ok(locked.call)
        })
        .await
    }

    /// Reads the call that the viewer is in with any device. None if the viewer is in no call.
    pub async fn current(&self, viewer: Viewer) -> Result<Option<Call>> {
        Ok(calls::of_user(&mut *self.core.base.connection().await?, viewer.user).await?)
    }

    /// Reads the calls with these ids that are visible to the viewer.
    pub async fn find_many(&self, viewer: Viewer, ids: &[CallId]) -> Result<Vec<Call>> {
        Ok(calls::visible_to(&*self.core.base.connection().await?, viewer.user, ids).await?)
    }

    /// Reads the calls for pairs of a user and a call. Leaves out calls that the user has no permission to see.
    pub async fn visible(&self, pairs: &[(UserId, CallId)]) -> Result<Vec<Seen>> {
        Ok(calls::visible(&*self.core.base.connection().await?, pairs).await?)
    }

    /// Reads the calls that have not ended, for pairs of a user and a conversation. Leaves out calls that the user has
    /// no permission to see.
    pub async fn live_in(&self, pairs: &[(UserId, ConversationId)]) -> Result<Vec<Seen>> {
        Ok(calls::live_in(&*self.core.base.connection().await?, pairs).await?)
    }

    /// Reads the calls whose end these SYSTEM messages report.
    pub async fn of_messages(&self, ids: &[MessageId]) -> Result<Vec<Call>> {
        Ok(calls::by_messages(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// Reads the calls of events. Checks no permission, because the recipients of the events were already checked.
    pub async fn of_events(&self, ids: &[CallId]) -> Result<Vec<Call>> {
        Ok(calls::by_ids(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// Reads the devices of events, which are or were in a call. Checks no permission, because the recipients of the
    /// events were already checked.
    pub async fn devices_of_events(&self, ids: &[CallParticipantId]) -> Result<Vec<CallParticipant>> {
        Ok(call_participants::by_ids(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// Reads the devices that are in these calls now.
    pub async fn present_devices(&self, ids: &[CallId]) -> Result<Vec<CallParticipant>> {
        Ok(call_participants::present(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// Returns the users for whom a call in the conversation rings: all other participants. Returns BAD_USER_INPUT if
    /// the conversation has no other participants, or too many.
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

    async fn check_start_rate(&self, tx: &mut Transaction<'_>, caller: UserId) -> Result<()> {
        let limit = self.core.settings.call_starts_per_minute;
        match calls::next_start(tx.conn(), caller, limit, MINUTE).await? {
            None => Ok(()),
            Some(wait) => Err(Error::RateLimited("CALL_STARTS_PER_MINUTE", wait, "You start too many calls.")),
        }
    }

    /// Creates a call. The call rings for all callees who are not in another call. If all callees are in other calls,
    /// the call ends at once. If the callee of a direct call blocks the caller, the call does not ring; for the caller,
    /// it seems to ring until it is missed.
    async fn create(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        conversation: Conversation,
        kind: CallKind,
        membership: &MembershipCheck,
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
            withheld_from: membership.blocked_by,
            message_id: None,
        };
        calls::insert(tx.conn(), &call).await?;
        let (id, direct) = (conversation.id, conversation.kind == ConversationKind::Direct);
        let mut locked = LockedCall::of(tx, conversation, call).await?;
        locked.enter(tx, self.core, viewer, "conversationId").await?;
        if direct {
            // Recorded only for the caller, so that the caller does not notice a block. CallRinging notifies the
            // callee.
            tx.record(Change::MembershipUpdated { user: viewer.user, conversation: id });
        }
        if membership.blocked_by.is_some() {
            return Ok(locked.call);
        }
        let busy = call_participants::busy(tx.conn(), &callees).await?;
        callees.retain(|user| !busy.contains(user));
        if callees.is_empty() {
            locked.end(tx, &self.core.base.random, CallEndReason::Busy).await?;
            return Ok(locked.call);
        }
        calls::insert_rings(tx.conn(), locked.call.id, &callees).await?;
        for user in callees {
            tx.record(Change::CallRinging { user, call: locked.call.id });
        }
        if !direct {
            tx.record(Change::ConversationUpdated { conversation: id });
        }
        Ok(locked.call)
    }
}

/// Removes a user who leaves a conversation from the call of the conversation. The conversation must be locked.
pub(in crate::domain) async fn remove_user(
    core: &CallsCore,
    tx: &mut Transaction<'_>,
    conversation: &mut Conversation,
    user: UserId,
) -> Result<()> {
    let Some(call) = calls::live_of(tx.conn(), conversation.id).await? else { return Ok(()) };
    let mut locked = LockedCall::of(tx, conversation.clone(), call).await?;
    // The event is also recorded for the user, who no longer gets the events of the conversation.
    let to = Audience::User(user);
    if let Some(participant) = locked.of_user(user).map(|own| own.id) {
        locked.leave(tx, &core.base.random, participant, CallEndReason::HungUp).await?;
        tx.record(Change::CallLeft { to, participant });
    } else if locked.stop_ringing(tx, &core.base.random, user, CallEndReason::Missed).await? {
        tx.record(Change::CallEnded { to, call: locked.call.id });
    }
    *conversation = locked.conversation;
    Ok(())
}

/// Ends the call of a direct conversation because one user blocks the other. The blocked user sees the same as if the
/// blocker had left or declined the call. The conversation must be locked.
pub(in crate::domain) async fn end_for_block(
    core: &CallsCore,
    tx: &mut Transaction<'_>,
    conversation: &Conversation,
    blocker: UserId,
) -> Result<()> {
    debug_assert_eq!(conversation.kind, ConversationKind::Direct, "a block does not affect groups");
    let Some(call) = calls::live_of(tx.conn(), conversation.id).await? else { return Ok(()) };
    let mut locked = LockedCall::of(tx, conversation.clone(), call).await?;
    match locked.of_user(blocker).map(|own| own.id) {
        Some(own) => locked.leave(tx, &core.base.random, own, CallEndReason::HungUp).await,
        None => locked.stop_ringing(tx, &core.base.random, blocker, CallEndReason::Declined).await.map(drop),
    }
}
