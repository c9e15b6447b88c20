//! The steps that are common to all changes of an existing message.

use chrono::{DateTime, Utc};

use crate::domain::error::{Error, NO_MESSAGE, Result};
use crate::ids::{MessageId, UserId};
use crate::log::{Change, Transaction};
use crate::store::conversations::conversations::{self, Conversation};
use crate::store::conversations::participants::{self, Participant};
use crate::store::messaging::messages::{self, Message};
use crate::store::messaging::{hidden_messages, tombstones, unread};
use crate::store::people::blocks;

/// A message that only the current transaction can change, because the transaction has locked the conversation.
pub(super) struct LockedMessage {
    pub(super) message: Message,
    pub(super) conversation: Conversation,
    /// The viewer as a participant of the conversation.
    pub(super) participant: Participant,
}

/// Locks the conversation of the message, and reads the message. Returns NOT_FOUND if the message is not visible to the
/// user.
pub(super) async fn lock(tx: &mut Transaction<'_>, user: UserId, id: MessageId) -> Result<LockedMessage> {
    let row = messages::numbers(tx.conn(), &[id]).await?.pop();
    let (_, conversation, _) = row.ok_or(NO_MESSAGE)?;
    let conversation = conversations::lock(tx.conn(), conversation).await?.ok_or(NO_MESSAGE)?;
    // The message and the participant are read after the lock is taken, so that no other transaction can change them.
    let message = messages::visible_to(tx.conn(), user, &[id]).await?.pop().ok_or(NO_MESSAGE)?;
    let participant = participants::of_users(tx.conn(), conversation.id, &[user]).await?.pop().ok_or(NO_MESSAGE)?;
    Ok(LockedMessage { message, conversation, participant })
}

impl LockedMessage {
    /// Returns BAD_USER_INPUT if the message is deleted.
    pub(super) fn refuse_deleted(&self) -> Result<()> {
        match self.message.deleted_at {
            Some(_) => Err(Error::invalid("messageId", "This message is deleted.")),
            None => Ok(()),
        }
    }

    /// Returns the revision that the message has after the change.
    pub(super) fn next_revision(&self) -> i32 {
        self.conversation.revision + 1
    }

    /// Stores the message with the next revision of its conversation.
    pub(super) async fn write(&mut self, tx: &mut Transaction<'_>) -> Result<()> {
        revise(tx, &mut self.conversation, &mut self.message);
        messages::update(tx.conn(), &self.message).await?;
        Ok(())
    }

    /// Returns the other user of a direct conversation if that user blocks the viewer, otherwise None. That user must
    /// not see the viewer's changes.
    pub(super) async fn blocked_by(&self, tx: &mut Transaction<'_>) -> Result<Option<UserId>> {
        let viewer = self.participant.user_id;
        let Some(other) = self.conversation.other_than(viewer) else { return Ok(None) };
        Ok(blocks::between(tx.conn(), viewer, other).await?.reverse.then_some(other))
    }

    /// Hides the message from the other user of a direct conversation if that user blocks the viewer. An edit does this
    /// before it stores the new body.
    pub(super) async fn hide_from_blocker(&self, tx: &mut Transaction<'_>) -> Result<()> {
        if let Some(blocker) = self.blocked_by(tx).await?
            && hidden_messages::hide(tx.conn(), blocker, self.message.id).await?
        {
            unread::uncount_for(tx.conn(), blocker, self.message.id).await?;
            tx.record(Change::MessageRemoved { user: blocker, message: self.message.id });
        }
        Ok(())
    }

    /// Turns the message into a tombstone, and stores the tombstone.
    pub(super) async fn tombstone(&mut self, tx: &mut Transaction<'_>, at: DateTime<Utc>) -> Result<()> {
        tombstone(tx, &mut self.conversation, &mut self.message, at);
        tombstones::write(tx.conn(), std::slice::from_ref(&self.message)).await?;
        Ok(())
    }
}

/// Assigns the conversation's next revision to the message, and records the change. The conversation must be locked.
fn revise(tx: &mut Transaction<'_>, conversation: &mut Conversation, message: &mut Message) {
    conversation.revision += 1;
    message.revision = conversation.revision;
    tx.record(Change::MessageUpdated { conversation: conversation.id, message: message.id });
}

/// Turns the message into a tombstone in memory, and records the change. The caller must store the tombstone.
pub(super) fn tombstone(
    tx: &mut Transaction<'_>,
    conversation: &mut Conversation,
    message: &mut Message,
    at: DateTime<Utc>,
) {
    (message.body, message.pinned_at, message.deleted_at) = (None, None, Some(at));
    revise(tx, conversation, message);
}
