//! The content of a message that is not stored yet.

use crate::ids::{AttachmentId, ConversationId, MessageId};

#[derive(Debug)]
pub struct NewMessage {
    pub conversation: ConversationId,
    /// Makes a retry safe: a sender's second message with the same clientId is not stored again.
    pub client_id: Option<String>,
    /// Empty if the message has only attachments.
    pub body: String,
    /// The sender's own attachments. With `forwarded`, the attachments of a message visible to the sender.
    pub attachments: Vec<AttachmentId>,
    /// The message of the same conversation that this one replies to.
    pub reply_to: Option<MessageId>,
    /// Seconds until the message expires and becomes a tombstone.
    pub expires_in: Option<i32>,
    pub forwarded: bool,
}

impl NewMessage {
    /// A message with only a content: it replies to nothing, does not expire and has no clientId.
    pub fn with_content(conversation: ConversationId, body: String, attachments: Vec<AttachmentId>) -> Self {
        Self { conversation, client_id: None, body, attachments, reply_to: None, expires_in: None, forwarded: false }
    }
}
