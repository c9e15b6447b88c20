//! Rooms: the users who have a conversation open.

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

/// The users who have the conversation open when the subscription starts.
#[derive(SimpleObject)]
pub struct RoomSnapshot {
    /// The conversation.
    conversation: Conversation,
    /// The users, including the viewer. Each user is listed once, even with several devices.
    users: Vec<User>,
}

/// A user opened the conversation.
#[derive(SimpleObject)]
pub struct RoomEntered {
    /// The conversation.
    conversation: Conversation,
    /// The user who opened the conversation.
    user: User,
}

/// A user closed the conversation on the last device that had it open, or disconnected.
#[derive(SimpleObject)]
pub struct RoomLeft {
    /// The conversation.
    conversation: Conversation,
    /// The user who closed the conversation or disconnected.
    user: User,
}

/// An event of the `room` subscription.
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
    /// The users who have a conversation open: first a RoomSnapshot, then each change. The viewer has the conversation
    /// open while the subscription lasts. Users whom the viewer blocks or who block the viewer are omitted. Errors:
    /// NOT_FOUND if the viewer is not a participant, or later leaves or is removed.
    async fn room(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the conversation that the viewer opens.")] conversation_id: ID,
    ) -> Result<impl Stream<Item = Result<RoomEvent>> + use<>> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&conversation_id, "conversationId")?;
        let events = ctx.app().rooms().enter(viewer, conversation).await?;
        let loaders = ctx.loaders().clone();
        Ok(try_stream! {
            let mut events = Box::pin(events);
            while let Some(event) = events.next().await {
                if let Some(event) = load_event(&loaders, conversation, event?).await? {
                    yield event;
                }
            }
        })
    }
}

/// Loads the users of an event and makes the event for clients. None if the user who opened or closed the conversation
/// no longer exists.
async fn load_event(loaders: &Loaders, id: ConversationId, event: Event) -> Result<Option<RoomEvent>> {
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
