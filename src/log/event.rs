//! The events of the log, and the changes that they record.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{CallId, CallParticipantId, ConversationId, MessageId, SessionId, UserId};

/// The position of an event in its lane: 1, 2, 3 … in commit order, without holes.
pub type Seq = i64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    pub seq: Seq,
    pub change: Change,
}

/// A durable change. It contains only the ids of the rows that it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    MessageAdded {
        conversation: ConversationId,
        message: MessageId,
    },
    /// The message changed, for example by an edit, a deletion for everyone, a reaction or a pin.
    MessageUpdated {
        conversation: ConversationId,
        message: MessageId,
    },
    /// A new message of the user in a direct conversation. Only the user receives it, because the other participant
    /// blocks the user.
    MessageWithheld {
        user: UserId,
        conversation: ConversationId,
        message: MessageId,
    },
    /// The user deleted the message only for themselves.
    MessageRemoved {
        user: UserId,
        message: MessageId,
    },
    /// The user is a participant of the conversation from this event on.
    ConversationAdded {
        user: UserId,
        conversation: ConversationId,
    },
    /// The user is no longer a participant of the conversation.
    ConversationRemoved {
        user: UserId,
        conversation: ConversationId,
    },
    /// The conversation changed in a way that all participants can see.
    ConversationUpdated {
        conversation: ConversationId,
    },
    /// The user's delivered position advanced. The read position may have advanced too.
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
    /// The user turned read receipts off.
    ReadReceiptsOff {
        user: UserId,
    },
    /// The user turned read receipts on.
    ReadReceiptsOn {
        user: UserId,
    },
    /// The conversation changed for the user alone, for example because the user archived, pinned or muted it.
    MembershipUpdated {
        user: UserId,
        conversation: ConversationId,
    },
    /// A contact, a contact request or a block between the two users changed in a way that `user` can see.
    ContactsChanged {
        user: UserId,
        other: UserId,
    },
    /// The call rings for the user.
    CallRinging {
        user: UserId,
        call: CallId,
    },
    /// A participant joined the call.
    CallAnswered {
        conversation: ConversationId,
        participant: CallParticipantId,
    },
    /// A participant left the call. `to` is one user if only that user's devices may know it: the user declined the
    /// call, left the conversation, or is the caller of a call that is withheld from the other participant.
    CallLeft {
        to: Audience,
        participant: CallParticipantId,
    },
    /// The call ended. `to` is one user if the call only stopped ringing for that user, or if that user is the caller
    /// of a call that is withheld from the other participant.
    CallEnded {
        to: Audience,
        call: CallId,
    },
    /// A signal waits for the device. Its content is in Postgres and not part of the event.
    CallSignalled {
        user: UserId,
        session: SessionId,
    },
    SessionRevoked {
        user: UserId,
        session: SessionId,
    },
    /// The user's profile changed. Nodes drop the user from their caches.
    UserUpdated {
        user: UserId,
    },
    /// A kind of change that this version does not know. A newer version writes it while nodes are replaced one by one.
    /// Streams skip it.
    Unknown(Audience),
}

/// The kind of `Change::MessageWithheld`. Its row does not contain the conversation, so `read.rs` takes it from the
/// message.
pub(super) const WITHHELD: &str = "message_withheld";

/// Who may receive an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Audience {
    /// All users who are participants at that position of the log.
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

    /// The message that clients see with this change, if there is one.
    pub fn message(&self) -> Option<MessageId> {
        match *self {
            Self::MessageAdded { message, .. }
            | Self::MessageWithheld { message, .. }
            | Self::MessageUpdated { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Whether the change concerns a call and only one user receives it. The event does not name the conversation, so a
    /// stream has to check whether the user may still see the call.
    pub fn is_personal_of_call(&self) -> bool {
        matches!(
            self,
            Self::CallRinging { .. }
                | Self::CallLeft { to: Audience::User(_), .. }
                | Self::CallEnded { to: Audience::User(_), .. }
        )
    }

    /// The value of the column `kind` for this change.
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
