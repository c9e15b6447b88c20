//! Receipts: for each participant, the number of the last received message and the number of the last read message.
//! These watermarks never move back.

use std::collections::HashMap;
use std::sync::Arc;

use super::batch::{Mark, Receipt};
use super::core::MessagingCore;
use crate::domain::error::Result;
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::conversations::conversations::Conversation;
use crate::store::conversations::participants::Participant;
use crate::store::messaging::messages::Message;
use crate::store::messaging::receipts::{self, Progress};

pub struct Receipts<'a> {
    pub(in crate::domain) core: &'a Arc<MessagingCore>,
}

impl Receipts<'_> {
    /// Marks all messages up to `message` as delivered to the viewer.
    pub async fn mark_delivered(&self, viewer: Viewer, message: MessageId) -> Result<Conversation> {
        self.advance(viewer, message, Mark::Delivered).await
    }

    /// Marks all messages up to `message` as delivered to the viewer and as read by the viewer.
    pub async fn mark_read(&self, viewer: Viewer, message: MessageId) -> Result<Conversation> {
        self.advance(viewer, message, Mark::Read).await
    }

    /// Reads the lowest watermarks of each conversation that has participants.
    pub async fn progress(&self, conversations: &[ConversationId]) -> Result<HashMap<ConversationId, Progress>> {
        Ok(receipts::progress(&mut *self.core.base.connection().await?, conversations).await?)
    }

    /// Reads the participants of the conversations who have disabled read receipts.
    pub async fn receipts_off(&self, conversations: &[ConversationId]) -> Result<Vec<(ConversationId, UserId)>> {
        Ok(receipts::receipts_off(&mut *self.core.base.connection().await?, conversations).await?)
    }

    async fn advance(&self, viewer: Viewer, message: MessageId, mark: Mark) -> Result<Conversation> {
        self.core.writers.advance(Receipt { user: viewer.user, message, mark }).await
    }
}

/// How far the delivery of a message has progressed for all participants other than its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// The message is stored. Some other participants have not received it, or the conversation has no other
    /// participants.
    Sent,
    /// All other participants have received the message.
    Delivered,
    /// All other participants have read the message.
    Read,
}

/// Returns the delivery status of a message, which is the same for every viewer. No message is READ in a conversation
/// in which a participant has disabled read receipts: READ would reveal to the other participants what this participant
/// has read, and to this participant what the other participants have read.
pub fn status(message: &Message, progress: &Progress) -> DeliveryStatus {
    let all_have = |lowest: &[(UserId, i32)]| {
        let others = lowest.iter().find(|(user, _)| Some(*user) != message.sender_id);
        others.is_some_and(|&(_, number)| message.number <= number)
    };
    if all_have(&progress.read) && !progress.hidden {
        DeliveryStatus::Read
    } else if all_have(&progress.delivered) {
        DeliveryStatus::Delivered
    } else {
        DeliveryStatus::Sent
    }
}

/// Returns the number of the last message that the participant has read, as the viewer may see it: 0 if the viewer or
/// the participant has disabled read receipts. Viewers always see their own number. `receipts_off` contains all users
/// of the participant's conversation who have disabled read receipts.
pub fn shown_read_number(viewer: Viewer, participant: &Participant, receipts_off: &[UserId]) -> i32 {
    let own = viewer.user == participant.user_id;
    let hidden = receipts_off.iter().any(|user| *user == viewer.user || *user == participant.user_id);
    if own || !hidden { participant.last_read_number } else { 0 }
}
