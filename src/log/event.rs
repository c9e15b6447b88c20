//! The events of the log, and the changes that they record.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{CallId, CallParticipantId, ConversationId, MessageId, SessionId, UserId};

/// The position of an event in its lane of the log: 1, 2, 3 … in commit order, without gaps. There is only one lane so
/// far.
pub type Seq = i64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    pub seq: Seq,
    pub change: Change,
}

/// The users who may receive an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Audience {
    /// All users who are participants of the conversation at the event's position in the log.
    Conversation(ConversationId),
    User(UserId),
}

/// The category of a change, which determines the streams that ask for the change. `Interest` contains what each stream
/// asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// For inboxes and streams of new messages.
    NewMessages,
    /// For inboxes and streams of message updates.
    MessageUpdates,
    /// For inboxes and streams of calls.
    Calls,
    /// For inboxes only.
    Inboxes,
    /// For the stream of calls of one device only.
    Device,
    /// For no stream. Only the nodes themselves use the change.
    Nodes,
}

/// The value of the column `kind` for `Change::MessageAddedForSender`. A row of this kind does not contain the
/// conversation, so `read.rs` reads the conversation from the message.
pub(super) const ADDED_FOR_SENDER: &str = "message_withheld";

/// Defines `Change` and how a change is stored in the table `events`. Each line contains the variant, the column
/// `kind`, the audience, the subject and the category. If a line has no subject, the audience is also the subject.
/// `with (conversation)` adds a field that the row does not contain: the conversation of the subject.
macro_rules! changes {
    ($(
        $(#[$attribute:meta])*
        $Variant:ident = $kind:tt to ($audience:ident: $Audience:ident)
            $(about ($subject:ident: $Subject:ident))? $(with ($conversation:ident))? in $Category:ident;
    )*) => {
        /// A durable change that an event records. Contains only the ids of the rows that the change concerns.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Change {
            $(
                $(#[$attribute])*
                $Variant {
                    $audience: $Audience,
                    $($conversation: ConversationId,)?
                    $($subject: $Subject,)?
                },
            )*
            /// A change of a kind that this version does not know. Nodes of a newer version write such a change while
            /// nodes are replaced one by one. Streams skip the change.
            Unknown(Audience),
        }

        impl Change {
            pub fn audience(&self) -> Audience {
                match *self {
                    $(Self::$Variant { $audience, .. } => $audience.into(),)*
                    Self::Unknown(audience) => audience,
                }
            }

            /// Returns the value of the column `kind`.
            pub(super) fn kind(&self) -> &'static str {
                match self {
                    $(Self::$Variant { .. } => $kind,)*
                    Self::Unknown(_) => "unknown",
                }
            }

            /// Returns the value of the column `subject_id`.
            pub(super) fn subject(&self) -> Uuid {
                match *self {
                    // The first element of the array is the subject, or the audience if the change has no subject.
                    $(Self::$Variant { $audience, $($subject,)? .. } => {
                        [$($subject.0,)? Audience::from($audience).uuid()][0]
                    })*
                    Self::Unknown(_) => Uuid::nil(),
                }
            }

            pub(super) fn category(&self) -> Category {
                match self {
                    $(Self::$Variant { .. } => Category::$Category,)*
                    Self::Unknown(_) => Category::Nodes,
                }
            }

            /// Returns the values of the column `kind` for the changes in these categories.
            pub(super) fn kinds_of(categories: &[Category]) -> Vec<&'static str> {
                let all = [$(($kind, Category::$Category),)*];
                all.into_iter().filter(|(_, category)| categories.contains(category)).map(|(kind, _)| kind).collect()
            }

            /// Returns the change that a row records. Returns None if this version does not know the kind, or if the
            /// kind cannot have this audience. `conversation` is the conversation of the subject, for the kinds whose
            /// row does not contain the conversation. Returns None if such a kind has no `conversation`.
            fn decode(
                kind: &str,
                audience: Audience,
                subject: Uuid,
                conversation: Option<ConversationId>,
            ) -> Option<Self> {
                Some(match kind {
                    $($kind => Self::$Variant {
                        $audience: $Audience::try_from(audience).ok()?,
                        $($conversation: conversation?,)?
                        $($subject: $Subject(subject),)?
                    },)*
                    _ => return None,
                })
            }
        }
    };
}

changes! {
    MessageAdded = "message_added" to (conversation: ConversationId) about (message: MessageId) in NewMessages;
    /// The message changed, for example by an edit, a deletion for everyone, a reaction or a pin.
    MessageUpdated = "message_updated" to (conversation: ConversationId) about (message: MessageId) in MessageUpdates;
    /// The user sent a new message in a direct conversation. Only the user receives this event, because the other
    /// participant blocks the user. The serialized name is the name that nodes of earlier versions know.
    #[serde(rename = "MessageWithheld")]
    MessageAddedForSender = ADDED_FOR_SENDER to (user: UserId) about (message: MessageId) with (conversation) in NewMessages;
    /// The user deleted the message only for themselves.
    MessageRemoved = "message_removed" to (user: UserId) about (message: MessageId) in Inboxes;
    /// The user is a participant of the conversation from this event on.
    ConversationAdded = "conversation_added" to (user: UserId) about (conversation: ConversationId) in Inboxes;
    /// The user is no longer a participant of the conversation.
    ConversationRemoved = "conversation_removed" to (user: UserId) about (conversation: ConversationId) in Inboxes;
    /// The conversation changed in a way that all participants can see.
    ConversationUpdated = "conversation_updated" to (conversation: ConversationId) in Inboxes;
    /// The user's delivered position advanced. The user's read position might have advanced too.
    ReceiptAdvanced = "receipt_advanced" to (conversation: ConversationId) about (user: UserId) in Inboxes;
    /// The user's read position advanced, and the delivered position did not. Other users with read receipts off do not
    /// get this event.
    ReadAdvanced = "read_advanced" to (conversation: ConversationId) about (user: UserId) in Inboxes;
    /// The user turned read receipts off.
    ReadReceiptsOff = "read_receipts_off" to (user: UserId) in Nodes;
    /// The user turned read receipts on.
    ReadReceiptsOn = "read_receipts_on" to (user: UserId) in Nodes;
    /// The conversation changed for the user alone, for example because the user archived, pinned or muted it.
    MembershipUpdated = "membership_updated" to (user: UserId) about (conversation: ConversationId) in Inboxes;
    /// A contact, a contact request or a block between the two users changed in a way that `user` can see.
    ContactsChanged = "contacts_changed" to (user: UserId) about (other: UserId) in Inboxes;
    /// The call rings for the user.
    CallRinging = "call_ringing" to (user: UserId) about (call: CallId) in Calls;
    /// A participant joined the call.
    CallAnswered = "call_answered" to (conversation: ConversationId) about (participant: CallParticipantId) in Calls;
    /// A participant left the call. `to` is one user if only that user's devices may receive this event: the user
    /// declined the call, left the conversation, or is the caller of a call that is hidden from the other participant.
    CallLeft = "call_left" to (to: Audience) about (participant: CallParticipantId) in Calls;
    /// The call ended. `to` is one user if the call only stopped ringing for that user, or if that user is the caller
    /// of a call that is hidden from the other participant.
    CallEnded = "call_ended" to (to: Audience) about (call: CallId) in Calls;
    /// A signal waits for the device with this session. The content of the signal is in Postgres and not part of the
    /// event.
    CallSignalled = "call_signalled" to (user: UserId) about (session: SessionId) in Device;
    SessionRevoked = "session_revoked" to (user: UserId) about (session: SessionId) in Nodes;
    /// The user's profile or privacy settings changed, or the user was deleted. Nodes remove the user from their
    /// caches.
    UserUpdated = "user_updated" to (user: UserId) in Nodes;
}

impl Change {
    /// Returns the message that the change added or updated. Returns None for all other changes.
    pub fn message(&self) -> Option<MessageId> {
        matches!(self.category(), Category::NewMessages | Category::MessageUpdates).then(|| MessageId(self.subject()))
    }

    /// Returns the conversation whose id the change contains. Returns None if the change contains no conversation.
    pub(super) fn conversation(&self) -> Option<ConversationId> {
        match (*self, self.audience()) {
            (
                Self::MessageAddedForSender { conversation, .. }
                | Self::ConversationAdded { conversation, .. }
                | Self::ConversationRemoved { conversation, .. }
                | Self::MembershipUpdated { conversation, .. },
                _,
            )
            | (_, Audience::Conversation(conversation)) => Some(conversation),
            (_, Audience::User(_)) => None,
        }
    }

    /// Whether the change concerns a call and only one user receives the event. Such an event does not contain the
    /// conversation, so a stream has to check whether the user may still see the call.
    pub fn is_personal_of_call(&self) -> bool {
        self.category() == Category::Calls && matches!(self.audience(), Audience::User(_))
    }

    /// Returns the change that a row of `events` records, or `Unknown` if the row cannot be decoded. `conversation` is
    /// the conversation of the subject, for the kinds whose row does not contain the conversation.
    pub(super) fn from_row(
        kind: &str,
        audience: Audience,
        subject: Uuid,
        conversation: Option<ConversationId>,
    ) -> Self {
        Self::decode(kind, audience, subject, conversation).unwrap_or(Self::Unknown(audience))
    }
}

/// The error for an audience of another kind than the change needs.
pub struct OtherAudience;

impl Audience {
    fn uuid(self) -> Uuid {
        match self {
            Self::Conversation(id) => id.0,
            Self::User(id) => id.0,
        }
    }
}

impl From<ConversationId> for Audience {
    fn from(id: ConversationId) -> Self {
        Self::Conversation(id)
    }
}

impl From<UserId> for Audience {
    fn from(id: UserId) -> Self {
        Self::User(id)
    }
}

impl TryFrom<Audience> for ConversationId {
    type Error = OtherAudience;

    fn try_from(audience: Audience) -> Result<Self, OtherAudience> {
        match audience {
            Audience::Conversation(id) => Ok(id),
            Audience::User(_) => Err(OtherAudience),
        }
    }
}

impl TryFrom<Audience> for UserId {
    type Error = OtherAudience;

    fn try_from(audience: Audience) -> Result<Self, OtherAudience> {
        match audience {
            Audience::User(id) => Ok(id),
            Audience::Conversation(_) => Err(OtherAudience),
        }
    }
}
