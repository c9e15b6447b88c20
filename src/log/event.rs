//! What the log holds.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{CallId, CallParticipantId, ConversationId, MessageId, SessionId, UserId};

/// The place of an event in its lane: 1, 2, 3 … in commit order, without holes.
pub type Seq = i64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    pub seq: Seq,
    pub change: Change,
}

/// A durable change, by the ids of what it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    MessageAdded {
        conversation: ConversationId,
        message: MessageId,
    },
    /// The message was edited, deleted for everybody, reacted to, pinned or the like.
    MessageUpdated {
        conversation: ConversationId,
        message: MessageId,
    },
    /// The user's message in a direct conversation with somebody who blocks the user: it is for the user alone.
    MessageWithheld {
        user: UserId,
        conversation: ConversationId,
        message: MessageId,
    },
    /// The user has deleted the message for themselves alone.
    MessageRemoved {
        user: UserId,
        message: MessageId,
    },
    /// The user takes part in the conversation from here on.
    ConversationAdded {
        user: UserId,
        conversation: ConversationId,
    },
    /// The user takes no part in the conversation any more.
    ConversationRemoved {
        user: UserId,
        conversation: ConversationId,
    },
    /// Something about it changed that all who take part can see.
    ConversationUpdated {
        conversation: ConversationId,
    },
    /// The user's delivered position advanced, and perhaps the read position too.
    ReceiptAdvanced {
        conversation: ConversationId,
        user: UserId,
    },
    /// The user's read position advanced, and the delivered position did not. Other users with read receipts off do not
    /// get this event.
    ReadAdvanced {
        conversation: ConversationId,
        user: UserId,
    },
    /// The user has turned read receipts off.
    ReadReceiptsOff {
        user: UserId,
    },
    /// The user has turned read receipts on.
    ReadReceiptsOn {
        user: UserId,
    },
    /// The user has archived, pinned or muted the conversation, or the like.
    MembershipUpdated {
        user: UserId,
        conversation: ConversationId,
    },
    /// Something between the two users changed that the first can see: a request, a contact, a block.
    ContactsChanged {
        user: UserId,
        other: UserId,
    },
    /// The call rings for the user.
    CallRinging {
        user: UserId,
        call: CallId,
    },
    /// Somebody is in the call from here on.
    CallAnswered {
        conversation: ConversationId,
        participant: CallParticipantId,
    },
    /// Somebody is in the call no more; or has declined it, or takes no part in the conversation any more, which is for
    /// their own devices.
    CallLeft {
        to: Audience,
        participant: CallParticipantId,
    },
    /// One that the other in a direct conversation knows nothing of ends for the caller alone. To one user it also tells
    /// that it rings for them no more.
    CallEnded {
        to: Audience,
        call: CallId,
    },
    /// A signal waits for the device. What is in it is not here.
    CallSignalled {
        user: UserId,
        session: SessionId,
    },
    SessionRevoked {
        user: UserId,
        session: SessionId,
    },
    /// The user's profile changed: nodes that keep it in mind read it anew.
    UserUpdated {
        user: UserId,
    },
    /// Of a kind that a newer version writes, as while nodes are replaced one by one: nobody here can be told.
    Unknown(Audience),
}

/// The kind of `Change::MessageWithheld`, which names no conversation: that of its message is read along.
pub(super) const WITHHELD: &str = "message_withheld";

/// Who may receive an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Audience {
    /// All who take part at that point of the log.
    Conversation(ConversationId),
    User(UserId),
}

impl Change {
    pub fn audience(&self) -> Audience {
        match *self {
            Self::MessageAdded { conversation, .. }
            | Self::MessageUpdated { conversation, .. }
            | Self::ConversationUpdated { conversation }
            | Self::ReceiptAdvanced { conversation, .. }
            | Self::ReadAdvanced { conversation, .. }
            | Self::CallAnswered { conversation, .. } => Audience::Conversation(conversation),
            Self::MessageWithheld { user, .. }
            | Self::MessageRemoved { user, .. }
            | Self::ConversationAdded { user, .. }
            | Self::ConversationRemoved { user, .. }
            | Self::MembershipUpdated { user, .. }
            | Self::ContactsChanged { user, .. }
            | Self::CallRinging { user, .. }
            | Self::CallSignalled { user, .. }
            | Self::SessionRevoked { user, .. }
            | Self::ReadReceiptsOff { user }
            | Self::ReadReceiptsOn { user }
            | Self::UserUpdated { user } => Audience::User(user),
            Self::CallLeft { to, .. } | Self::CallEnded { to, .. } | Self::Unknown(to) => to,
        }
    }

    /// The message that it shows.
    pub fn message(&self) -> Option<MessageId> {
        match *self {
            Self::MessageAdded { message, .. }
            | Self::MessageWithheld { message, .. }
            | Self::MessageUpdated { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Whether it is for the user alone and tells of a call, so that it is not known where they take part still.
    pub fn is_personal_of_call(&self) -> bool {
        matches!(
            self,
            Self::CallRinging { .. }
                | Self::CallLeft { to: Audience::User(_), .. }
                | Self::CallEnded { to: Audience::User(_), .. }
        )
    }

    /// The name under which the table keeps it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::MessageAdded { .. } => "message_added",
            Self::MessageUpdated { .. } => "message_updated",
            Self::MessageWithheld { .. } => WITHHELD,
            Self::MessageRemoved { .. } => "message_removed",
            Self::ConversationAdded { .. } => "conversation_added",
            Self::ConversationRemoved { .. } => "conversation_removed",
            Self::ConversationUpdated { .. } => "conversation_updated",
            Self::ReceiptAdvanced { .. } => "receipt_advanced",
            Self::ReadAdvanced { .. } => "read_advanced",
            Self::ReadReceiptsOff { .. } => "read_receipts_off",
            Self::ReadReceiptsOn { .. } => "read_receipts_on",
            Self::MembershipUpdated { .. } => "membership_updated",
            Self::ContactsChanged { .. } => "contacts_changed",
            Self::CallRinging { .. } => "call_ringing",
            Self::CallAnswered { .. } => "call_answered",
            Self::CallLeft { .. } => "call_left",
            Self::CallEnded { .. } => "call_ended",
            Self::CallSignalled { .. } => "call_signalled",
            Self::SessionRevoked { .. } => "session_revoked",
            Self::UserUpdated { .. } => "user_updated",
            Self::Unknown(_) => "unknown",
        }
    }

    pub(super) fn subject(&self) -> Uuid {
        match *self {
            Self::MessageAdded { message, .. }
            | Self::MessageUpdated { message, .. }
            | Self::MessageWithheld { message, .. }
            | Self::MessageRemoved { message, .. } => message.0,
            Self::ConversationAdded { conversation, .. }
            | Self::ConversationRemoved { conversation, .. }
            | Self::ConversationUpdated { conversation }
            | Self::MembershipUpdated { conversation, .. } => conversation.0,
            Self::ContactsChanged { other, .. } => other.0,
            Self::ReceiptAdvanced { user, .. }
            | Self::ReadAdvanced { user, .. }
            | Self::ReadReceiptsOff { user }
            | Self::ReadReceiptsOn { user }
            | Self::UserUpdated { user } => user.0,
            Self::CallRinging { call, .. } | Self::CallEnded { call, .. } => call.0,
            Self::CallAnswered { participant, .. } | Self::CallLeft { participant, .. } => participant.0,
            Self::CallSignalled { session, .. } | Self::SessionRevoked { session, .. } => session.0,
            Self::Unknown(_) => Uuid::nil(),
        }
    }

    pub(super) fn from_row(kind: &str, audience: Audience, subject: Uuid) -> Self {
        match (kind, audience) {
            ("message_added", Audience::Conversation(conversation)) => {
                Self::MessageAdded { conversation, message: MessageId(subject) }
            }
            ("message_updated", Audience::Conversation(conversation)) => {
                Self::MessageUpdated { conversation, message: MessageId(subject) }
            }
            ("message_removed", Audience::User(user)) => Self::MessageRemoved { user, message: MessageId(subject) },
            ("membership_updated", Audience::User(user)) => {
                Self::MembershipUpdated { user, conversation: ConversationId(subject) }
            }
            ("contacts_changed", Audience::User(user)) => Self::ContactsChanged { user, other: UserId(subject) },
            ("receipt_advanced", Audience::Conversation(conversation)) => {
                Self::ReceiptAdvanced { conversation, user: UserId(subject) }
            }
            ("read_advanced", Audience::Conversation(conversation)) => {
                Self::ReadAdvanced { conversation, user: UserId(subject) }
            }
            ("read_receipts_off", Audience::User(user)) => Self::ReadReceiptsOff { user },
            ("read_receipts_on", Audience::User(user)) => Self::ReadReceiptsOn { user },
            ("conversation_added", Audience::User(user)) => {
                Self::ConversationAdded { user, conversation: ConversationId(subject) }
            }
            ("conversation_removed", Audience::User(user)) => {
                Self::ConversationRemoved { user, conversation: ConversationId(subject) }
            }
            ("conversation_updated", Audience::Conversation(conversation)) => {
                Self::ConversationUpdated { conversation }
            }
            ("call_ringing", Audience::User(user)) => Self::CallRinging { user, call: CallId(subject) },
            ("call_answered", Audience::Conversation(conversation)) => {
                Self::CallAnswered { conversation, participant: CallParticipantId(subject) }
            }
            ("call_left", to) => Self::CallLeft { to, participant: CallParticipantId(subject) },
            ("call_ended", to) => Self::CallEnded { to, call: CallId(subject) },
            ("call_signalled", Audience::User(user)) => Self::CallSignalled { user, session: SessionId(subject) },
            ("session_revoked", Audience::User(user)) => Self::SessionRevoked { user, session: SessionId(subject) },
            ("user_updated", Audience::User(user)) => Self::UserUpdated { user },
            _ => Self::Unknown(audience),
        }
    }
}
