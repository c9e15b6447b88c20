//! Scheduled messages: messages that the server sends later.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use crate::domain::messaging::scheduled_messages::NewScheduledMessage;
use crate::graphql::context::ContextExt as _;
use crate::graphql::conversations::conversation::Conversation;
use crate::graphql::error::{Error, Result};
use crate::graphql::files::attachment::{Attachment, ScheduledAttachmentsKey};
use crate::graphql::scalars::{DateTime, parse_id, parse_ids};
use crate::store::messaging::scheduled_messages::ScheduledMessage as Row;

#[derive(Clone)]
pub struct ScheduledMessage(pub Row);

/// A message that the server sends at a later time. It is visible only to its sender.
#[Object]
impl ScheduledMessage {
    /// Global id, with the prefix `sch_`. The id becomes the `clientId` of the sent message.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// The conversation to which the message is sent.
    async fn conversation(&self) -> Conversation {
        Conversation::for_participant(self.0.conversation_id, self.0.sender_id)
    }

    /// Text of the message. Null if the message has only attachments. Errors: OPERATION_TOO_COMPLEX if the texts of the
    /// response exceed a limit of the server.
    async fn body(&self, ctx: &Context<'_>) -> Option<Result<&str>> {
        self.0.body.as_deref().map(|body| ctx.long_text(body))
    }

    /// At most 10 attachments, in the order that the sender chose.
    async fn attachments(&self, ctx: &Context<'_>) -> Result<Vec<Attachment>> {
        let rows = ctx.loaders().load(ScheduledAttachmentsKey(self.0.id)).await?.unwrap_or_default();
        Ok(rows.into_iter().map(Attachment).collect())
    }

    /// When the server sends the message.
    async fn send_at(&self) -> DateTime {
        self.0.send_at.into()
    }
}

/// Input of the `scheduleMessage` mutation.
#[derive(InputObject)]
pub struct ScheduleMessageInput {
    /// Id of the conversation.
    conversation_id: ID,
    /// Text, at most `ServerInfo.maxMessageLength` Unicode scalar values, stored exactly as sent. Required if there are
    /// no attachments.
    body: Option<String>,
    /// Ids of at most 10 attachments that the viewer uploaded and that are READY.
    attachment_ids: Option<Vec<ID>>,
    /// When to send the message: in the future, and at most 365 days ahead.
    send_at: DateTime,
}

/// Result of the `scheduleMessage` mutation.
#[derive(SimpleObject)]
pub struct ScheduleMessagePayload {
    /// The scheduled message.
    scheduled_message: ScheduledMessage,
}

/// Input of the `cancelScheduledMessage` mutation.
#[derive(InputObject)]
pub struct CancelScheduledMessageInput {
    /// Id of the scheduled message.
    scheduled_message_id: ID,
}

/// Result of the `cancelScheduledMessage` mutation.
#[derive(SimpleObject)]
pub struct CancelScheduledMessagePayload {
    /// Id of the deleted scheduled message.
    scheduled_message_id: ID,
}

#[derive(Default)]
pub struct ScheduledMessageMutation;

#[Object]
impl ScheduledMessageMutation {
    /// Schedules a message. The server sends the message within a second of `sendAt`. It drops the message if the
    /// viewer may not send the message at that time, for example after leaving the conversation. Errors: NOT_FOUND if
    /// the viewer is not a participant. BAD_USER_INPUT if a field breaks its rule, or the viewer has 100 scheduled
    /// messages.
    async fn schedule_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message, and when to send it.")] input: ScheduleMessageInput,
    ) -> Result<ScheduleMessagePayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().scheduled_messages().schedule(viewer, input.try_into()?).await?;
        Ok(ScheduleMessagePayload { scheduled_message: ScheduledMessage(row) })
    }

    /// Cancels a scheduled message and deletes it. Errors: NOT_FOUND if the scheduled message does not exist, for
    /// example because it was sent meanwhile.
    async fn cancel_scheduled_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The scheduled message to cancel.")] input: CancelScheduledMessageInput,
    ) -> Result<CancelScheduledMessagePayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.scheduled_message_id, "scheduledMessageId")?;
        ctx.app().scheduled_messages().cancel(viewer, id).await?;
        Ok(CancelScheduledMessagePayload { scheduled_message_id: input.scheduled_message_id })
    }
}

impl TryFrom<ScheduleMessageInput> for NewScheduledMessage {
    type Error = Error;

    fn try_from(input: ScheduleMessageInput) -> Result<Self> {
        Ok(Self {
            conversation: parse_id(&input.conversation_id, "conversationId")?,
            body: input.body.unwrap_or_default(),
            attachments: parse_ids(&input.attachment_ids.unwrap_or_default(), "attachmentIds")?,
            send_at: input.send_at.0,
        })
    }
}
