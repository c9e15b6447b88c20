//! Messages: sending them, and how far they were received and read.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::reaction::{ReactionGroup, ReactionsKey};
use crate::domain::messaging::mentions;
use crate::domain::messaging::messages::NewMessage;
use crate::domain::messaging::receipts::{self, DeliveryStatus as StatusRow};
use crate::graphql::calls::call::{Call, ToldCallKey};
use crate::graphql::context::ContextExt as _;
use crate::graphql::conversations::conversation::Conversation;
use crate::graphql::error::{Error, Result};
use crate::graphql::files::attachment::{Attachment, AttachmentsKey};
use crate::graphql::loaders::{MentionsKey, ProgressKey, VisibleKey};
use crate::graphql::people::user::User;
use crate::graphql::scalars::{DateTime, parse_id, parse_ids};
use crate::store::messaging::messages::{
    Message as Row, MessageKind as KindRow, SystemEventKind as SystemEventKindRow,
};

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "KindRow")]
pub enum MessageKind {
    Text,
    Image,
    Video,
    Audio,
    File,
    System,
}

/// Over all other participants: SENT when stored, DELIVERED and READ when true of every one of them.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "StatusRow")]
pub enum DeliveryStatus {
    Sent,
    Delivered,
    Read,
}

#[derive(Clone)]
pub struct Message(pub Row);

#[Object]
impl Message {
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    async fn conversation(&self) -> Conversation {
        self.0.conversation_id.into()
    }

    /// 1, 2, 3, … in its conversation: the order that every participant sees, with no holes.
    async fn number(&self) -> i32 {
        self.0.number
    }

    /// Grows in its conversation with every change of any message: the larger is the newer state.
    async fn revision(&self) -> i32 {
        self.0.revision
    }

    /// Null for a system message or a deleted account.
    async fn sender(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        ctx.loaders().user(self.0.sender_id?).await.map(|row| row.map(User)).transpose()
    }

    /// With attachments that of all of them, or FILE where they differ.
    async fn kind(&self) -> MessageKind {
        self.0.kind.into()
    }

    /// Null once deleted and where only attachments were sent.
    async fn body(&self, ctx: &Context<'_>) -> Option<Result<&str>> {
        self.0.body.as_deref().map(|body| ctx.long_text(body))
    }

    /// In the order in which they were sent; none once deleted.
    async fn attachments(&self, ctx: &Context<'_>) -> Result<Vec<Attachment>> {
        if !self.0.has_attachments() {
            return Ok(Vec::new());
        }
        let rows = ctx.loaders().load(AttachmentsKey(self.0.id)).await?.unwrap_or_default();
        Ok(rows.into_iter().map(Attachment).collect())
    }

    /// The participants whose `@username` is in it, by their usernames.
    async fn mentions(&self, ctx: &Context<'_>) -> Result<Vec<User>> {
        if !self.0.body.as_deref().is_some_and(mentions::may_mention) {
            return Ok(Vec::new());
        }
        let rows = ctx.loaders().load(MentionsKey(self.0.id)).await?.unwrap_or_default();
        Ok(rows.into_iter().map(User).collect())
    }

    /// Whether `@all` is in it, which mentions everybody.
    async fn mentions_all(&self) -> bool {
        self.0.body.as_deref().is_some_and(mentions::mentions_all)
    }

    /// Of all other participants together, the same whoever looks. Not READ where anybody hides what they have read.
    async fn status(&self, ctx: &Context<'_>) -> Result<DeliveryStatus> {
        let progress = ctx.loaders().load(ProgressKey(self.0.conversation_id)).await?.unwrap_or_default();
        Ok(receipts::status(&self.0, &progress).into())
    }

    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    async fn edited_at(&self) -> Option<DateTime> {
        self.0.edited_at.map(Into::into)
    }

    async fn deleted_at(&self) -> Option<DateTime> {
        self.0.deleted_at.map(Into::into)
    }

    /// When it deletes itself.
    async fn expires_at(&self) -> Option<DateTime> {
        self.0.expires_at.map(Into::into)
    }

    async fn pinned_at(&self) -> Option<DateTime> {
        self.0.pinned_at.map(Into::into)
    }

    async fn forwarded(&self) -> bool {
        self.0.forwarded
    }

    /// The message that it answers; null where the viewer may not see that.
    async fn reply_to(&self, ctx: &Context<'_>) -> Option<Result<Self>> {
        let id = self.0.reply_to_id?;
        match ctx.viewer() {
            Ok(viewer) => ctx.loaders().load(VisibleKey(viewer.user, id)).await.map(|row| row.map(Self)).transpose(),
            Err(error) => Some(Err(error)),
        }
    }

    /// In the order of their first use.
    async fn reactions(&self, ctx: &Context<'_>) -> Result<Vec<ReactionGroup>> {
        let groups = ctx.loaders().load(ReactionsKey(self.0.id)).await?.unwrap_or_default();
        Ok(groups.into_iter().map(ReactionGroup).collect())
    }

    /// The event behind a SYSTEM message.
    async fn system_event(&self) -> Option<SystemEvent> {
        self.0.system_kind.map(|kind| SystemEvent { kind, row: self.0.clone() })
    }

    /// What the sender gave; lets a client match its optimistic copy.
    async fn client_id(&self) -> Option<&str> {
        self.0.client_id.as_deref()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "SystemEventKindRow")]
pub enum SystemEventKind {
    ConversationCreated,
    TitleChanged,
    AvatarChanged,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRemoved,
    RoleChanged,
    MessagePinned,
    CallEnded,
}

/// What happened to the conversation.
pub struct SystemEvent {
    kind: SystemEventKindRow,
    row: Row,
}

#[Object]
impl SystemEvent {
    async fn kind(&self) -> SystemEventKind {
        self.kind.into()
    }

    /// Who did it.
    async fn actor(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        ctx.loaders().user(self.row.actor_id?).await.map(|row| row.map(User)).transpose()
    }

    /// Whom it was done to, where that is somebody else.
    async fn subject(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        ctx.loaders().user(self.row.subject_id?).await.map(|row| row.map(User)).transpose()
    }

    /// The new title, the new role, how long a call took, or the like.
    async fn text(&self) -> Option<&str> {
        self.row.system_text.as_deref()
    }

    /// Of CALL_ENDED: the call.
    async fn call(&self, ctx: &Context<'_>) -> Option<Result<Call>> {
        if self.kind != SystemEventKindRow::CallEnded {
            return None;
        }
        ctx.loaders().load(ToldCallKey(self.row.id)).await.map(|row| row.map(Call::from)).transpose()
    }
}

#[derive(InputObject)]
pub struct SendMessageInput {
    conversation_id: ID,
    /// Unique per sender, 1 to 64 characters; a UUID will do. Makes retries safe.
    client_id: Option<String>,
    /// Up to `serverInfo.maxMessageLength` Unicode scalar values, kept exactly as sent. Beside attachments it may be left
    /// out.
    body: Option<String>,
    /// The viewer's own, READY; 10 at most.
    attachment_ids: Option<Vec<ID>>,
    reply_to_id: Option<ID>,
    /// Seconds until it deletes itself, 1 to 31536000.
    expires_in: Option<i32>,
}

#[derive(SimpleObject)]
pub struct SendMessagePayload {
    message: Message,
}

#[derive(InputObject)]
pub struct MarkDeliveredInput {
    message_id: ID,
}

#[derive(SimpleObject)]
pub struct MarkDeliveredPayload {
    conversation: Conversation,
}

#[derive(InputObject)]
pub struct MarkReadInput {
    message_id: ID,
}

#[derive(SimpleObject)]
pub struct MarkReadPayload {
    conversation: Conversation,
}

#[derive(Default)]
pub struct MessageMutation;

#[Object]
impl MessageMutation {
    /// Stored before it returns. The same clientId from the same sender returns the first message again.
    async fn send_message(&self, ctx: &Context<'_>, input: SendMessageInput) -> Result<SendMessagePayload> {
        let viewer = ctx.viewer()?;
        let message = ctx.app().messages().send(viewer, input.try_into()?).await?;
        Ok(SendMessagePayload { message: Message(message) })
    }

    /// Everything up to this message is delivered to the viewer. Never moves back.
    async fn mark_delivered(&self, ctx: &Context<'_>, input: MarkDeliveredInput) -> Result<MarkDeliveredPayload> {
        let viewer = ctx.viewer()?;
        let message = parse_id(&input.message_id, "messageId")?;
        let row = ctx.app().receipts().mark_delivered(viewer, message).await?;
        Ok(MarkDeliveredPayload { conversation: row.into() })
    }

    /// Everything up to this message is read by the viewer. Never moves back.
    async fn mark_read(&self, ctx: &Context<'_>, input: MarkReadInput) -> Result<MarkReadPayload> {
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
