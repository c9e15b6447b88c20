//! Loaders of messages, and of their mentions, visibility and receipts.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;

use super::error::{Error, Result};
use super::loaders::{Rows, grouped};
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::messaging::messages::{Message, Range, Seen, Visibility};
use crate::store::messaging::receipts::Progress;
use crate::store::people::users::User;

/// Key of the conversation of a message that is hidden from the user; not in the result if the message is not hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HiddenMessageKey(pub UserId, pub MessageId);

/// Key of the message with this number in the conversation; not in the result if the user may not see the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NumberKey(pub UserId, pub ConversationId, pub i32);

/// Key of a message; not in the result if the user may not see the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VisibleKey(pub UserId, pub MessageId);

/// Key of the visibility of a message to a user; not in the result if the user is not a participant of the message's
/// conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VisibilityKey(pub UserId, pub MessageId);

/// Key of the users whom a message mentions; not in the result if the message mentions no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MentionsKey(pub MessageId);

/// Key of the lowest delivery and read positions of a conversation's participants; not in the result if the
/// conversation has no participants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgressKey(pub ConversationId);

/// Key of the participants of a conversation who have disabled read receipts; not in the result if all participants
/// have enabled them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReceiptsOffKey(pub ConversationId);

/// Key of a page of a conversation's messages that are visible to the user; in the result even if the page is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessagePage {
    pub user: UserId,
    pub conversation: ConversationId,
    pub range: Range,
}

impl Loader<HiddenMessageKey> for Rows {
    type Value = ConversationId;
    type Error = Error;

    async fn load(&self, keys: &[HiddenMessageKey]) -> Result<HashMap<HiddenMessageKey, ConversationId>> {
        let pairs: Vec<_> = keys.iter().map(|&HiddenMessageKey(user, id)| (user, id)).collect();
        let rows = self.app.messages().hidden(&pairs).await?;
        Ok(rows.into_iter().map(|(user, id, conversation)| (HiddenMessageKey(user, id), conversation)).collect())
    }
}

impl Loader<NumberKey> for Rows {
    type Value = Message;
    type Error = Error;

    async fn load(&self, keys: &[NumberKey]) -> Result<HashMap<NumberKey, Message>> {
        let wanted: Vec<_> = keys.iter().map(|&NumberKey(user, id, number)| (user, id, number)).collect();
        let rows = self.app.messages().by_numbers(&wanted).await?;
        let key = |row: &Seen| NumberKey(row.viewer_id, row.message.conversation_id, row.message.number);
        Ok(rows.into_iter().map(|row| (key(&row), row.message)).collect())
    }
}

impl Loader<VisibleKey> for Rows {
    type Value = Message;
    type Error = Error;

    async fn load(&self, keys: &[VisibleKey]) -> Result<HashMap<VisibleKey, Message>> {
        let pairs: Vec<_> = keys.iter().map(|&VisibleKey(user, id)| (user, id)).collect();
        let rows = self.app.messages().visible(&pairs).await?;
        Ok(rows.into_iter().map(|row| (VisibleKey(row.viewer_id, row.message.id), row.message)).collect())
    }
}

impl Loader<VisibilityKey> for Rows {
    type Value = Visibility;
    type Error = Error;

    async fn load(&self, keys: &[VisibilityKey]) -> Result<HashMap<VisibilityKey, Visibility>> {
        let pairs: Vec<_> = keys.iter().map(|&VisibilityKey(user, id)| (user, id)).collect();
        let rows = self.app.messages().visibilities(&pairs).await?;
        Ok(rows.into_iter().map(|row| (VisibilityKey(row.user_id, row.message_id), row)).collect())
    }
}

impl Loader<MentionsKey> for Rows {
    type Value = Vec<User>;
    type Error = Error;

    async fn load(&self, keys: &[MentionsKey]) -> Result<HashMap<MentionsKey, Vec<User>>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let rows = self.app.messages().mentioned_users(&ids).await?;
        Ok(grouped(rows.into_iter().map(|(id, user)| (MentionsKey(id), user))))
    }
}

impl Loader<ProgressKey> for Rows {
    type Value = Progress;
    type Error = Error;

    async fn load(&self, keys: &[ProgressKey]) -> Result<HashMap<ProgressKey, Progress>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let rows = self.app.receipts().progress(&ids).await?;
        Ok(rows.into_iter().map(|(id, progress)| (ProgressKey(id), progress)).collect())
    }
}

impl Loader<ReceiptsOffKey> for Rows {
    type Value = Vec<UserId>;
    type Error = Error;

    async fn load(&self, keys: &[ReceiptsOffKey]) -> Result<HashMap<ReceiptsOffKey, Vec<UserId>>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let rows = self.app.receipts().receipts_off(&ids).await?;
        Ok(grouped(rows.into_iter().map(|(id, user)| (ReceiptsOffKey(id), user))))
    }
}

impl Loader<MessagePage> for Rows {
    type Value = Vec<Message>;
    type Error = Error;

    async fn load(&self, keys: &[MessagePage]) -> Result<HashMap<MessagePage, Vec<Message>>> {
        let mut loaded: HashMap<_, Vec<_>> = keys.iter().map(|&key| (key, Vec::new())).collect();
        for (range, wanted) in grouped(keys.iter().map(|key| (key.range, (key.user, key.conversation)))) {
            for row in self.app.messages().pages(&wanted, range).await? {
                let key = MessagePage { user: row.viewer_id, conversation: row.message.conversation_id, range };
                loaded.entry(key).or_default().push(row.message);
            }
        }
        Ok(loaded)
    }
}
