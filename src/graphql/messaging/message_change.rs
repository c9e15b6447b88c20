//! Editing, deleting and forwarding of messages.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::message::Message;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::{parse_id, parse_ids};

/// Input of the `editMessage` mutation.
#[derive(InputObject)]
pub struct EditMessageInput {
    /// Id of a message that the viewer sent.
    message_id: ID,
    /// New text, at most `ServerInfo.maxMessageLength` Unicode scalar values, stored exactly as sent. The text can be
    /// empty if the message has attachments.
    body: String,
}

/// Result of the `editMessage` mutation.
#[derive(SimpleObject)]
pub struct EditMessagePayload {
    /// The edited message.
    message: Message,
}

/// For whom a message is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub enum DeleteScope {
    /// For all participants. A tombstone with the number of the message remains.
    Everyone,
    /// Only for the viewer, on all devices.
    Viewer,
}

/// Input of the `deleteMessage` mutation.
#[derive(InputObject)]
pub struct DeleteMessageInput {
    /// Id of the message.
    message_id: ID,
    /// For whom to delete the message.
    #[graphql(default_with = "DeleteScope::Everyone")]
    scope: DeleteScope,
}

/// Result of the `deleteMessage` mutation.
#[derive(SimpleObject)]
pub struct DeleteMessagePayload {
    /// The tombstone. Null if the message was deleted only for the viewer.
    message: Option<Message>,
    /// Id of the message.
    message_id: ID,
}

/// Input of the `forwardMessages` mutation.
#[derive(InputObject)]
pub struct ForwardMessagesInput {
    /// Ids of 1 to 100 messages, in the order in which the copies are sent.
    message_ids: Vec<ID>,
    /// Ids of 1 to 20 conversations that get the copies.
    conversation_ids: Vec<ID>,
}

/// Result of the `forwardMessages` mutation.
#[derive(SimpleObject)]
pub struct ForwardMessagesPayload {
    /// The copies, grouped by conversation in the order of `conversationIds`.
    messages: Vec<Message>,
}

#[derive(Default)]
pub struct MessageChangeMutation;

#[Object]
impl MessageChangeMutation {
    /// Replaces the body of a message that the viewer sent. MessageUpdated is sent if the body differs. The number of
    /// edits is not limited. The server keeps the original body and the newest former bodies, by default 50, for its
    /// operator. Errors: NOT_FOUND if the message is not visible to the viewer. FORBIDDEN if the viewer did not send
    /// the message. BAD_USER_INPUT if the body is too long, if it is empty and the message has no attachments, or if
    /// the message is deleted.
    async fn edit_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message and its new text.")] input: EditMessageInput,
    ) -> Result<EditMessagePayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.message_id, "messageId")?;
        let message = ctx.app().messages().edit(viewer, id, input.body).await?;
        Ok(EditMessagePayload { message: Message(message) })
    }

    /// Deletes a message, for everyone or only for the viewer. Users can delete their own messages for everyone. The
    /// owner and admins of a group can delete all of its messages for everyone, except SYSTEM messages. Deleting again
    /// changes nothing. Errors: NOT_FOUND if the message is not visible to the viewer. FORBIDDEN if the viewer may not
    /// delete the message for everyone.
    async fn delete_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message, and for whom to delete it.")] input: DeleteMessageInput,
    ) -> Result<DeleteMessagePayload> {
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

    /// Sends copies of messages to several conversations. Either all copies are sent, or no copy is sent. Errors:
    /// NOT_FOUND if a message is not visible to the viewer, or the viewer is not a participant of a conversation.
    /// BAD_USER_INPUT for too many messages or conversations, and for a message without content, such as a deleted one.
    /// FORBIDDEN if the viewer blocks the other user of a direct conversation.
    async fn forward_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The messages, and the conversations that get copies.")] input: ForwardMessagesInput,
    ) -> Result<ForwardMessagesPayload> {
        let viewer = ctx.viewer()?;
        let ids = parse_ids(&input.message_ids, "messageIds")?;
        let to = parse_ids(&input.conversation_ids, "conversationIds")?;
        let sent = ctx.app().messages().forward(viewer, ids, to).await?;
        Ok(ForwardMessagesPayload { messages: sent.into_iter().map(Message).collect() })
    }
}
