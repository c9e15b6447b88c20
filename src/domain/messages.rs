//! Messages: sending and finding them.

use diesel::result::{DatabaseErrorKind, Error as Diesel};

use super::conversations::UNKNOWN;
use super::error::{Error, Result, Violation};
use super::validate::Check;
use super::{App, Viewer};
use crate::ids::{ConversationId, MessageId};
use crate::log::{Change, Transaction};
use crate::store::messages::{self, Message, MessageKind};
use crate::store::{conversations, participants};

pub struct Messages<'a> {
    pub(super) app: &'a App,
}

#[derive(Debug)]
pub struct NewMessage {
    pub conversation: ConversationId,
    /// Makes a retry safe: the same from the same sender is the same message.
    pub client_id: Option<String>,
    pub body: String,
}

impl Messages<'_> {
    /// Stores the message before it returns it. A clientId that the sender has used in this conversation
    /// returns the message it made then.
    pub async fn send(&self, viewer: Viewer, message: NewMessage) -> Result<Message> {
        let mut check = Check::default();
        check.body(&message.body, self.app.limits().max_message_length);
        if let Some(client_id) = &message.client_id {
            check.client_id(client_id);
        }
        check.done()?;
        let mut tx = self.app.log().begin().await?;
        let done = self.store(&mut tx, viewer, message).await;
        tx.finish(done).await
    }

    /// None where the viewer takes no part in its conversation.
    pub async fn find(&self, viewer: Viewer, id: MessageId) -> Result<Option<Message>> {
        Ok(self.find_many(viewer, &[id]).await?.pop())
    }

    /// Those in conversations that the viewer takes part in.
    pub async fn find_many(&self, viewer: Viewer, ids: &[MessageId]) -> Result<Vec<Message>> {
        Ok(messages::visible_to(&mut *self.app.connection().await?, viewer.user, ids).await?)
    }

    /// For those whom the log has told of it.
    pub async fn get(&self, id: MessageId) -> Result<Option<Message>> {
        Ok(messages::by_ids(&mut *self.app.connection().await?, &[id]).await?.pop())
    }

    async fn store(&self, tx: &mut Transaction<'_>, viewer: Viewer, new: NewMessage) -> Result<Message> {
        // From here on the conversation's numbers are this transaction's to give.
        let conversation = conversations::lock(tx.conn(), new.conversation).await?.ok_or(UNKNOWN)?;
        participants::find(tx.conn(), conversation.id, viewer.user).await?.ok_or(UNKNOWN)?;
        if let Some(client_id) = &new.client_id
            && let Some(first) = messages::by_client_id(tx.conn(), viewer.user, client_id).await?
        {
            return if first.conversation_id == conversation.id { Ok(first) } else { Err(reused()) };
        }
        let now = self.app.now();
        let message = Message {
            id: MessageId::new(now, &self.app.parts.random),
            conversation_id: conversation.id,
            number: conversation.last_message_number + 1,
            revision: conversation.revision + 1,
            sender_id: Some(viewer.user),
            kind: MessageKind::Text,
            body: Some(new.body),
            client_id: new.client_id,
            created_at: now,
        };
        messages::insert(tx.conn(), &message).await.map_err(in_another_conversation)?;
        let newest = (message.id, message.number, message.revision);
        conversations::advance(tx.conn(), conversation.id, newest, now).await?;
        participants::count_own(tx.conn(), conversation.id, viewer.user).await?;
        tx.record(Change::MessageAdded { conversation: conversation.id, message: message.id });
        Ok(message)
    }
}

fn reused() -> Error {
    Error::Conflict(Violation::new("clientId", "This clientId belongs to a message in another conversation."))
}

/// The lock rules out that the same clientId comes twice at once in one conversation, but not in two.
fn in_another_conversation(error: Diesel) -> Error {
    match &error {
        Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, details)
            if details.constraint_name() == Some("messages_by_client_id") =>
        {
            reused()
        }
        _ => error.into(),
    }
}
