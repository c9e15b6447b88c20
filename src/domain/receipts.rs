//! Receipts: how far each participant has received and read, as watermarks that never move back.

use super::conversations::UNKNOWN;
use super::error::{Error, Result};
use super::{App, Viewer};
use crate::ids::MessageId;
use crate::log::{Change, Transaction};
use crate::store::conversations::{self, Conversation};
use crate::store::messages::Message;
use crate::store::participants;

pub struct Receipts<'a> {
    pub(super) app: &'a App,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Delivered,
    Read,
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
        let message = self.app.messages().find(viewer, message).await?.ok_or(Error::NotFound("No such message."))?;
        let mut tx = self.app.log().begin().await?;
        let done = self.store(&mut tx, viewer, &message, mark).await;
        tx.finish(done).await
    }

    async fn store(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        message: &Message,
        mark: Mark,
    ) -> Result<Conversation> {
        let (id, user) = (message.conversation_id, viewer.user);
        let conversation = conversations::lock(tx.conn(), id).await?.ok_or(UNKNOWN)?;
        // Who could see the message a moment ago may have gone since.
        if participants::among(tx.conn(), &[id], &[user]).await?.is_empty() {
            return Err(UNKNOWN);
        }
        let advanced = match mark {
            Mark::Delivered => participants::advance_delivered(tx.conn(), id, user, message.number).await?,
            Mark::Read => participants::advance_read(tx.conn(), id, user, message.number).await?,
        };
        if advanced {
            tx.record(Change::ReceiptAdvanced { conversation: id, user });
        }
        Ok(conversation)
    }
}
