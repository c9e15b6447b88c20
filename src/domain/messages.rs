//! Messages: sending and finding them.

use super::batch::Outgoing;
use super::error::Result;
use super::validate::Check;
use super::{App, Viewer};
use crate::ids::{ConversationId, MessageId};
use crate::store::messages::{self, Message};

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
        self.app.parts.writers.send(Outgoing { sender: viewer.user, message }).await
    }

    /// None where the viewer takes no part in its conversation.
    pub async fn find(&self, viewer: Viewer, id: MessageId) -> Result<Option<Message>> {
        Ok(self.find_many(viewer, &[id]).await?.pop())
    }

    /// Those in conversations that the viewer takes part in.
    pub async fn find_many(&self, viewer: Viewer, ids: &[MessageId]) -> Result<Vec<Message>> {
        Ok(messages::visible_to(&mut *self.app.connection().await?, viewer.user, ids).await?)
    }
}
