//! Who is typing.

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

/// Somebody else has begun to type, or ended.
#[derive(SimpleObject)]
pub struct TypingChanged {
    conversation: Conversation,
    user: User,
    typing: bool,
}

impl TypingChanged {
    /// None where the account is gone.
    pub(super) async fn new(loaders: &Loaders, change: Typing) -> Result<Option<Self>> {
        let Typing { conversation, user, typing } = change;
        let user = loaders.user(user).await?;
        Ok(user.map(|user| Self { conversation: conversation.into(), user: User(user), typing }))
    }
}

#[derive(InputObject)]
pub struct SetTypingInput {
    conversation_id: ID,
    typing: bool,
}

#[derive(SimpleObject)]
pub struct SetTypingPayload {
    conversation_id: ID,
}

#[derive(Default)]
pub struct TypingMutation;

#[Object]
impl TypingMutation {
    /// Lapses by itself after 8 seconds, unless the server is set otherwise; a client that goes on says so again before.
    async fn set_typing(&self, ctx: &Context<'_>, input: SetTypingInput) -> Result<SetTypingPayload> {
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
    /// The others in the conversation: first those who are typing now, then each change. That the viewer takes no part
    /// in it any more ends it with NOT_FOUND.
    async fn typing(
        &self,
        ctx: &Context<'_>,
        conversation_id: ID,
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
