//! Who has a conversation open.

use std::collections::HashSet;
use std::sync::Arc;

use async_stream::try_stream;
use futures_util::Stream;

use super::core::ConversationsCore;
use super::watch::ConversationWatch;
use crate::domain::error::Result;
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, UserId};
use crate::limiter::Rate;
use crate::live::{Subject, Topic};

pub struct Rooms<'a> {
    pub(in crate::domain) core: &'a Arc<ConversationsCore>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomEvent {
    /// Everybody who is there, the viewer too, in the order of their ids.
    Snapshot(Vec<UserId>),
    Entered(UserId),
    Left(UserId),
}

impl Rooms<'_> {
    /// The viewer is in the room until the stream is dropped: who is there, and then who comes and goes. Somebody with
    /// two devices is there once. It fails once the viewer takes no part in the conversation any more.
    pub async fn enter(
        &self,
        viewer: Viewer,
        conversation: ConversationId,
    ) -> Result<impl Stream<Item = Result<RoomEvent>> + Send + use<>> {
        self.core.base.take(Rate::Announcements, viewer, 1)?;
        let mut watch = ConversationWatch::open(self.core, viewer, conversation, Topic::Room).await?;
        let core = self.core.clone();
        let entered = core.live.enter(conversation, viewer.user);
        Ok(try_stream! {
            let _entered = entered;
            let mut users = core.live.room(conversation);
            let apart = Privacy { core: &core.people }.patiently_kept_apart(viewer.user, &users).await;
            users.retain(|user| !apart.contains(user));
            let mut shown: HashSet<UserId> = users.iter().copied().collect();
            yield RoomEvent::Snapshot(users);
            loop {
                for subject in watch.changed().await? {
                    let Subject::Room(_, user) = subject else { continue };
                    if core.live.is_in_room(conversation, user) {
                        let apart = Privacy { core: &core.people }.patiently_kept_apart(viewer.user, &[user]).await;
                        if apart.is_empty() && shown.insert(user) {
                            yield RoomEvent::Entered(user);
                        }
                    } else if shown.remove(&user) {
                        yield RoomEvent::Left(user);
                    }
                }
            }
        })
    }
}
