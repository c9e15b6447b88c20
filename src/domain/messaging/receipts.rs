//! Receipts: the number of the last message that each participant has received and read. Such a watermark never moves
//! back.

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
    /// Marks all messages up to this one as delivered to the viewer.
    pub async fn mark_delivered(&self, viewer: Viewer, message: MessageId) -> Result<Conversation> {
        self.advance(viewer, message, Mark::Delivered).await
    }

    /// Marks all messages up to this one as delivered to the viewer and read by them.
    pub async fn mark_read(&self, viewer: Viewer, message: MessageId) -> Result<Conversation> {
        self.advance(viewer, message, Mark::Read).await
    }

    /// The delivery and read positions of each conversation that has participants.
    pub async fn progress(&self, conversations: &[ConversationId]) -> Result<HashMap<ConversationId, Progress>> {
        Ok(receipts::progress(&mut *self.core.base.connection().await?, conversations).await?)
    }

    /// The participants of the conversations who have read receipts off.
    pub async fn receipts_off(&self, conversations: &[ConversationId]) -> Result<Vec<(ConversationId, UserId)>> {
        Ok(receipts::receipts_off(&mut *self.core.base.connection().await?, conversations).await?)
    }

    async fn advance(&self, viewer: Viewer, message: MessageId, mark: Mark) -> Result<Conversation> {
        self.core.writers.advance(Receipt { user: viewer.user, message, mark }).await
    }
}

/// Delivery of a message to all participants other than its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// The message is stored. Some participants have not received it, or there are no others.
    Sent,
    /// All other participants have received the message.
    Delivered,
    /// All other participants have read the message.
    Read,
}

/// The delivery status of a message, which is the same for every viewer. No message is READ in a conversation in which
/// a participant hides what they have read: READ would reveal what they have read to the others, and what the others
/// have read to them.
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

/// Number of the last message that the participant has read, as the viewer may see it: 0 if either of them hides what
/// they have read. `receipts_off` has all users of the participant's conversation who do.
pub fn shown_read_number(viewer: Viewer, participant: &Participant, receipts_off: &[UserId]) -> i32 {
    let own = viewer.user == participant.user_id;
    let hidden = receipts_off.iter().any(|user| *user == viewer.user || *user == participant.user_id);
    if own || !hidden { participant.last_read_number } else { 0 }
}
