//! Who has a conversation open.

use async_graphql::{Context, ID, SimpleObject, Subscription as GraphqlSubscription, Union};
use async_stream::try_stream;
use futures_util::future::try_join_all;
use futures_util::{Stream, StreamExt as _};

use super::conversation::Conversation;
use crate::domain::conversations::rooms::RoomEvent as Event;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::loaders::Loaders;
use crate::graphql::people::user::User;
use crate::graphql::scalars::parse_id;
use crate::ids::ConversationId;

/// Everybody who is there, the viewer too.
#[derive(SimpleObject)]
pub struct RoomSnapshot {
    conversation: Conversation,
    users: Vec<User>,
}

#[derive(SimpleObject)]
pub struct RoomEntered {
    conversation: Conversation,
    user: User,
}

#[derive(SimpleObject)]
pub struct RoomLeft {
    conversation: Conversation,
    user: User,
}

#[derive(Union)]
pub enum RoomEvent {
    Snapshot(RoomSnapshot),
    Entered(RoomEntered),
    Left(RoomLeft),
}

#[derive(Default)]
pub struct RoomSubscription;

#[GraphqlSubscription]
impl RoomSubscription {
    /// Who has the conversation open now. Subscribing enters; ending the subscription leaves. That the viewer takes no
    /// part in it any more ends it with NOT_FOUND.
    async fn room(
        &self,
        ctx: &Context<'_>,
        conversation_id: ID,
    ) -> Result<impl Stream<Item = Result<RoomEvent>> + use<>> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&conversation_id, "conversationId")?;
        let events = ctx.app().rooms().enter(viewer, conversation).await?;
        let loaders = ctx.loaders().clone();
        Ok(try_stream! {
            let mut events = Box::pin(events);
            while let Some(event) = events.next().await {
                if let Some(event) = shown(&loaders, conversation, event?).await? {
                    yield event;
                }
            }
        })
    }
}

/// None where the account it tells of is gone.
async fn shown(loaders: &Loaders, id: ConversationId, event: Event) -> Result<Option<RoomEvent>> {
    let conversation = id.into();
    Ok(match event {
        Event::Snapshot(users) => {
            let users = try_join_all(users.into_iter().map(|user| loaders.user(user))).await?;
            let users = users.into_iter().flatten().map(User).collect();
            Some(RoomEvent::Snapshot(RoomSnapshot { conversation, users }))
        }
        Event::Entered(user) => {
            let user = loaders.user(user).await?.map(User);
            user.map(|user| RoomEvent::Entered(RoomEntered { conversation, user }))
        }
        Event::Left(user) => {
            let user = loaders.user(user).await?.map(User);
            user.map(|user| RoomEvent::Left(RoomLeft { conversation, user }))
        }
    })
}
