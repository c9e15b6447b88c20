//! Receipts: how far each participant has received and read, as watermarks that never move back.

use super::batch::{Mark, Receipt};
use super::error::Result;
use super::{App, Viewer};
use crate::ids::MessageId;
use crate::store::conversations::Conversation;

pub struct Receipts<'a> {
    pub(super) app: &'a App,
}

impl Receipts<'_> {
    /// Everything up to this message is delivered to the viewer.
    pub async fn mark_delivered(&self, viewer: Viewer, message: MessageId) -> Result<Conversation> {
        self.advance(viewer, message, Mark::Delivered).await
    }

    /// Everything up to this message is read by the viewer, and so delivered too.
    pub async fn mark_read(&self, viewer: Viewer, message: MessageId) -> Result<Conversation> {
        self.advance(viewer, message, Mark::Read).await
    }

    async fn advance(&self, viewer: Viewer, message: MessageId, mark: Mark) -> Result<Conversation> {
        self.app.parts.writers.advance(Receipt { user: viewer.user, message, mark }).await
    }
}
