//! Calls: their state, and what a device does in them.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use crate::domain::Error as Domain;
use crate::graphql::context::ContextExt as _;
use crate::graphql::conversations::conversation::Conversation;
use crate::graphql::error::{Error, Result};
use crate::graphql::loaders::{Rows, failed, grouped};
use crate::graphql::people::user::User;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::ids::{CallId, CallParticipantId, ConversationId, MessageId, UserId};
use crate::store::calls::call_participants::{self, CallParticipant as ParticipantRow};
use crate::store::calls::calls::{
    self, Call as Row, CallEndReason as EndReasonRow, CallKind as KindRow, CallState as StateRow,
};

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "KindRow")]
pub enum CallKind {
    Audio,
    Video,
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "StateRow")]
pub enum CallState {
    /// Nobody has answered yet.
    Ringing,
    Ongoing,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "EndReasonRow")]
pub enum CallEndReason {
    /// It was answered, and one of the last two has left.
    HungUp,
    /// Everybody whom it rang for has declined.
    Declined,
    /// Nobody answered in time, or the caller did not wait.
    Missed,
    /// Everybody else was in another call.
    Busy,
    /// It was answered, and the connection of one of the last two was lost.
    Failed,
}

#[derive(Clone)]
pub struct Call {
    row: Row,
    /// Whether it is of a conversation that the viewer takes no part in any more.
    reduced: bool,
}

impl From<Row> for Call {
    fn from(row: Row) -> Self {
        Self { row, reduced: false }
    }
}

impl Call {
    pub(super) fn call_id(&self) -> CallId {
        self.row.id
    }

    /// For whoever is to hear that it is over for them, and may not see it any more.
    pub(super) fn reduce(&mut self) {
        self.reduced = true;
    }
}

/// All participants of the conversation see it; one who blocks the caller does not.
#[Object]
impl Call {
    pub async fn id(&self) -> ID {
        self.row.id.to_string().into()
    }

    /// Null for who takes no part in it any more, as in the CallLeft that tells them so.
    async fn conversation(&self) -> Option<Conversation> {
        (!self.reduced).then(|| self.row.conversation_id.into())
    }

    async fn kind(&self) -> CallKind {
        self.row.kind.into()
    }

    async fn state(&self) -> CallState {
        self.row.state.into()
    }

    /// Null for a deleted account.
    async fn started_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        ctx.loaders().user(self.row.started_by).await.map(|row| row.map(User)).transpose()
    }

    /// Sessions now in the call, the first to join first. A newcomer sends an offer to each of the others. Empty for who
    /// takes no part in the conversation any more.
    async fn participants(&self, ctx: &Context<'_>) -> Result<Vec<CallParticipant>> {
        if self.reduced {
            return Ok(Vec::new());
        }
        let rows = ctx.loaders().load(PresentKey(self.row.id)).await?.unwrap_or_default();
        Ok(rows.into_iter().map(CallParticipant).collect())
    }

    async fn created_at(&self) -> DateTime {
        self.row.created_at.into()
    }

    /// A device stops ringing then, also in a group where others go on talking.
    async fn rings_until(&self) -> DateTime {
        self.row.rings_until.into()
    }

    async fn answered_at(&self) -> Option<DateTime> {
        self.row.answered_at.map(Into::into)
    }

    async fn ended_at(&self) -> Option<DateTime> {
        self.row.ended_at.map(Into::into)
    }

    async fn end_reason(&self) -> Option<CallEndReason> {
        self.row.end_reason.map(Into::into)
    }
}

/// A device in a call, or one that was.
#[derive(Clone)]
pub struct CallParticipant(pub ParticipantRow);

#[Object]
impl CallParticipant {
    async fn user(&self, ctx: &Context<'_>) -> Result<User> {
        // There for certain, as long as the device takes part; of one whose account is deleted no event is shown.
        ctx.loaders().user(self.0.user_id).await?.map(User).ok_or_else(|| Domain::NotFound("It is gone.").into())
    }

    async fn session_id(&self) -> ID {
        self.0.session_id.to_string().into()
    }
}

/// Who is in a call now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PresentKey(pub CallId);

/// The call that a conversation has now, as the user may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LiveCallKey(pub UserId, pub ConversationId);

/// The call whose end a SYSTEM message tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ToldCallKey(pub MessageId);

/// That a call rings for a user now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RingKey(pub UserId, pub CallId);

/// A call, where the user may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VisibleCallKey(pub UserId, pub CallId);

impl Loader<CallId> for Rows {
    type Value = Row;
    type Error = Error;

    async fn load(&self, keys: &[CallId]) -> Result<HashMap<CallId, Row>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = calls::by_ids(&mut connection, keys).await.map_err(failed)?;
        Ok(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl Loader<CallParticipantId> for Rows {
    type Value = ParticipantRow;
    type Error = Error;

    async fn load(&self, keys: &[CallParticipantId]) -> Result<HashMap<CallParticipantId, ParticipantRow>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = call_participants::by_ids(&mut connection, keys).await.map_err(failed)?;
        Ok(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl Loader<PresentKey> for Rows {
    type Value = Vec<ParticipantRow>;
    type Error = Error;

    async fn load(&self, keys: &[PresentKey]) -> Result<HashMap<PresentKey, Self::Value>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = call_participants::present(&mut connection, &ids).await.map_err(failed)?;
        Ok(grouped(rows.into_iter().map(|row| (PresentKey(row.call_id), row))))
    }
}

impl Loader<LiveCallKey> for Rows {
    type Value = Row;
    type Error = Error;

    async fn load(&self, keys: &[LiveCallKey]) -> Result<HashMap<LiveCallKey, Row>> {
        let pairs: Vec<_> = keys.iter().map(|&LiveCallKey(user, id)| (user, id)).collect();
        let connection = self.app.connection().await.map_err(failed)?;
        let rows = calls::live_in(&connection, &pairs).await.map_err(failed)?;
        Ok(rows.into_iter().map(|row| (LiveCallKey(row.viewer_id, row.call.conversation_id), row.call)).collect())
    }
}

impl Loader<ToldCallKey> for Rows {
    type Value = Row;
    type Error = Error;

    async fn load(&self, keys: &[ToldCallKey]) -> Result<HashMap<ToldCallKey, Row>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = calls::by_messages(&mut connection, &ids).await.map_err(failed)?;
        Ok(rows.into_iter().filter_map(|row| Some((ToldCallKey(row.message_id?), row))).collect())
    }
}

impl Loader<VisibleCallKey> for Rows {
    type Value = Row;
    type Error = Error;

    async fn load(&self, keys: &[VisibleCallKey]) -> Result<HashMap<VisibleCallKey, Row>> {
        let pairs: Vec<_> = keys.iter().map(|&VisibleCallKey(user, id)| (user, id)).collect();
        let connection = self.app.connection().await.map_err(failed)?;
        let rows = calls::visible(&connection, &pairs).await.map_err(failed)?;
        Ok(rows.into_iter().map(|row| (VisibleCallKey(row.viewer_id, row.call.id), row.call)).collect())
    }
}

impl Loader<RingKey> for Rows {
    type Value = ();
    type Error = Error;

    async fn load(&self, keys: &[RingKey]) -> Result<HashMap<RingKey, ()>> {
        let pairs: Vec<_> = keys.iter().map(|&RingKey(user, call)| (call, user)).collect();
        let pairs = self.app.calls().still_ringing(&pairs).await?;
        Ok(pairs.into_iter().map(|(call, user)| (RingKey(user, call), ())).collect())
    }
}

#[derive(InputObject)]
pub struct StartCallInput {
    conversation_id: ID,
    kind: CallKind,
}

#[derive(SimpleObject)]
pub struct StartCallPayload {
    call: Call,
}

#[derive(InputObject)]
pub struct AcceptCallInput {
    call_id: ID,
}

#[derive(SimpleObject)]
pub struct AcceptCallPayload {
    call: Call,
}

#[derive(InputObject)]
pub struct DeclineCallInput {
    call_id: ID,
}

#[derive(SimpleObject)]
pub struct DeclineCallPayload {
    call: Call,
}

#[derive(InputObject)]
pub struct LeaveCallInput {
    call_id: ID,
}

#[derive(SimpleObject)]
pub struct LeaveCallPayload {
    call: Call,
}

#[derive(Default)]
pub struct CallMutation;

#[Object]
impl CallMutation {
    /// Rings everybody else in the conversation, until `ringsUntil`. Where there is a call in it already the viewer
    /// answers that one, whoever started it: two who call each other at once are in one call. ENDED with BUSY where
    /// everybody else is in another call. The device stays in the call as long as it has a connection open. CONFLICT has
    /// the reason IN_ANOTHER_CALL, and where it comes to an answer those of `acceptCall`.
    async fn start_call(&self, ctx: &Context<'_>, input: StartCallInput) -> Result<StartCallPayload> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&input.conversation_id, "conversationId")?;
        let row = ctx.app().calls().start(viewer, conversation, input.kind.into()).await?;
        Ok(StartCallPayload { call: row.into() })
    }

    /// Of a user's devices the first one wins; the others get CONFLICT, and CallAnswered. A newcomer sends an offer to
    /// each of the other sessions in `participants`. CONFLICT has the reason CALL_OVER, CALL_FULL, ON_ANOTHER_DEVICE or
    /// IN_ANOTHER_CALL.
    async fn accept_call(&self, ctx: &Context<'_>, input: AcceptCallInput) -> Result<AcceptCallPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().calls().accept(viewer, parse_id(&input.call_id, "callId")?).await?;
        Ok(AcceptCallPayload { call: row.into() })
    }

    /// For all of the viewer's devices. It ends a direct call, and one that everybody else has declined, too. CONFLICT
    /// has the reason CALL_OVER or IN_THIS_CALL.
    async fn decline_call(&self, ctx: &Context<'_>, input: DeclineCallInput) -> Result<DeclineCallPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().calls().decline(viewer, parse_id(&input.call_id, "callId")?).await?;
        Ok(DeclineCallPayload { call: row.into() })
    }

    /// Leaves; the call ends when fewer than two sessions are left. CONFLICT has the reason NOT_IN_THIS_CALL.
    async fn leave_call(&self, ctx: &Context<'_>, input: LeaveCallInput) -> Result<LeaveCallPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().calls().leave(viewer, parse_id(&input.call_id, "callId")?).await?;
        Ok(LeaveCallPayload { call: row.into() })
    }
}
