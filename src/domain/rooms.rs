//! Who has a conversation open.

use std::collections::HashSet;

use async_stream::stream;
use futures_util::Stream;
use tracing::warn;

use super::conversations::GONE;
use super::error::Result;
use super::{App, Viewer};
use crate::error::RETRY;
use crate::ids::{ConversationId, UserId};
use crate::live::{Subject, Topic};

pub struct Rooms<'a> {
    pub(super) app: &'a App,
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
        self.app.conversations().get(viewer, conversation).await?;
        let app = self.app.clone();
        let mut watch = app.live().watch(vec![Topic::Room(conversation)]);
        let entered = app.live().enter(conversation, viewer.user);
        Ok(stream! {
            let _entered = entered;
            let mut over = Box::pin(app.log().departure(viewer.user, conversation));
            let mut users = app.live().room(conversation);
            let apart = kept_apart(&app, viewer, &users).await;
            users.retain(|user| !apart.contains(user));
            let mut shown: HashSet<UserId> = users.iter().copied().collect();
            yield Ok(RoomEvent::Snapshot(users));
            loop {
                let changed = tokio::select! {
                    biased;
                    () = &mut over => None,
                    changed = watch.changed() => Some(changed),
                };
                let Some(changed) = changed else {
                    yield Err(GONE);
                    return;
                };
                for subject in changed {
                    let Subject::Room(_, user) = subject else { continue };
                    if app.live().is_in_room(conversation, user) {
                        if kept_apart(&app, viewer, &[user]).await.is_empty() && shown.insert(user) {
                            yield Ok(RoomEvent::Entered(user));
                        }
                    } else if shown.remove(&user) {
                        yield Ok(RoomEvent::Left(user));
                    }
                }
            }
        })
    }
}

/// Those of the users who block the viewer, or whom the viewer blocks. Where Postgres is away it waits.
async fn kept_apart(app: &App, viewer: Viewer, users: &[UserId]) -> HashSet<UserId> {
    loop {
        match app.privacy().kept_apart(viewer.user, users).await {
            Ok(apart) => return apart,
            Err(error) => warn!(?error, "who may see whom cannot be looked up; trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
