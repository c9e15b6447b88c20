//! Creates, cancels and finds scheduled messages. The module `scheduler` sends the messages when they are due.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

use super::core::MessagingCore;
use super::messages::check_content;
use crate::domain::error::{Error, NO_CONVERSATION, Result};
use crate::domain::files::attachments::{LockedAttachments, uses};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::ids::{AttachmentId, ConversationId, ScheduledMessageId};
use crate::limiter::Rate;
use crate::log::{Change, Transaction};
use crate::store::conversations::participants;
use crate::store::files::{attachment_uses, attachments};
use crate::store::messaging::scheduled_messages::{self, ScheduledMessage};
use crate::store::people::users;

/// Maximum time from now to the `send_at` of a scheduled message.
const MAX_AHEAD: TimeDelta = TimeDelta::days(365);
/// Maximum number of scheduled messages of one user.
const MAX_PENDING: i64 = 100;

pub struct ScheduledMessages<'a> {
    pub(in crate::domain) core: &'a Arc<MessagingCore>,
}

#[derive(Debug)]
pub struct NewScheduledMessage {
    pub conversation: ConversationId,
    /// Text of the message. Empty if the message has only attachments.
    pub body: String,
    pub attachments: Vec<AttachmentId>,
    pub send_at: DateTime<Utc>,
}

impl ScheduledMessages<'_> {
    pub async fn schedule(&self, viewer: Viewer, mut new: NewScheduledMessage) -> Result<ScheduledMessage> {
        let now = self.core.base.now();
        let mut check = Check::default();
        check_content(&mut check, &mut new.body, &mut new.attachments, self.core.base.limits.max_message_length);
        if new.send_at <= now || new.send_at > now + MAX_AHEAD {
            let days = MAX_AHEAD.num_days();
            check.fail("sendAt", format!("The time must be in the future, and at most {days} days ahead."));
        }
        check.done()?;
        let row = ScheduledMessage {
            id: ScheduledMessageId::new(now, &self.core.base.random),
            sender_id: viewer.user,
            conversation_id: new.conversation,
            body: Some(new.body).filter(|body| !body.is_empty()),
            // Truncated, because Postgres stores times in microseconds.
            send_at: new.send_at.trunc_subsecs(6),
            created_at: now,
        };
        self.core.base.check_rate(Rate::Messages, viewer, 1)?;
        self.core.base.log.transaction(async |tx| insert(tx, &row, &new.attachments).await).await?;
        self.core.scheduler.wake();
        Ok(row)
    }

    /// Cancels a scheduled message. Returns NOT_FOUND if the message has already been sent.
    pub async fn cancel(&self, viewer: Viewer, id: ScheduledMessageId) -> Result<()> {
        self.core.base.check_rate(Rate::Messages, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let conversation = scheduled_messages::cancel(tx.conn(), viewer.user, id).await?;
            let conversation =
                conversation.ok_or(Error::NotFound("No such scheduled message. It may have been sent."))?;
            tx.record(Change::MembershipUpdated { user: viewer.user, conversation });
            Ok(())
        })
        .await
    }

    /// Returns the viewer's scheduled messages after the position `after`, in the order in which they are due.
    pub async fn list(
        &self,
        viewer: Viewer,
        after: Option<(DateTime<Utc>, ScheduledMessageId)>,
        limit: i64,
    ) -> Result<Vec<ScheduledMessage>> {
        Ok(scheduled_messages::list(&mut *self.core.base.connection().await?, viewer.user, after, limit).await?)
    }

    /// Finds scheduled messages by id. Leaves out messages of other users.
    pub async fn find_many(&self, viewer: Viewer, ids: &[ScheduledMessageId]) -> Result<Vec<ScheduledMessage>> {
        Ok(scheduled_messages::by_ids(&mut *self.core.base.connection().await?, viewer.user, ids).await?)
    }
}

async fn insert(tx: &mut Transaction<'_>, row: &ScheduledMessage, with: &[AttachmentId]) -> Result<()> {
    // The lock serialises the requests of the sender, so that concurrent requests cannot exceed `MAX_PENDING`.
    users::lock(tx.conn(), row.sender_id).await?;
    if participants::of_users(tx.conn(), row.conversation_id, &[row.sender_id]).await?.is_empty() {
        return Err(NO_CONVERSATION);
    }
    if scheduled_messages::count(tx.conn(), row.sender_id).await? >= MAX_PENDING {
        let message = format!("You can have at most {MAX_PENDING} scheduled messages. Cancel one first.");
        return Err(Error::invalid("conversationId", message));
    }
    if !with.is_empty() {
        let locked: LockedAttachments = attachments::lock(tx.conn(), with).await?.into_iter().collect();
        locked.kind(row.sender_id, with, false)?;
    }
    scheduled_messages::insert(tx.conn(), row).await?;
    if !with.is_empty() {
        attachment_uses::insert_scheduled(tx.conn(), &uses(row.id, with).collect::<Vec<_>>()).await?;
    }
    tx.record(Change::MembershipUpdated { user: row.sender_id, conversation: row.conversation_id });
    Ok(())
}
