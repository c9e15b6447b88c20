//! A change of a message that is there: what all of them have in common.

use chrono::{DateTime, Utc};

use crate::domain::error::{Error, NO_MESSAGE, Result};
use crate::ids::{MessageId, UserId};
use crate::log::{Change, Transaction};
use crate::store::conversations::conversations::{self, Conversation};
use crate::store::conversations::participants::{self, Participant};
use crate::store::messaging::messages::{self, Message};
use crate::store::messaging::{tombstones, unread};
use crate::store::people::blocks;

/// A message that the transaction has to itself: its conversation is locked.
pub(super) struct Held {
    pub(super) message: Message,
    pub(super) conversation: Conversation,
    /// The viewer, who takes part.
    pub(super) participant: Participant,
}

/// Fails where the user may not see the message.
pub(super) async fn hold(tx: &mut Transaction<'_>, user: UserId, id: MessageId) -> Result<Held> {
    let place = messages::places(tx.conn(), &[id]).await?.pop();
    let (_, conversation, _) = place.ok_or(NO_MESSAGE)?;
    let conversation = conversations::lock(tx.conn(), conversation).await?.ok_or(NO_MESSAGE)?;
    // Now that it is locked, they stay as they are.
    let message = messages::visible_to(tx.conn(), user, &[id]).await?.pop().ok_or(NO_MESSAGE)?;
    let participant = participants::of_users(tx.conn(), conversation.id, &[user]).await?.pop().ok_or(NO_MESSAGE)?;
    Ok(Held { message, conversation, participant })
}

impl Held {
    /// Fails where nothing is left that could be changed.
    pub(super) fn refuse_deleted(&self) -> Result<()> {
        match self.message.deleted_at {
            Some(_) => Err(Error::invalid("messageId", "This message is deleted.")),
            None => Ok(()),
        }
    }

    /// The revision that the message has after the change.
    pub(super) fn next_revision(&self) -> i32 {
        self.conversation.revision + 1
    }

    /// Writes the message as it is now, under the next revision.
    pub(super) async fn write(&mut self, tx: &mut Transaction<'_>) -> Result<()> {
        revise(tx, &mut self.conversation, &mut self.message);
        messages::update(tx.conn(), &self.message).await?;
        Ok(())
    }

    /// The other in a direct conversation, who blocks the viewer and is to hear nothing new of theirs.
    pub(super) async fn blocked_by(&self, tx: &mut Transaction<'_>) -> Result<Option<UserId>> {
        let viewer = self.participant.user_id;
        let Some(other) = self.conversation.other_than(viewer) else { return Ok(None) };
        Ok(blocks::between(tx.conn(), viewer, other).await?.theirs.then_some(other))
    }

    /// Takes the message from who blocks its sender, before that has new words in it.
    pub(super) async fn withhold(&self, tx: &mut Transaction<'_>) -> Result<()> {
        if let Some(blocker) = self.blocked_by(tx).await?
            && messages::hide(tx.conn(), blocker, self.message.id).await?
        {
            unread::uncount_for(tx.conn(), blocker, self.message.id).await?;
            tx.record(Change::MessageRemoved { user: blocker, message: self.message.id });
        }
        Ok(())
    }

    /// Makes it a tombstone.
    pub(super) async fn bury(&mut self, tx: &mut Transaction<'_>, at: DateTime<Utc>) -> Result<()> {
        bury(tx, &mut self.conversation, &mut self.message, at);
        tombstones::bury(tx.conn(), std::slice::from_ref(&self.message)).await?;
        Ok(())
    }
}

/// Gives the message the next revision of its conversation, which is locked, and records the change.
fn revise(tx: &mut Transaction<'_>, conversation: &mut Conversation, message: &mut Message) {
    conversation.revision += 1;
    message.revision = conversation.revision;
    tx.record(Change::MessageUpdated { conversation: conversation.id, message: message.id });
}

/// The message as a tombstone, which is to be stored.
pub(super) fn bury(
    tx: &mut Transaction<'_>,
    conversation: &mut Conversation,
    message: &mut Message,
    at: DateTime<Utc>,
) {
    (message.body, message.pinned_at, message.deleted_at) = (None, None, Some(at));
    revise(tx, conversation, message);
}
