//! Messages: sending them, and marking them as delivered and read.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::reaction::{ReactionGroup, ReactionsKey};
use crate::domain::messaging::mentions;
use crate::domain::messaging::new_message::NewMessage;
use crate::domain::messaging::receipts::{self, DeliveryStatus as StatusRow};
use crate::graphql::calls::call::{Call, ReportedCallKey};
use crate::graphql::context::ContextExt as _;
use crate::graphql::conversations::conversation::Conversation;
use crate::graphql::error::{Error, Result};
use crate::graphql::files::attachment::{Attachment, AttachmentsKey};
use crate::graphql::message_loaders::{MentionsKey, ProgressKey, VisibleKey};
use crate::graphql::people::user::User;
use crate::graphql::scalars::{DateTime, parse_id, parse_ids};
use crate::store::messaging::messages::{
    Message as Row, MessageKind as KindRow, SystemEventKind as SystemEventKindRow,
};

/// Kind of a message, by its content.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "KindRow")]
pub enum MessageKind {
    /// A text without attachments.
    Text,
    /// All attachments are pictures.
    Image,
    /// All attachments are videos.
    Video,
    /// All attachments are audio recordings.
    Audio,
    /// The attachments are other files, or of different kinds.
    File,
    /// An event in the conversation, which `Message.systemEvent` describes.
    System,
}

/// Delivery of a message to all other participants of its conversation, taken together.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "StatusRow")]
pub enum DeliveryStatus {
    /// The message is stored, but not delivered to all other participants. A message in a conversation without other
    /// participants stays SENT.
    Sent,
    /// The message is delivered to all other participants.
    Delivered,
    /// All other participants have read the message. A conversation in which a participant has disabled read receipts
    /// has no READ messages.
    Read,
}

#[derive(Clone)]
pub struct Message(pub Row);

/// A message in a conversation. It is visible to the participants, except to users who deleted it for themselves, who
/// blocked its sender in a direct conversation, or who joined the group after the message was sent, if the group hides
/// its history.
#[Object]
impl Message {
    /// Global id, with the prefix `msg_`.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// The conversation of the message.
    async fn conversation(&self) -> Conversation {
        self.0.conversation_id.into()
    }

    /// Place of the message in its conversation: 1, 2, 3 and so on, in the same order for all participants. The numbers
    /// have no gaps, but lists omit messages that are not visible to the viewer.
    async fn number(&self) -> i32 {
        self.0.number
    }

    /// Version of the message. Each change of a message gets the next revision number of its conversation. Of two
    /// copies of a message, the one with the larger revision is newer.
    async fn revision(&self) -> i32 {
        self.0.revision
    }

    /// The user who sent the message. Null for a SYSTEM message, and if the account was deleted.
    async fn sender(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        ctx.loaders().user(self.0.sender_id?).await.map(|row| row.map(User)).transpose()
    }

    /// Kind of the content. It does not change when the message is deleted.
    async fn kind(&self) -> MessageKind {
        self.0.kind.into()
    }

    /// Text of the message. Null for a deleted message, a SYSTEM message, and a message that has only attachments.
    /// Errors: OPERATION_TOO_COMPLEX if the texts of the response exceed a limit of the server.
    async fn body(&self, ctx: &Context<'_>) -> Option<Result<&str>> {
        self.0.body.as_deref().map(|body| ctx.long_text(body))
    }

    /// At most 10 attachments, in the order that the sender chose. Empty for a deleted message.
    async fn attachments(&self, ctx: &Context<'_>) -> Result<Vec<Attachment>> {
        if !self.0.has_attachments() {
            return Ok(Vec::new());
        }
        let rows = ctx.loaders().load(AttachmentsKey(self.0.id)).await?.unwrap_or_default();
        Ok(rows.into_iter().map(Attachment).collect())
    }

    /// The participants whose `@username` is in the body, sorted by username.
    async fn mentions(&self, ctx: &Context<'_>) -> Result<Vec<User>> {
        if !self.0.body.as_deref().is_some_and(mentions::may_mention) {
            return Ok(Vec::new());
        }
        let rows = ctx.loaders().load(MentionsKey(self.0.id)).await?.unwrap_or_default();
        Ok(rows.into_iter().map(User).collect())
    }

    /// Whether the body contains `@all`, which mentions all participants.
    async fn mentions_all(&self) -> bool {
        self.0.body.as_deref().is_some_and(mentions::mentions_all)
    }

    /// Whether the message was delivered to all other participants, and read by them. The value is the same for all
    /// viewers.
    async fn status(&self, ctx: &Context<'_>) -> Result<DeliveryStatus> {
        let progress = ctx.loaders().load(ProgressKey(self.0.conversation_id)).await?.unwrap_or_default();
        Ok(receipts::status(&self.0, &progress).into())
    }

    /// When the message was sent.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// When the body was last edited. Null if the body was never edited.
    async fn edited_at(&self) -> Option<DateTime> {
        self.0.edited_at.map(Into::into)
    }

    /// When the message was deleted for everyone, or expired. Null if it is not deleted.
    async fn deleted_at(&self) -> Option<DateTime> {
        self.0.deleted_at.map(Into::into)
    }

    /// When the message expires. It is then deleted for everyone. Null if the message does not expire.
    async fn expires_at(&self) -> Option<DateTime> {
        self.0.expires_at.map(Into::into)
    }

    /// When the message was pinned. Null if it is not pinned.
    async fn pinned_at(&self) -> Option<DateTime> {
        self.0.pinned_at.map(Into::into)
    }

    /// Whether the message is a copy that `forwardMessages` sent.
    async fn forwarded(&self) -> bool {
        self.0.forwarded
    }

    /// The message that this message replies to. Null if it is not a reply, or the original is not visible to the
    /// viewer.
    async fn reply_to(&self, ctx: &Context<'_>) -> Option<Result<Self>> {
        let id = self.0.reply_to_id?;
        match ctx.viewer() {
            Ok(viewer) => ctx.loaders().load(VisibleKey(viewer.user, id)).await.map(|row| row.map(Self)).transpose(),
            Err(error) => Some(Err(error)),
        }
    }

    /// The reactions, grouped by emoji in the order of first use. At most 20 groups.
    async fn reactions(&self, ctx: &Context<'_>) -> Result<Vec<ReactionGroup>> {
        let groups = ctx.loaders().load(ReactionsKey(self.0.id)).await?.unwrap_or_default();
        Ok(groups.into_iter().map(ReactionGroup).collect())
    }

    /// The event that a SYSTEM message reports. Null for other messages.
    async fn system_event(&self) -> Option<SystemEvent> {
        self.0.system_kind.map(|kind| SystemEvent { kind, row: self.0.clone() })
    }

    /// The `clientId` from `sendMessage`, by which a client recognizes the message that it sent. For a scheduled
    /// message, the id of the ScheduledMessage. Null if `sendMessage` had no `clientId`.
    async fn client_id(&self) -> Option<&str> {
        self.0.client_id.as_deref()
    }
}

/// Kind of a system event.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "SystemEventKindRow")]
pub enum SystemEventKind {
    /// Not used: the creation of a conversation adds no message.
    ConversationCreated,
    /// The title changed. `text` is the new title.
    TitleChanged,
    /// The picture of the group changed or was removed.
    AvatarChanged,
    /// Users joined. `subject` is the user whom the actor added. `subject` is null if the actor joined by an invite,
    /// and if the actor added more than 10 users at once. In the latter case, `text` is the number of users.
    ParticipantJoined,
    /// The actor left.
    ParticipantLeft,
    /// The actor removed the user in `subject`.
    ParticipantRemoved,
    /// The role of the user in `subject` changed. `text` is the new role, such as ADMIN.
    RoleChanged,
    /// The actor pinned a message.
    MessagePinned,
    /// A call ended. `call` is the call, `actor` is the user who started the call, and `text` is a summary such as
    /// "Missed call".
    CallEnded,
}

pub struct SystemEvent {
    kind: SystemEventKindRow,
    row: Row,
}

/// An event in a conversation, which a SYSTEM message reports.
#[Object]
impl SystemEvent {
    /// Kind of the event.
    async fn kind(&self) -> SystemEventKind {
        self.kind.into()
    }

    /// The user who caused the event. Null if the account was deleted.
    async fn actor(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        ctx.loaders().user(self.row.actor_id?).await.map(|row| row.map(User)).transpose()
    }

    /// The other user whom the event affects. Null if only the actor is affected, and if the account was deleted.
    async fn subject(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        ctx.loaders().user(self.row.subject_id?).await.map(|row| row.map(User)).transpose()
    }

    /// Detail of the event, as SystemEventKind describes it. Null for events without a detail.
    async fn text(&self) -> Option<&str> {
        self.row.system_text.as_deref()
    }

    /// The call of a CALL_ENDED event. Null for other events.
    async fn call(&self, ctx: &Context<'_>) -> Option<Result<Call>> {
        if self.kind != SystemEventKindRow::CallEnded {
            return None;
        }
        ctx.loaders().load(ReportedCallKey(self.row.id)).await.map(|row| row.map(Call::from)).transpose()
    }
}

/// Input of the `sendMessage` mutation.
#[derive(InputObject)]
pub struct SendMessageInput {
    /// Id of the conversation.
    conversation_id: ID,
    /// Id that the client chooses, 1 to 64 characters, different for each message of the sender, such as a UUID. A
    /// retry with the same id does not send the message again.
    client_id: Option<String>,
    /// Text, at most `ServerInfo.maxMessageLength` Unicode scalar values, stored exactly as sent. Required if there are
    /// no attachments.
    body: Option<String>,
    /// Ids of at most 10 attachments that the viewer uploaded and that are READY.
    attachment_ids: Option<Vec<ID>>,
    /// Id of the message to reply to, in the same conversation.
    reply_to_id: Option<ID>,
    /// Seconds after which the message is deleted for everyone, 1 to 31536000. If omitted, the message does not expire.
    expires_in: Option<i32>,
}

/// Result of the `sendMessage` mutation.
#[derive(SimpleObject)]
pub struct SendMessagePayload {
    /// The stored message.
    message: Message,
}

/// Input of the `markDelivered` mutation.
#[derive(InputObject)]
pub struct MarkDeliveredInput {
    /// Id of the newest message that the client received.
    message_id: ID,
}

/// Result of the `markDelivered` mutation.
#[derive(SimpleObject)]
pub struct MarkDeliveredPayload {
    /// The conversation of the message.
    conversation: Conversation,
}

/// Input of the `markRead` mutation.
#[derive(InputObject)]
pub struct MarkReadInput {
    /// Id of the newest message that the user has read.
    message_id: ID,
}

/// Result of the `markRead` mutation.
#[derive(SimpleObject)]
pub struct MarkReadPayload {
    /// The conversation of the message.
    conversation: Conversation,
}

#[derive(Default)]
pub struct MessageMutation;

#[Object]
impl MessageMutation {
    /// Sends a message. The message is stored when the mutation returns. Sending again with the same `clientId` returns
    /// the first message. Errors: NOT_FOUND if the viewer is not a participant. BAD_USER_INPUT if a field breaks its
    /// rule, for example for an attachment that is not READY. FORBIDDEN if the viewer blocks the other user of a direct
    /// conversation. CONFLICT if the `clientId` belongs to a message in another conversation.
    async fn send_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message to send.")] input: SendMessageInput,
    ) -> Result<SendMessagePayload> {
        let viewer = ctx.viewer()?;
        let message = ctx.app().messages().send(viewer, input.try_into()?).await?;
        Ok(SendMessagePayload { message: Message(message) })
    }

    /// Marks all messages up to this message as delivered to the viewer. The position never moves back. Errors:
    /// NOT_FOUND if the message is not visible to the viewer.
    async fn mark_delivered(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The newest delivered message.")] input: MarkDeliveredInput,
    ) -> Result<MarkDeliveredPayload> {
        let viewer = ctx.viewer()?;
        let message = parse_id(&input.message_id, "messageId")?;
        let row = ctx.app().receipts().mark_delivered(viewer, message).await?;
        Ok(MarkDeliveredPayload { conversation: row.into() })
    }

    /// Marks all messages up to this message as delivered to and read by the viewer. The position never moves back.
    /// Errors: NOT_FOUND if the message is not visible to the viewer.
    async fn mark_read(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The newest message that was read.")] input: MarkReadInput,
    ) -> Result<MarkReadPayload> {
        let viewer = ctx.viewer()?;
        let message = parse_id(&input.message_id, "messageId")?;
        let row = ctx.app().receipts().mark_read(viewer, message).await?;
        Ok(MarkReadPayload { conversation: row.into() })
    }
}

impl TryFrom<SendMessageInput> for NewMessage {
    type Error = Error;

    fn try_from(input: SendMessageInput) -> Result<Self> {
        Ok(Self {
            conversation: parse_id(&input.conversation_id, "conversationId")?,
            client_id: input.client_id,
            body: input.body.unwrap_or_default(),
            attachments: parse_ids(&input.attachment_ids.unwrap_or_default(), "attachmentIds")?,
            reply_to: input.reply_to_id.map(|id| parse_id(&id, "replyToId")).transpose()?,
            expires_in: input.expires_in,
            forwarded: false,
        })
    }
}
