//! A message that is not stored yet.

use crate::ids::{AttachmentId, ConversationId, MessageId};

#[derive(Debug)]
pub struct NewMessage {
    pub conversation: ConversationId,
    /// Id that the client chooses to make a retry safe: the sender's second message with the same clientId is not
    /// stored.
    pub client_id: Option<String>,
    /// Text of the message. Empty if the message has only attachments.
    pub body: String,
    /// Attachments that the sender has uploaded. If `forwarded` is set, attachments of a message visible to the sender.
    pub attachments: Vec<AttachmentId>,
    /// The message to which this message replies. Both messages are in the same conversation.
    pub reply_to: Option<MessageId>,
    /// Seconds until the message expires and becomes a tombstone. None if the message does not expire.
    pub expires_in: Option<i32>,
    pub forwarded: bool,
}

impl NewMessage {
    /// Makes a message with only a body and attachments: not a reply, not forwarded, and without expiry and clientId.
    pub fn with_content(conversation: ConversationId, body: String, attachments: Vec<AttachmentId>) -> Self {
        Self { conversation, client_id: None, body, attachments, reply_to: None, expires_in: None, forwarded: false }
    }
}
