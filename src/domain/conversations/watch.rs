//! What changes live in a conversation, for whoever takes part in it.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::conversations::GONE;
use crate::domain::error::Result;
use crate::domain::viewer::Viewer;
use crate::ids::ConversationId;
use crate::live::{Subject, Topic, Watch};

pub(super) struct ConversationWatch {
    watch: Watch,
    departure: BoxFuture<'static, ()>,
}

impl ConversationWatch {
    /// Fails where the viewer takes no part.
    pub(super) async fn open(
        core: &Arc<ConversationsCore>,
        viewer: Viewer,
        conversation: ConversationId,
        topic: fn(ConversationId) -> Topic,
    ) -> Result<Self> {
        Conversations { core }.get(viewer, conversation).await?;
        let log = core.base.log.clone();
        let departure = async move { log.departure(viewer.user, conversation).await }.boxed();
        Ok(Self { watch: core.live.watch(vec![topic(conversation)]), departure })
    }

    /// All that has changed since, at least one thing. It fails once the viewer takes no part any more, and is not to be
    /// asked again.
    pub(super) async fn changed(&mut self) -> Result<Vec<Subject>> {
        tokio::select! {
            biased;
            () = &mut self.departure => Err(GONE),
            changed = self.watch.changed() => Ok(changed),
        }
    }
}
