//! What changes live in a conversation, for whoever takes part in it.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::conversations::GONE;
use super::error::Result;
use super::{App, Viewer};
use crate::ids::ConversationId;
use crate::live::{Subject, Topic, Watch};

pub(super) struct ConversationWatch {
    watch: Watch,
    departure: BoxFuture<'static, ()>,
}

impl ConversationWatch {
    /// Fails where the viewer takes no part.
    pub(super) async fn open(
        app: &App,
        viewer: Viewer,
        conversation: ConversationId,
        topic: fn(ConversationId) -> Topic,
    ) -> Result<Self> {
        app.conversations().get(viewer, conversation).await?;
        let log = app.log().clone();
        let departure = async move { log.departure(viewer.user, conversation).await }.boxed();
        Ok(Self { watch: app.live().watch(vec![topic(conversation)]), departure })
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
