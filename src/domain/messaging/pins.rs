//! Pins: messages that are pinned in a conversation.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::change;
use super::core::MessagingCore;
use super::system::{self, SystemEvent};
use crate::domain::error::{Error, Result};
use crate::domain::permissions::{self, Action};
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::limiter::Rate;
use crate::log::Transaction;
use crate::store::messaging::messages::{Message, Seen, SystemEventKind};
use crate::store::messaging::pins;

/// Maximum number of pinned messages in a conversation.
const MAX_PINS: i64 = 50;

pub struct Pins<'a> {
    pub(in crate::domain) core: &'a Arc<MessagingCore>,
}

impl Pins<'_> {
    /// Pins a message. Pinning a pinned message changes nothing.
    pub async fn pin(&self, viewer: Viewer, message: MessageId) -> Result<Message> {
        self.core.base.take(Rate::Reactions, viewer, 1)?;
        let mut tx = self.core.base.log.begin().await?;
        let done = self.pin_in(&mut tx, viewer, message).await;
        tx.finish(done).await
    }

    async fn pin_in(&self, tx: &mut Transaction<'_>, viewer: Viewer, message: MessageId) -> Result<Message> {
        let mut held = change::hold(tx, viewer.user, message).await?;
        permissions::check(held.conversation.kind, held.participant.role, Action::Pin)?;
        held.refuse_deleted()?;
        if held.message.pinned_at.is_some() {
            return Ok(held.message);
        }
        if pins::count(tx.conn(), held.conversation.id).await? >= MAX_PINS {
            let full = format!("A conversation has at most {MAX_PINS} pinned messages. Unpin one first.");
            return Err(Error::invalid("messageId", full));
        }
        held.message.pinned_at = Some(self.core.base.now());
        held.write(tx).await?;
        let kind = SystemEventKind::MessagePinned;
        let event = SystemEvent { kind, actor: viewer.user, subject: None, text: None };
        match held.blocked_by(tx).await? {
            None => system::tell(&self.core.base, tx, &mut held.conversation, event).await?,
            Some(blocker) => system::tell_withheld(&self.core.base, tx, &mut held.conversation, event, blocker).await?,
        };
        Ok(held.message)
    }

    /// Unpins a message. Unpinning a message that is not pinned changes nothing.
    pub async fn unpin(&self, viewer: Viewer, message: MessageId) -> Result<Message> {
        self.core.base.take(Rate::Reactions, viewer, 1)?;
        let mut tx = self.core.base.log.begin().await?;
        let done = unpin_in(&mut tx, viewer, message).await;
        tx.finish(done).await
    }

    /// The first `limit` pinned messages after a position, newest pin first, for pairs of a user and a conversation.
    /// Leaves out messages that the user may not see.
    pub async fn pages(
        &self,
        wanted: &[(UserId, ConversationId)],
        after: Option<(DateTime<Utc>, MessageId)>,
        limit: i64,
    ) -> Result<Vec<Seen>> {
        Ok(pins::pages(&*self.core.base.connection().await?, wanted, after, limit).await?)
    }
}

async fn unpin_in(tx: &mut Transaction<'_>, viewer: Viewer, message: MessageId) -> Result<Message> {
    let mut held = change::hold(tx, viewer.user, message).await?;
    permissions::check(held.conversation.kind, held.participant.role, Action::Pin)?;
    if held.message.pinned_at.take().is_some() {
        held.write(tx).await?;
    }
    Ok(held.message)
}
