//! Receipts: how far each participant has received and read, as watermarks that never move back.

use std::sync::Arc;

use super::batch::{Mark, Receipt};
use super::core::MessagingCore;
use crate::domain::error::Result;
use crate::domain::viewer::Viewer;
use crate::ids::{MessageId, UserId};
use crate::store::conversations::conversations::Conversation;
use crate::store::conversations::participants::Participant;
use crate::store::messaging::messages::Message;
use crate::store::messaging::receipts::Progress;

pub struct Receipts<'a> {
    pub(in crate::domain) core: &'a Arc<MessagingCore>,
}

impl Receipts<'_> {
    /// Everything up to this message is delivered to the viewer.
    pub async fn mark_delivered(&self, viewer: Viewer, message: MessageId) -> Result<Conversation> {
        self.advance(viewer, message, Mark::Delivered).await
    }

    /// Everything up to this message is read by the viewer, and so delivered too.
    pub async fn mark_read(&self, viewer: Viewer, message: MessageId) -> Result<Conversation> {
        self.advance(viewer, message, Mark::Read).await
    }

    async fn advance(&self, viewer: Viewer, message: MessageId, mark: Mark) -> Result<Conversation> {
        self.core.writers.advance(Receipt { user: viewer.user, message, mark }).await
    }
}

/// Over all other participants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Stored, and not with all of them yet; or there is nobody else.
    Sent,
    Delivered,
    Read,
}

/// The same for whoever looks. In a conversation where anybody hides what they have read nothing is READ: that says
/// nothing of those who hide theirs, and shows them nothing of the others'.
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

/// How far the participant has read, as the viewer may know it: 0 where either of them hides what they have read.
/// `hiding` are all who do, of the participant's conversation.
pub fn shown_read_number(viewer: Viewer, participant: &Participant, hiding: &[UserId]) -> i32 {
    let own = viewer.user == participant.user_id;
    let hidden = hiding.iter().any(|user| *user == viewer.user || *user == participant.user_id);
    if own || !hidden { participant.last_read_number } else { 0 }
}
