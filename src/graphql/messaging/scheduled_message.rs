//! Messages that wait for their time.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use crate::domain::messaging::scheduled_messages::NewScheduledMessage;
use crate::graphql::context::ContextExt as _;
use crate::graphql::conversations::conversation::Conversation;
use crate::graphql::error::{Error, Result};
use crate::graphql::files::attachment::{Attachment, ScheduledAttachmentsKey};
use crate::graphql::scalars::{DateTime, parse_id, parse_ids};
use crate::store::messaging::scheduled_messages::ScheduledMessage as Row;

/// Only its sender sees it.
#[derive(Clone)]
pub struct ScheduledMessage(pub Row);

/// Only its sender sees it.
#[Object]
impl ScheduledMessage {
    /// The `clientId` of the message that it becomes.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    async fn conversation(&self) -> Conversation {
        self.0.conversation_id.into()
    }

    /// Null where only attachments are sent.
    async fn body(&self, ctx: &Context<'_>) -> Option<Result<&str>> {
        self.0.body.as_deref().map(|body| ctx.long_text(body))
    }

    async fn attachments(&self, ctx: &Context<'_>) -> Result<Vec<Attachment>> {
        let rows = ctx.loaders().load(ScheduledAttachmentsKey(self.0.id)).await?.unwrap_or_default();
        Ok(rows.into_iter().map(Attachment).collect())
    }

    async fn send_at(&self) -> DateTime {
        self.0.send_at.into()
    }
}

#[derive(InputObject)]
pub struct ScheduleMessageInput {
    conversation_id: ID,
    /// As for `sendMessage`.
    body: Option<String>,
    /// As for `sendMessage`.
    attachment_ids: Option<Vec<ID>>,
    /// In the future, and a year ahead at most.
    send_at: DateTime,
}

#[derive(SimpleObject)]
pub struct ScheduleMessagePayload {
    scheduled_message: ScheduledMessage,
}

#[derive(InputObject)]
pub struct CancelScheduledMessageInput {
    scheduled_message_id: ID,
}

#[derive(SimpleObject)]
pub struct CancelScheduledMessagePayload {
    scheduled_message_id: ID,
}

#[derive(Default)]
pub struct ScheduledMessageMutation;

#[Object]
impl ScheduledMessageMutation {
    /// Sent within a second of its time, unless its sender takes no part any more by then. 100 at once at most.
    async fn schedule_message(&self, ctx: &Context<'_>, input: ScheduleMessageInput) -> Result<ScheduleMessagePayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().scheduled_messages().schedule(viewer, input.try_into()?).await?;
        Ok(ScheduleMessagePayload { scheduled_message: ScheduledMessage(row) })
    }

    /// NOT_FOUND where it was sent meanwhile.
    async fn cancel_scheduled_message(
        &self,
        ctx: &Context<'_>,
        input: CancelScheduledMessageInput,
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
