//! Typing: which participants are writing a message.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject, Subscription as GraphqlSubscription};
use async_stream::try_stream;
use futures_util::{Stream, StreamExt as _};

use super::conversation::Conversation;
use crate::domain::conversations::typing::Typing;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::loaders::Loaders;
use crate::graphql::people::user::User;
use crate::graphql::scalars::parse_id;

/// Another participant started or stopped typing.
#[derive(SimpleObject)]
pub struct TypingChanged {
    /// The conversation in which the user types.
    conversation: Conversation,
    /// The user who started or stopped typing.
    user: User,
    /// Whether the user is typing. An event can be lost, so clients should stop showing the user as typing after some
    /// time.
    typing: bool,
}

impl TypingChanged {
    /// Makes the event for clients. None if the user no longer exists.
    pub(in crate::graphql) async fn new(loaders: &Loaders, typing_change: Typing) -> Result<Option<Self>> {
        let Typing { conversation, user, typing } = typing_change;
        let user = loaders.user(user).await?;
        Ok(user.map(|user| Self { conversation: conversation.into(), user: User(user), typing }))
    }
}

/// Input of the `setTyping` mutation.
#[derive(InputObject)]
pub struct SetTypingInput {
    /// Id of the conversation.
    conversation_id: ID,
    /// Whether the viewer is typing.
    typing: bool,
}

/// Result of the `setTyping` mutation.
#[derive(SimpleObject)]
pub struct SetTypingPayload {
    /// Id of the conversation.
    conversation_id: ID,
}

#[derive(Default)]
pub struct TypingMutation;

#[Object]
impl TypingMutation {
    /// Sets whether the viewer is typing in a conversation. Typing expires after 8 seconds, by default, so a client
    /// repeats the mutation while the user types. A message that the viewer sends to the conversation ends the typing.
    /// Errors: NOT_FOUND if the viewer is not a participant.
    async fn set_typing(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation, and whether the viewer is typing.")] input: SetTypingInput,
    ) -> Result<SetTypingPayload> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&input.conversation_id, "conversationId")?;
        ctx.app().typing().set(viewer, conversation, input.typing).await?;
        Ok(SetTypingPayload { conversation_id: input.conversation_id })
    }
}

#[derive(Default)]
pub struct TypingSubscription;

#[GraphqlSubscription]
impl TypingSubscription {
    /// Typing of the other participants of a conversation: first an event for each user who is typing now, then an
    /// event for each change. Users whom the viewer blocks or who block the viewer are omitted. Errors: NOT_FOUND if
    /// the viewer is not a participant, or later leaves or is removed.
    async fn typing(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the conversation.")] conversation_id: ID,
    ) -> Result<impl Stream<Item = Result<TypingChanged>> + use<>> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&conversation_id, "conversationId")?;
        let changes = ctx.app().typing().watch(viewer, conversation).await?;
        let loaders = ctx.loaders().clone();
        Ok(try_stream! {
            let mut changes = Box::pin(changes);
            while let Some(change) = changes.next().await {
                if let Some(changed) = TypingChanged::new(&loaders, change?).await? {
                    yield changed;
                }
            }
        })
    }
}
