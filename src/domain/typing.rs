//! Who is typing.

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

pub struct Typings<'a> {
    pub(super) app: &'a App,
}

/// Somebody has begun to type, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Typing {
    pub conversation: ConversationId,
    pub user: UserId,
    pub typing: bool,
}

impl Typings<'_> {
    /// It lapses after TYPING_TIMEOUT, unless said again; who says it again is no event.
    pub async fn set(&self, viewer: Viewer, conversation: ConversationId, typing: bool) -> Result<()> {
        // Whose streams come here needs no look at Postgres.
        if !self.app.log().is_listener(viewer.user, conversation) {
            self.app.conversations().get(viewer, conversation).await?;
        }
        self.app.live().set_typing(conversation, viewer.user, typing);
        Ok(())
    }

    /// The others in the conversation: first those who are typing now, then each change. It fails once the viewer takes
    /// no part any more.
    pub async fn watch(
        &self,
        viewer: Viewer,
        conversation: ConversationId,
    ) -> Result<impl Stream<Item = Result<Typing>> + Send + use<>> {
        self.app.conversations().get(viewer, conversation).await?;
        let app = self.app.clone();
        let mut watch = app.live().watch(vec![Topic::Typing(conversation)]);
        Ok(stream! {
            let mut over = Box::pin(app.log().departure(viewer.user, conversation));
            let mut shown = HashSet::new();
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
                    let Subject::Typing(_, user) = subject else { continue };
                    let typing = app.typing().is_shown(viewer.user, conversation, user).await;
                    if if typing { shown.insert(user) } else { shown.remove(&user) } {
                        yield Ok(Typing { conversation, user, typing });
                    }
                }
            }
        })
    }

    /// Whether the user is typing, and the viewer may know. Where Postgres is away it waits.
    pub(super) async fn is_shown(&self, viewer: UserId, conversation: ConversationId, user: UserId) -> bool {
        if user == viewer || !self.app.live().is_typing(conversation, user) {
            return false;
        }
        loop {
            match self.app.privacy().kept_apart(viewer, &[user]).await {
                Ok(apart) => return !apart.contains(&user),
                Err(error) => warn!(?error, "who may see whom cannot be looked up; trying again"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
