//! Pins: messages that are pinned in a conversation.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::core::MessagingCore;
use super::locked_message;
use super::system::{self, SystemEvent};
use crate::domain::error::{Error, Result};
use crate::domain::permissions::{self, Action};
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::limiter::Rate;
use crate::store::messaging::messages::{Message, Seen, SystemEventKind};
use crate::store::messaging::pins;

/// Maximum number of pinned messages in a conversation.
const MAX_PINS: i64 = 50;

pub struct Pins<'a> {
    pub(in crate::domain) core: &'a Arc<MessagingCore>,
}

impl Pins<'_> {
    /// Pins a message. Changes nothing if the message is already pinned.
    pub async fn pin(&self, viewer: Viewer, message: MessageId) -> Result<Message> {
        self.core.base.check_rate(Rate::Reactions, viewer, 1)?;
        let base = &self.core.base;
        let log = &base.log;
        log.transaction(async |tx| {
            let mut locked = locked_message::lock(tx, viewer.user, message).await?;
            permissions::check(locked.conversation.kind, locked.participant.role, Action::Pin)?;
            locked.refuse_deleted()?;
            if locked.message.pinned_at.is_some() {
                return Ok(locked.message);
            }
            if pins::count(tx.conn(), locked.conversation.id).await? >= MAX_PINS {
                let full = format!("A conversation has at most {MAX_PINS} pinned messages. Unpin one first.");
                return Err(Error::invalid("messageId", full));
            }
            locked.message.pinned_at = Some(base.now());
            locked.write(tx).await?;
            let kind = SystemEventKind::MessagePinned;
            let event = SystemEvent { kind, actor: viewer.user, subject: None, text: None };
            match locked.blocked_by(tx).await? {
                None => system::add(base, tx, &mut locked.conversation, event).await?,
                Some(blocker) => system::add_hidden(base, tx, &mut locked.conversation, event, blocker).await?,
            };
            Ok(locked.message)
        })
        .await
    }

    /// Unpins a message. Changes nothing if the message is not pinned.
    pub async fn unpin(&self, viewer: Viewer, message: MessageId) -> Result<Message> {
        self.core.base.check_rate(Rate::Reactions, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let mut locked = locked_message::lock(tx, viewer.user, message).await?;
            permissions::check(locked.conversation.kind, locked.participant.role, Action::Pin)?;
            if locked.message.pinned_at.take().is_some() {
                locked.write(tx).await?;
            }
            Ok(locked.message)
        })
        .await
    }

    /// Reads the first `limit` pinned messages after the position `after`, newest pin first, for each pair (user,
    /// conversation). Leaves out messages that the user may not see.
    pub async fn pages(
        &self,
        wanted: &[(UserId, ConversationId)],
        after: Option<(DateTime<Utc>, MessageId)>,
        limit: i64,
    ) -> Result<Vec<Seen>> {
        Ok(pins::pages(&*self.core.base.connection().await?, wanted, after, limit).await?)
    }
}
