//! Typing: which users are typing in a conversation.

use std::collections::HashSet;
use std::sync::Arc;

use async_stream::try_stream;
use futures_util::Stream;

use super::conversations::Conversations;
use super::core::ConversationsCore;
use super::watch::ConversationWatch;
use crate::domain::error::Result;
use crate::domain::people::privacy::Privacy;
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, UserId};
use crate::limiter::Rate;
use crate::live::{Subject, Topic};

pub struct Typings<'a> {
    pub(in crate::domain) core: &'a Arc<ConversationsCore>,
}

/// A user has started or stopped typing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Typing {
    pub conversation: ConversationId,
    pub user: UserId,
    pub typing: bool,
}

impl Typings<'_> {
    /// Sets whether the viewer is typing. Typing expires after TYPING_TIMEOUT unless the client sets it again. Setting
    /// it again causes no event. Returns NOT_FOUND if the viewer is not a participant.
    pub async fn set(&self, viewer: Viewer, conversation: ConversationId, typing: bool) -> Result<()> {
        self.core.base.check_rate(Rate::Announcements, viewer, 1)?;
        // A listener is a participant with a stream on this node. For other users, the membership is read from
        // Postgres.
        if !self.core.base.log.is_listener(viewer.user, conversation) {
            Conversations { core: self.core }.get(viewer, conversation).await?;
        }
        self.core.live.set_typing(conversation, viewer.user, typing);
        Ok(())
    }

    /// Streams the typing of the other participants: first the users who are typing now, then each change. The stream
    /// fails with NOT_FOUND when the viewer is no longer a participant.
    pub async fn watch(
        &self,
        viewer: Viewer,
        conversation: ConversationId,
    ) -> Result<impl Stream<Item = Result<Typing>> + Send + use<>> {
        let mut watch = ConversationWatch::open(self.core, viewer, conversation, Topic::Typing).await?;
        let core = self.core.clone();
        Ok(try_stream! {
            let mut shown = HashSet::new();
            loop {
                for subject in watch.changed().await? {
                    let Subject::Typing(_, user) = subject else { continue };
                    let typing = Typings { core: &core }.is_visible(viewer.user, conversation, user).await;
                    if if typing { shown.insert(user) } else { shown.remove(&user) } {
                        yield Typing { conversation, user, typing };
                    }
                }
            }
        })
    }

    /// Whether the user is typing and the viewer may see this. Waits while Postgres is unavailable.
    pub(in crate::domain) async fn is_visible(
        &self,
        viewer: UserId,
        conversation: ConversationId,
        user: UserId,
    ) -> bool {
        user != viewer
            && self.core.live.is_typing(conversation, user)
            && Privacy { core: &self.core.people }.blocked_either_way_with_retry(viewer, &[user]).await.is_empty()
    }
}
