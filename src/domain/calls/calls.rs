//! Calls: starting, answering, declining and leaving them, and who sees them. `call_state` has what each does,
//! `call_keeper` ends those that nobody ends. docs/decisions/0014-calls-in-the-log.md tells why it is so.

use std::sync::Arc;

use super::call_state::{self, HeldCall, MINUTE, conflict};
use super::core::CallsCore;
use crate::domain::error::{BLOCKING, CallConflict, Error, NO_CONVERSATION, Result};
use crate::domain::viewer::Viewer;
use crate::ids::{CallId, ConversationId, UserId};
use crate::log::{Audience, Change, Transaction};
use crate::store::calls::call_participants;
use crate::store::calls::calls::{self, Call, CallEndReason, CallKind, CallState};
use crate::store::conversations::conversations::{self, Conversation, ConversationKind};
use crate::store::conversations::participants::{self, Standing};

pub struct Calls<'a> {
    pub(in crate::domain) core: &'a Arc<CallsCore>,
}

impl Calls<'_> {
    /// Rings everybody else. Where the conversation has a call already the viewer answers that: so two who call each
    /// other at once are in one.
    pub async fn start(&self, viewer: Viewer, conversation: ConversationId, kind: CallKind) -> Result<Call> {
        let mut tx = self.core.base.log.begin().await?;
        let done = self.start_in(&mut tx, viewer, conversation, kind).await;
        tx.finish(done).await
    }

    /// Of a user's devices the first one is in the call; the others are told so.
    pub async fn accept(&self, viewer: Viewer, id: CallId) -> Result<Call> {
        let mut tx = self.core.base.log.begin().await?;
        let done = self.accept_in(&mut tx, viewer, id).await;
        tx.finish(done).await
    }

    /// It rings on none of the viewer's devices any more. A direct call is over.
    pub async fn decline(&self, viewer: Viewer, id: CallId) -> Result<Call> {
        let mut tx = self.core.base.log.begin().await?;
        let done = self.decline_in(&mut tx, viewer, id).await;
        tx.finish(done).await
    }

    /// Leaving again, and leaving a call that is over, changes nothing.
    pub async fn leave(&self, viewer: Viewer, id: CallId) -> Result<Call> {
        let mut tx = self.core.base.log.begin().await?;
        let done = self.leave_in(&mut tx, viewer, id).await;
        tx.finish(done).await
    }

    /// The one that the viewer is in, with whichever device.
    pub async fn current(&self, viewer: Viewer) -> Result<Option<Call>> {
        Ok(calls::of_user(&mut *self.core.base.connection().await?, viewer.user).await?)
    }

    /// Those that the viewer may see.
    pub async fn find_many(&self, viewer: Viewer, ids: &[CallId]) -> Result<Vec<Call>> {
        Ok(calls::visible_to(&*self.core.base.connection().await?, viewer.user, ids).await?)
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

    /// Whom a call in the conversation is for.
    async fn callees(&self, tx: &mut Transaction<'_>, caller: UserId, id: ConversationId) -> Result<Vec<UserId>> {
        let others = participants::others(tx.conn(), id, caller).await?;
        let max = self.core.settings.call_max_group_size;
        if others.is_empty() {
            return Err(Error::invalid("conversationId", "There is nobody else here to call."));
        }
        if others.len() >= max {
            return Err(Error::invalid("conversationId", format!("Groups of up to {max} participants can be called.")));
        }
        Ok(others)
    }

    async fn check_rate(&self, tx: &mut Transaction<'_>, caller: UserId) -> Result<()> {
        let limit = self.core.settings.call_starts_per_minute;
        match calls::next_start(tx.conn(), caller, limit, MINUTE).await? {
            None => Ok(()),
            Some(wait) => {
                Err(Error::RateLimited("CALL_STARTS_PER_MINUTE", wait, "You have started many calls. Wait a little."))
            }
        }
    }

    /// A new call. It rings for all who are in no other; where that is nobody it is over at once. One who blocks the
    /// caller hears nothing of it, and the caller waits in vain.
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
            // To the caller's devices alone, so that a block looks like any call; to the other CallRinging says it all.
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

/// The user takes no part in the conversation any more, which is locked.
pub(in crate::domain) async fn take_out(
    core: &CallsCore,
    tx: &mut Transaction<'_>,
    conversation: &mut Conversation,
    user: UserId,
) -> Result<()> {
    let Some(call) = calls::live_of(tx.conn(), conversation.id).await? else { return Ok(()) };
    let mut held = HeldCall::of(tx, conversation.clone(), call).await?;
    // To the user as well: what the conversation is told reaches nobody who takes no part in it any more.
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

/// Ends the call of a direct conversation, which is locked, because the one blocks the other. It looks like any end.
pub(in crate::domain) async fn cut(
    core: &CallsCore,
    tx: &mut Transaction<'_>,
    conversation: &Conversation,
    blocker: UserId,
) -> Result<()> {
    debug_assert_eq!(conversation.kind, ConversationKind::Direct, "groups go on as before");
    let Some(call) = calls::live_of(tx.conn(), conversation.id).await? else { return Ok(()) };
    let mut held = HeldCall::of(tx, conversation.clone(), call).await?;
    match held.of_user(blocker).map(|own| own.id) {
        Some(own) => held.leave(tx, &core.base.random, own, CallEndReason::HungUp).await,
        None => held.silence(tx, &core.base.random, blocker, CallEndReason::Declined).await.map(drop),
    }
}
