//! Reactions: an emoji of a user's on a message, each once.

use std::sync::Arc;

use super::change;
use super::core::MessagingCore;
use crate::domain::error::{Error, Result};
use crate::domain::viewer::Viewer;
use crate::ids::MessageId;
use crate::limiter::Rate;
use crate::log::Transaction;
use crate::store::messaging::messages::Message;
use crate::store::messaging::reactions::{self, Reaction};

/// Different emojis on one message: more than that nobody reads.
pub const MAX_KINDS: u16 = 20;

pub struct Reactions<'a> {
    pub(in crate::domain) core: &'a Arc<MessagingCore>,
}

impl Reactions<'_> {
    /// Adding what is there changes nothing.
    pub async fn add(&self, viewer: Viewer, message: MessageId, emoji: &str) -> Result<Message> {
        let emoji = known(emoji)?;
        self.core.base.take(Rate::Reactions, viewer, 1)?;
        let mut tx = self.core.base.log.begin().await?;
        let done = add_in(&mut tx, viewer, message, emoji).await;
        tx.finish(done).await
    }

    /// Removing what is not there changes nothing.
    pub async fn remove(&self, viewer: Viewer, message: MessageId, emoji: &str) -> Result<Message> {
        let emoji = known(emoji)?;
        self.core.base.take(Rate::Reactions, viewer, 1)?;
        let mut tx = self.core.base.log.begin().await?;
        let done = remove_in(&mut tx, viewer, message, emoji).await;
        tx.finish(done).await
    }
}

async fn add_in(tx: &mut Transaction<'_>, viewer: Viewer, message: MessageId, emoji: &str) -> Result<Message> {
    let mut held = change::hold(tx, viewer.user, message).await?;
    held.refuse_deleted()?;
    let kinds = reactions::groups(tx.conn(), &[message]).await?;
    if kinds.len() >= MAX_KINDS.into() && kinds.iter().all(|kind| kind.emoji != emoji) {
        return Err(Error::invalid("emoji", format!("A message has at most {MAX_KINDS} different reactions.")));
    }
    let (user_id, revision) = (viewer.user, held.next_revision());
    if reactions::insert(tx.conn(), &Reaction { message_id: message, user_id, emoji, revision }).await? {
        held.write(tx).await?;
    }
    Ok(held.message)
}

async fn remove_in(tx: &mut Transaction<'_>, viewer: Viewer, message: MessageId, emoji: &str) -> Result<Message> {
    let mut held = change::hold(tx, viewer.user, message).await?;
    if reactions::delete(tx.conn(), message, viewer.user, emoji).await? {
        held.write(tx).await?;
    }
    Ok(held.message)
}

/// The one emoji that the text is, by Unicode's own list, with the variation selectors that it is written with there.
fn known(text: &str) -> Result<&'static str> {
    let emoji = emojis::get(text).ok_or_else(|| Error::invalid("emoji", "A reaction is one emoji."))?;
    Ok(emoji.as_str())
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn what_unicode_calls_one_emoji_is_one() {
        for emoji in ["👍", "👍🏽", "👨‍👩‍👧‍👦", "👩🏽‍❤️‍💋‍👨🏿", "🇩🇪", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "#️⃣", "❤️", "🏳️‍🌈"]
        {
            assert_eq!(known(emoji).unwrap(), emoji);
        }
        // Written short, it is the same.
        assert_eq!(known("❤").unwrap(), "❤️");
        for text in ["", "a", ":)", ":+1:", "👍👍", " 👍", "👍 ", "1", "🇩", "\u{fe0f}", "\u{200d}", "👍\0"]
        {
            assert!(known(text).is_err(), "{text:?}");
        }
    }
}
