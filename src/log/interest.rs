//! The events that a stream asks for, and the events that its user may receive.

use std::collections::HashSet;

use super::event::{Audience, Category, Change};
use crate::ids::{ConversationId, SessionId, UserId};

/// The selection of events that a stream asks for. The stream gets a selected event only if its user may receive the
/// event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// All events that concern the user.
    Inbox,
    /// New messages of one conversation, or of all conversations if None.
    Messages(Option<ConversationId>),
    /// Changes of the messages of one conversation.
    Updates(ConversationId),
    /// The calls of the user, and the signals for one device.
    Calls(SessionId),
    /// No events. The stream ends with `Item::Closed` when the user is no longer a participant of the conversation.
    Membership(ConversationId),
}

impl Interest {
    pub(super) fn wants(self, change: &Change) -> bool {
        match (self, change.category()) {
            (Self::Calls(wanted), Category::Device) => change.subject() == wanted.0,
            (_, Category::Device | Category::Nodes) => false,
            (Self::Inbox, _) | (Self::Messages(None), Category::NewMessages) | (Self::Calls(_), Category::Calls) => {
                true
            }
            (Self::Messages(Some(wanted)), Category::NewMessages)
            | (Self::Updates(wanted), Category::MessageUpdates) => change.conversation() == Some(wanted),
            (Self::Messages(_) | Self::Updates(_) | Self::Calls(_) | Self::Membership(_), _) => false,
        }
    }

    /// Whether the stream stays open if `conversations` are the user's conversations.
    pub(super) fn is_open(self, conversations: &HashSet<ConversationId>) -> bool {
        match self {
            Self::Messages(Some(wanted)) | Self::Updates(wanted) | Self::Membership(wanted) => {
                conversations.contains(&wanted)
            }
            Self::Inbox | Self::Messages(None) | Self::Calls(_) => true,
        }
    }
}

/// Whether the change is another user's `ReadAdvanced`, which a user with read receipts off does not get.
pub(super) fn is_read_receipt_of_another(user: UserId, change: &Change) -> bool {
    matches!(*change, Change::ReadAdvanced { user: reader, .. } if reader != user)
}

/// Updates `conversations` if the change adds the user to a conversation or removes the user from a conversation.
pub(super) fn apply_membership(user: UserId, conversations: &mut HashSet<ConversationId>, change: &Change) {
    match *change {
        Change::ConversationAdded { user: joined, conversation } if joined == user => {
            conversations.insert(conversation);
        }
        Change::ConversationRemoved { user: gone, conversation } if gone == user => {
            conversations.remove(&conversation);
        }
        _ => {}
    }
}

/// Whether the user may receive the change if `conversations` are the user's conversations.
pub(super) fn is_recipient(user: UserId, conversations: &HashSet<ConversationId>, change: &Change) -> bool {
    match change.audience() {
        Audience::User(id) => id == user,
        Audience::Conversation(id) => conversations.contains(&id),
    }
}
