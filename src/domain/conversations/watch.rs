//! A participant's subscription to changes of the live state of a conversation, such as typing.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::conversations::Conversations;
use super::conversations::NO_LONGER_PARTICIPANT;
use super::core::ConversationsCore;
use crate::domain::error::Result;
use crate::domain::viewer::Viewer;
use crate::ids::ConversationId;
use crate::live::{Subject, Topic, Watch};

pub(super) struct ConversationWatch {
    watch: Watch,
    membership_end: BoxFuture<'static, ()>,
}

impl ConversationWatch {
    /// Subscribes to the topic. Returns NOT_FOUND if the viewer is not a participant.
    pub(super) async fn open(
        core: &Arc<ConversationsCore>,
        viewer: Viewer,
        conversation: ConversationId,
        topic: fn(ConversationId) -> Topic,
    ) -> Result<Self> {
        Conversations { core }.get(viewer, conversation).await?;
        let log = core.base.log.clone();
        let membership_end = async move { log.membership_end(viewer.user, conversation).await }.boxed();
        Ok(Self { watch: core.live.watch(vec![topic(conversation)]), membership_end })
    }

    /// Waits for at least one change and returns all changes since the last call. Returns NOT_FOUND when the viewer is
    /// no longer a participant. After an error, this function must not be called again.
    pub(super) async fn changed(&mut self) -> Result<Vec<Subject>> {
        tokio::select! {
            biased;
            () = &mut self.membership_end => Err(NO_LONGER_PARTICIPANT),
            changed = self.watch.changed() => Ok(changed),
        }
    }
}
