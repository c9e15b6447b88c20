//! Reactions: emojis that users add to messages, each emoji once per user and message.

use std::sync::Arc;

use super::core::MessagingCore;
use super::locked_message;
use crate::domain::error::{Error, Result};
use crate::domain::viewer::Viewer;
use crate::ids::{MessageId, UserId};
use crate::limiter::Rate;
use crate::store::messaging::messages::Message;
use crate::store::messaging::reactions::{self, Group, Own, Reaction, Reactor};

/// Maximum number of different emojis on one message. A longer list would be hard to read.
pub const MAX_KINDS: u16 = 20;

pub struct Reactions<'a> {
    pub(in crate::domain) core: &'a Arc<MessagingCore>,
}

impl Reactions<'_> {
    /// Adds a reaction. Changes nothing if the viewer has already added the reaction.
    pub async fn add(&self, viewer: Viewer, message: MessageId, emoji: &str) -> Result<Message> {
        let emoji = known(emoji)?;
        self.core.base.check_rate(Rate::Reactions, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let mut locked = locked_message::lock(tx, viewer.user, message).await?;
            locked.refuse_deleted()?;
            let kinds = reactions::groups(tx.conn(), &[message]).await?;
            if kinds.len() >= MAX_KINDS.into() && kinds.iter().all(|kind| kind.emoji != emoji) {
                return Err(Error::invalid("emoji", format!("A message has at most {MAX_KINDS} different reactions.")));
            }
            let (user_id, revision) = (viewer.user, locked.next_revision());
            if reactions::insert(tx.conn(), &Reaction { message_id: message, user_id, emoji, revision }).await? {
                locked.write(tx).await?;
            }
            Ok(locked.message)
        })
        .await
    }

    /// Removes a reaction. Changes nothing if the reaction does not exist.
    pub async fn remove(&self, viewer: Viewer, message: MessageId, emoji: &str) -> Result<Message> {
        let emoji = known(emoji)?;
        self.core.base.check_rate(Rate::Reactions, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let mut locked = locked_message::lock(tx, viewer.user, message).await?;
            if reactions::delete(tx.conn(), message, viewer.user, emoji).await? {
                locked.write(tx).await?;
            }
            Ok(locked.message)
        })
        .await
    }

    /// Reads the emojis on each message, with the number of users for each, in the order of their first use.
    pub async fn groups(&self, messages: &[MessageId]) -> Result<Vec<Group>> {
        Ok(reactions::groups(&mut *self.core.base.connection().await?, messages).await?)
    }

    /// Reads the emojis that the user of each pair (user, message) has added to the message.
    pub async fn of_users(&self, pairs: &[(UserId, MessageId)]) -> Result<Vec<Own>> {
        Ok(reactions::of_users(&*self.core.base.connection().await?, pairs).await?)
    }

    /// Reads for each pair (message, emoji) the first `limit` users who reacted with the emoji after the revision
    /// `after`.
    pub async fn pages(&self, groups: &[(MessageId, &str)], after: i32, limit: i64) -> Result<Vec<Reactor>> {
        Ok(reactions::pages(&mut *self.core.base.connection().await?, groups, after, limit).await?)
    }
}

/// Returns the emoji as Unicode's list of emojis writes it, with variation selectors. Returns BAD_USER_INPUT if the
/// text is not exactly one emoji.
fn known(text: &str) -> Result<&'static str> {
    let emoji = emojis::get(text).ok_or_else(|| Error::invalid("emoji", "A reaction must be exactly one emoji."))?;
    Ok(emoji.as_str())
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn a_reaction_is_exactly_one_emoji_of_unicode() {
        for emoji in ["👍", "👍🏽", "👨‍👩‍👧‍👦", "👩🏽‍❤️‍💋‍👨🏿", "🇩🇪", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "#️⃣", "❤️", "🏳️‍🌈"]
        {
            assert_eq!(known(emoji).unwrap(), emoji);
        }
        // An emoji without its variation selector counts as the same emoji.
        assert_eq!(known("❤").unwrap(), "❤️");
        for text in ["", "a", ":)", ":+1:", "👍👍", " 👍", "👍 ", "1", "🇩", "\u{fe0f}", "\u{200d}", "👍\0"]
        {
            assert!(known(text).is_err(), "{text:?}");
        }
    }
}
