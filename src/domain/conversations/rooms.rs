//! Rooms: the users who have a conversation open.

use std::collections::HashSet;
use std::sync::Arc;

use async_stream::try_stream;
use futures_util::Stream;

use super::core::ConversationsCore;
use super::watch::ConversationWatch;
use crate::domain::error::Result;
use crate::domain::people::privacy::Privacy;
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, UserId};
use crate::limiter::Rate;
use crate::live::{Subject, Topic};

pub struct Rooms<'a> {
    pub(in crate::domain) core: &'a Arc<ConversationsCore>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomEvent {
    /// The users in the room, including the viewer, in the order of their ids.
    Snapshot(Vec<UserId>),
    Entered(UserId),
    Left(UserId),
}

impl Rooms<'_> {
    /// Puts the viewer into the room until the stream is dropped. The stream begins with a snapshot, followed by an
    /// event for each user who enters or leaves. A user with two devices is in the room once. The stream leaves out
    /// users who block the viewer or whom the viewer blocks. The stream fails with NOT_FOUND when the viewer is no
    /// longer a participant.
    pub async fn enter(
        &self,
        viewer: Viewer,
        conversation: ConversationId,
    ) -> Result<impl Stream<Item = Result<RoomEvent>> + Send + use<>> {
        self.core.base.check_rate(Rate::Announcements, viewer, 1)?;
        let mut watch = ConversationWatch::open(self.core, viewer, conversation, Topic::Room).await?;
        let core = self.core.clone();
        let entered = core.live.enter(conversation, viewer.user);
        Ok(try_stream! {
            let _entered = entered;
            let mut users = core.live.room(conversation);
            let blocked = Privacy { core: &core.people }.blocked_either_way_with_retry(viewer.user, &users).await;
            users.retain(|user| !blocked.contains(user));
            let mut shown: HashSet<UserId> = users.iter().copied().collect();
            yield RoomEvent::Snapshot(users);
            loop {
                for subject in watch.changed().await? {
                    let Subject::Room(_, user) = subject else { continue };
                    if core.live.is_in_room(conversation, user) {
                        let blocked = Privacy { core: &core.people }.blocked_either_way_with_retry(viewer.user, &[user]).await;
                        if blocked.is_empty() && shown.insert(user) {
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
