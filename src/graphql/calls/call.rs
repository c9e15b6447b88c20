//! Calls: their state, and the mutations that start, answer, decline and leave them.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use crate::domain::Error as Domain;
use crate::graphql::context::ContextExt as _;
use crate::graphql::conversations::conversation::Conversation;
use crate::graphql::error::{Error, Result};
use crate::graphql::loaders::{Rows, grouped};
use crate::graphql::people::user::User;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::ids::{CallId, CallParticipantId, ConversationId, MessageId, UserId};
use crate::store::calls::call_participants::CallParticipant as ParticipantRow;
use crate::store::calls::calls::{
    Call as Row, CallEndReason as EndReasonRow, CallKind as KindRow, CallState as StateRow,
};

/// Media of a call.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "KindRow")]
pub enum CallKind {
    /// Sound only.
    Audio,
    /// Sound and video.
    Video,
}

/// Progress of a call.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "StateRow")]
pub enum CallState {
    /// The call rings, and no user has answered yet.
    Ringing,
    /// A user has answered.
    Ongoing,
    /// The call is over. `Call.endReason` has the reason.
    Ended,
}

/// Why a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "EndReasonRow")]
pub enum CallEndReason {
    /// The call was answered. It ended because a device left and fewer than two devices remained.
    HungUp,
    /// All users for whom the call rang declined it.
    Declined,
    /// No user answered before `Call.ringsUntil`, or the caller left before an answer.
    Missed,
    /// All other participants of the conversation were in another call.
    Busy,
    /// The call was answered. It ended because a device lost its connection and fewer than two devices remained.
    Failed,
}

#[derive(Clone)]
pub struct Call {
    row: Row,
    /// Whether the conversation and the devices are hidden, because the viewer can no longer see the call.
    details_hidden: bool,
    /// The user who is in the call, if this value comes from `of_user`.
    of: Option<UserId>,
}

impl From<Row> for Call {
    fn from(row: Row) -> Self {
        Self { row, details_hidden: false, of: None }
    }
}

impl Call {
    /// Wraps the row of a call that this user is in.
    pub(in crate::graphql) fn of_user(row: Row, user: UserId) -> Self {
        Self { of: Some(user), ..row.into() }
    }

    pub(super) fn call_id(&self) -> CallId {
        self.row.id
    }

    /// Hides the conversation and the devices of the call, for a viewer who can no longer see the call.
    pub(super) fn hide_details(&mut self) {
        self.details_hidden = true;
    }
}

/// An audio or video call in a conversation. It is visible to the participants of the conversation, except to a user
/// who blocks the caller of a direct call. A conversation has at most one call at a time.
#[Object]
impl Call {
    /// Global id, with the prefix `cal_`.
    pub async fn id(&self) -> ID {
        self.row.id.to_string().into()
    }

    /// The conversation of the call. Null if the viewer is no longer a participant, as in the CallLeft event that a
    /// removed user gets.
    async fn conversation(&self) -> Option<Conversation> {
        let id = self.row.conversation_id;
        (!self.details_hidden)
            .then(|| self.of.map_or_else(|| id.into(), |user| Conversation::for_participant(id, user)))
    }

    /// Media with which the call was started.
    async fn kind(&self) -> CallKind {
        self.row.kind.into()
    }

    /// Whether the call rings, is ongoing or has ended.
    async fn state(&self) -> CallState {
        self.row.state.into()
    }

    /// The user who started the call. Null if the account was deleted.
    async fn started_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        ctx.loaders().user(self.row.started_by).await.map(|row| row.map(User)).transpose()
    }

    /// The devices that are in the call now, in the order in which they joined. A device that joins sends a WebRTC
    /// offer to each of the other devices. Empty if the viewer is no longer a participant of the conversation.
    async fn participants(&self, ctx: &Context<'_>) -> Result<Vec<CallParticipant>> {
        if self.details_hidden {
            return Ok(Vec::new());
        }
        let rows = ctx.loaders().load(PresentKey(self.row.id)).await?.unwrap_or_default();
        Ok(rows.into_iter().map(CallParticipant).collect())
    }

    /// When the call was started.
    async fn created_at(&self) -> DateTime {
        self.row.created_at.into()
    }

    /// When the call stops ringing: 60 seconds after the start, by default. In a group, the call may continue between
    /// the users who have answered.
    async fn rings_until(&self) -> DateTime {
        self.row.rings_until.into()
    }

    /// When the first user answered. Null if no user has answered.
    async fn answered_at(&self) -> Option<DateTime> {
        self.row.answered_at.map(Into::into)
    }

    /// When the call ended. Null if the call has not ended.
    async fn ended_at(&self) -> Option<DateTime> {
        self.row.ended_at.map(Into::into)
    }

    /// Why the call ended. Null if the call has not ended.
    async fn end_reason(&self) -> Option<CallEndReason> {
        self.row.end_reason.map(Into::into)
    }
}

#[derive(Clone)]
pub struct CallParticipant(pub ParticipantRow);

/// A user's device that is or was in a call.
#[Object]
impl CallParticipant {
    /// The user of the device.
    async fn user(&self, ctx: &Context<'_>) -> Result<User> {
        // The user exists while the device is in the call, and events about deleted accounts do not show participants.
        let user = ctx.loaders().user(self.0.user_id).await?.map(User);
        user.ok_or_else(|| Domain::NotFound("This user no longer exists.").into())
    }

    /// Id of the device's session. `sendCallSignal` addresses the device by this id.
    async fn session_id(&self) -> ID {
        self.0.session_id.to_string().into()
    }
}

/// Key of the devices that are in a call now; not in the result if the call has no devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PresentKey(pub CallId);

/// Key of the call that a conversation has now; not in the result if the conversation has no call or the user may not
/// see the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LiveCallKey(pub UserId, pub ConversationId);

/// Key of the call whose end a SYSTEM message reports; not in the result if the message reports no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReportedCallKey(pub MessageId);

/// Key of the ringing of a call for a user; not in the result if the call does not ring for the user now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RingKey(pub UserId, pub CallId);

/// Key of a call; not in the result if the user may not see the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VisibleCallKey(pub UserId, pub CallId);

impl Loader<CallId> for Rows {
    type Value = Row;
    type Error = Error;

    async fn load(&self, keys: &[CallId]) -> Result<HashMap<CallId, Row>> {
        let rows = self.app.calls().of_events(keys).await?;
        Ok(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl Loader<CallParticipantId> for Rows {
    type Value = ParticipantRow;
    type Error = Error;

    async fn load(&self, keys: &[CallParticipantId]) -> Result<HashMap<CallParticipantId, ParticipantRow>> {
        let rows = self.app.calls().devices_of_events(keys).await?;
        Ok(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl Loader<PresentKey> for Rows {
    type Value = Vec<ParticipantRow>;
    type Error = Error;

    async fn load(&self, keys: &[PresentKey]) -> Result<HashMap<PresentKey, Self::Value>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let rows = self.app.calls().present_devices(&ids).await?;
        Ok(grouped(rows.into_iter().map(|row| (PresentKey(row.call_id), row))))
    }
}

impl Loader<LiveCallKey> for Rows {
    type Value = Row;
    type Error = Error;

    async fn load(&self, keys: &[LiveCallKey]) -> Result<HashMap<LiveCallKey, Row>> {
        let pairs: Vec<_> = keys.iter().map(|&LiveCallKey(user, id)| (user, id)).collect();
        let rows = self.app.calls().live_in(&pairs).await?;
        Ok(rows.into_iter().map(|row| (LiveCallKey(row.viewer_id, row.call.conversation_id), row.call)).collect())
    }
}

impl Loader<ReportedCallKey> for Rows {
    type Value = Row;
    type Error = Error;

    async fn load(&self, keys: &[ReportedCallKey]) -> Result<HashMap<ReportedCallKey, Row>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let rows = self.app.calls().of_messages(&ids).await?;
        Ok(rows.into_iter().filter_map(|row| Some((ReportedCallKey(row.message_id?), row))).collect())
    }
}

impl Loader<VisibleCallKey> for Rows {
    type Value = Row;
    type Error = Error;

    async fn load(&self, keys: &[VisibleCallKey]) -> Result<HashMap<VisibleCallKey, Row>> {
        let pairs: Vec<_> = keys.iter().map(|&VisibleCallKey(user, id)| (user, id)).collect();
        let rows = self.app.calls().visible(&pairs).await?;
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

/// Input of the `startCall` mutation.
#[derive(InputObject)]
pub struct StartCallInput {
    /// Id of the conversation to call.
    conversation_id: ID,
    /// Media of the call. Ignored if the conversation already has a call.
    kind: CallKind,
}

/// Result of the `startCall` mutation.
#[derive(SimpleObject)]
pub struct StartCallPayload {
    /// The new call, or the call that the conversation already had.
    call: Call,
}

/// Input of the `acceptCall` mutation.
#[derive(InputObject)]
pub struct AcceptCallInput {
    /// Id of the call to answer.
    call_id: ID,
}

/// Result of the `acceptCall` mutation.
#[derive(SimpleObject)]
pub struct AcceptCallPayload {
    /// The call, with this device in `participants`.
    call: Call,
}

/// Input of the `declineCall` mutation.
#[derive(InputObject)]
pub struct DeclineCallInput {
    /// Id of the call to decline.
    call_id: ID,
}

/// Result of the `declineCall` mutation.
#[derive(SimpleObject)]
pub struct DeclineCallPayload {
    /// The call. It has ended if no other user can answer it.
    call: Call,
}

/// Input of the `leaveCall` mutation.
#[derive(InputObject)]
pub struct LeaveCallInput {
    /// Id of the call to leave.
    call_id: ID,
}

/// Result of the `leaveCall` mutation.
#[derive(SimpleObject)]
pub struct LeaveCallPayload {
    /// The call without this device.
    call: Call,
}

#[derive(Default)]
pub struct CallMutation;

#[Object]
impl CallMutation {
    /// Starts a call, which rings for all other participants of the conversation until `Call.ringsUntil`. If the
    /// conversation already has a call, this device joins that call instead, so two users who call each other at the
    /// same time are in one call. If all other participants are in another call, the new call is ENDED with the reason
    /// BUSY. The device stays in the call while it has a connection open. Errors: NOT_FOUND if the viewer is not a
    /// participant. BAD_USER_INPUT if the viewer is alone or the group is too large. FORBIDDEN if the viewer blocks the
    /// other user. CONFLICT with the reason IN_ANOTHER_CALL, ON_ANOTHER_DEVICE or CALL_FULL in `extensions.reason`.
    async fn start_call(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation and the kind of call.")] input: StartCallInput,
    ) -> Result<StartCallPayload> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&input.conversation_id, "conversationId")?;
        let row = ctx.app().calls().start(viewer, conversation, input.kind.into()).await?;
        Ok(StartCallPayload { call: row.into() })
    }

    /// Joins a call with this device. If several devices of a user accept, the first device joins, and the other
    /// devices get the error CONFLICT and a CallAnswered event. After joining, send a WebRTC offer to each other
    /// session in `Call.participants`. Accepting again with the same device changes nothing. Errors: NOT_FOUND if the
    /// viewer cannot see the call. CONFLICT with the reason CALL_OVER, CALL_FULL, ON_ANOTHER_DEVICE or IN_ANOTHER_CALL
    /// in `extensions.reason`.
    async fn accept_call(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The call to join.")] input: AcceptCallInput,
    ) -> Result<AcceptCallPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().calls().accept(viewer, parse_id(&input.call_id, "callId")?).await?;
        Ok(AcceptCallPayload { call: row.into() })
    }

    /// Declines a call: it stops ringing on all devices of the viewer. The call ends if it rings for no other user and
    /// no user has answered. Errors: NOT_FOUND if the viewer cannot see the call. CONFLICT with the reason CALL_OVER or
    /// IN_THIS_CALL in `extensions.reason`.
    async fn decline_call(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The call to decline.")] input: DeclineCallInput,
    ) -> Result<DeclineCallPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().calls().decline(viewer, parse_id(&input.call_id, "callId")?).await?;
        Ok(DeclineCallPayload { call: row.into() })
    }

    /// Leaves a call with this device. The call ends if fewer than two devices remain. Leaving again, or leaving a call
    /// that has ended, changes nothing. Errors: NOT_FOUND if the viewer cannot see the call. CONFLICT with the reason
    /// NOT_IN_THIS_CALL in `extensions.reason` if this device was never in the call.
    async fn leave_call(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The call to leave.")] input: LeaveCallInput,
    ) -> Result<LeaveCallPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().calls().leave(viewer, parse_id(&input.call_id, "callId")?).await?;
        Ok(LeaveCallPayload { call: row.into() })
    }
}
