//! What becomes of messages once they are sent: edited, deleted, forwarded.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::message::Message;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::{parse_id, parse_ids};

#[derive(InputObject)]
pub struct EditMessageInput {
    message_id: ID,
    /// Up to `serverInfo.maxMessageLength` Unicode scalar values, kept exactly as sent. Beside attachments it may be
    /// empty.
    body: String,
}

#[derive(SimpleObject)]
pub struct EditMessagePayload {
    message: Message,
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub enum DeleteScope {
    /// A tombstone stays, with the message's number.
    Everyone,
    /// The viewer does not see it any more, on any device.
    Viewer,
}

#[derive(InputObject)]
pub struct DeleteMessageInput {
    message_id: ID,
    #[graphql(default_with = "DeleteScope::Everyone")]
    scope: DeleteScope,
}

#[derive(SimpleObject)]
pub struct DeleteMessagePayload {
    /// What is left of it; null where the viewer sees it no more.
    message: Option<Message>,
    message_id: ID,
}

#[derive(InputObject)]
pub struct ForwardMessagesInput {
    /// 1 to 100, in the order in which they are to come.
    message_ids: Vec<ID>,
    /// 1 to 20.
    conversation_ids: Vec<ID>,
}

#[derive(SimpleObject)]
pub struct ForwardMessagesPayload {
    /// One conversation after the other, as they were asked for.
    messages: Vec<Message>,
}

#[derive(Default)]
pub struct MessageChangeMutation;

#[Object]
impl MessageChangeMutation {
    /// Replaces the body of the viewer's own message, or the text beside its attachments. Sends MessageUpdated if the body
    /// differs. The number of edits is not limited. The server keeps former bodies for its operator: the original one and
    /// the newest ones, 50 by default.
    async fn edit_message(&self, ctx: &Context<'_>, input: EditMessageInput) -> Result<EditMessagePayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.message_id, "messageId")?;
        let message = ctx.app().messages().edit(viewer, id, input.body).await?;
        Ok(EditMessagePayload { message: Message(message) })
    }

    /// For everyone: one's own, and in a group, where the viewer is its owner or an admin, any.
    async fn delete_message(&self, ctx: &Context<'_>, input: DeleteMessageInput) -> Result<DeleteMessagePayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.message_id, "messageId")?;
        let message = match input.scope {
            DeleteScope::Everyone => Some(Message(ctx.app().messages().delete(viewer, id).await?)),
            DeleteScope::Viewer => {
                ctx.app().messages().hide(viewer, id).await?;
                None
            }
        };
        Ok(DeleteMessagePayload { message, message_id: input.message_id })
    }

    /// Sends copies of messages to several conversations at once: all of them, or none.
    async fn forward_messages(&self, ctx: &Context<'_>, input: ForwardMessagesInput) -> Result<ForwardMessagesPayload> {
        let viewer = ctx.viewer()?;
        let ids = parse_ids(&input.message_ids, "messageIds")?;
        let to = parse_ids(&input.conversation_ids, "conversationIds")?;
        let sent = ctx.app().messages().forward(viewer, ids, to).await?;
        Ok(ForwardMessagesPayload { messages: sent.into_iter().map(Message).collect() })
    }
}
