//! Events of the log, in the form in which clients receive them.

use async_graphql::{ID, Interface, SimpleObject, Union};

use super::calls::call_event::{CallAnswered, CallEnded, CallEvent, CallLeft, CallRinging, CallSessionGone};
use super::conversations::conversation::Conversation;
use super::conversations::participant::Participant;
use super::conversations::typing::TypingChanged;
use super::error::Result;
use super::loaders::{ConversationKey, EventMessageKey, Loaders, MembershipKey};
use super::message_loaders::HiddenMessageKey;
use super::messaging::message::Message;
use super::people::presence::PresenceChanged;
use super::people::user::User;
use crate::domain::Reader;
use crate::domain::calls::call_events::CallEvent as DomainCallEvent;
use crate::log::{Change, Event, Item, Log};

/// A new message in a conversation of the viewer.
#[derive(SimpleObject)]
pub struct MessageAdded {
    /// Place of this event in the log. Pass it as `after` to get the events that follow.
    cursor: String,
    /// The new message.
    message: Message,
}

/// A message changed: it was edited, pinned, unpinned or deleted for everyone, it expired, or its reactions changed.
#[derive(SimpleObject)]
pub struct MessageUpdated {
    /// Place of this event in the log. Pass it as `after` to get the events that follow.
    cursor: String,
    /// The message after the change, or its tombstone.
    message: Message,
}

/// A message is no longer visible to the viewer, for example because the viewer deleted it for themselves.
#[derive(SimpleObject)]
pub struct MessageRemoved {
    /// Place of this event in the log. Pass it as `after` to get the events that follow.
    cursor: String,
    /// Id of the message.
    message_id: ID,
    /// Id of the message's conversation.
    conversation_id: ID,
}

/// The viewer became a participant of a conversation, or a direct conversation became visible to the viewer.
#[derive(SimpleObject)]
pub struct ConversationAdded {
    /// Place of this event in the log. Pass it as `after` to get the events that follow.
    cursor: String,
    /// The conversation.
    conversation: Conversation,
}

/// A property of a conversation changed, for example its title, its participants, a role, its invites or its call.
#[derive(SimpleObject)]
pub struct ConversationUpdated {
    /// Place of this event in the log. Pass it as `after` to get the events that follow.
    cursor: String,
    /// The conversation after the change.
    conversation: Conversation,
}

/// The viewer is no longer a participant of a conversation.
#[derive(SimpleObject)]
pub struct ConversationRemoved {
    /// Place of this event in the log. Pass it as `after` to get the events that follow.
    cursor: String,
    /// Id of the conversation.
    conversation_id: ID,
}

/// The delivery or read position of a participant advanced. If only the read position advanced, other users get this
/// event only if they and the participant have enabled read receipts.
#[derive(SimpleObject)]
pub struct ReceiptAdvanced {
    /// Place of this event in the log. Pass it as `after` to get the events that follow.
    cursor: String,
    /// The conversation of the messages.
    conversation: Conversation,
    /// The participant, with the new positions.
    participant: Participant,
}

/// The viewer's own state in a conversation changed, for example the role, the read position, a setting or the
/// scheduled messages.
#[derive(SimpleObject)]
pub struct MembershipUpdated {
    /// Place of this event in the log. Pass it as `after` to get the events that follow.
    cursor: String,
    /// The conversation, with the new state in `viewerMembership`.
    conversation: Conversation,
}

/// A contact, a contact request or a block between the viewer and a user changed.
#[derive(SimpleObject)]
pub struct ContactsChanged {
    /// Place of this event in the log. Pass it as `after` to get the events that follow.
    cursor: String,
    /// The other user.
    user: User,
}

/// Reports that all missed events were sent. All later events are live.
#[derive(SimpleObject)]
pub struct CaughtUp {
    /// Place in the log up to which events were sent.
    cursor: String,
}

/// The cursor in `after` is unknown, or events after it are no longer stored. Query the state again, then continue from
/// `cursor`.
#[derive(SimpleObject)]
pub struct ResyncRequired {
    /// Place in the log from which the subscription continues.
    cursor: String,
}

/// An event of the `inbox` subscription.
#[derive(Union)]
pub enum InboxEvent {
    MessageAdded(MessageAdded),
    MessageUpdated(MessageUpdated),
    MessageRemoved(MessageRemoved),
    ConversationAdded(ConversationAdded),
    ConversationUpdated(ConversationUpdated),
    ConversationRemoved(ConversationRemoved),
    ReceiptAdvanced(ReceiptAdvanced),
    MembershipUpdated(MembershipUpdated),
    ContactsChanged(ContactsChanged),
    TypingChanged(TypingChanged),
    PresenceChanged(PresenceChanged),
    CallRinging(CallRinging),
    CallAnswered(CallAnswered),
    CallLeft(CallLeft),
    CallSessionGone(CallSessionGone),
    CallEnded(CallEnded),
    CaughtUp(CaughtUp),
    ResyncRequired(ResyncRequired),
}

/// An event that the server stores, so that a client gets it after a disconnect. To resume, pass the cursor of the
/// newest event as `after`.
#[derive(Interface)]
#[graphql(field(
    name = "cursor",
    ty = "&String",
    desc = "Place of this event in the log. Pass it as `after` to get the events that follow."
))]
pub enum DurableEvent {
    MessageAdded(MessageAdded),
    MessageUpdated(MessageUpdated),
    MessageRemoved(MessageRemoved),
    ConversationAdded(ConversationAdded),
    ConversationUpdated(ConversationUpdated),
    ConversationRemoved(ConversationRemoved),
    ReceiptAdvanced(ReceiptAdvanced),
    MembershipUpdated(MembershipUpdated),
    ContactsChanged(ContactsChanged),
    CaughtUp(CaughtUp),
    ResyncRequired(ResyncRequired),
}

impl InboxEvent {
    /// Loads the objects of a log item and makes its event. None if an object no longer exists, or if clients do not
    /// get the item. The log has checked that the viewer may get the item.
    pub(super) async fn load(log: &Log, loaders: &Loaders, item: Item) -> Result<Option<Self>> {
        let cursor = |seq| log.cursor(seq).to_string();
        let Event { seq, change } = match item {
            Item::Event(event) => event,
            Item::CaughtUp(seq) => return Ok(Some(Self::CaughtUp(CaughtUp { cursor: cursor(seq) }))),
            Item::ResyncRequired(seq) => {
                return Ok(Some(Self::ResyncRequired(ResyncRequired { cursor: cursor(seq) })));
            }
            // Not reached: the log closes only streams of a single conversation, which handle this item themselves.
            Item::Closed => return Ok(None),
        };
        let cursor = cursor(seq);
        Ok(match change {
            Change::MessageAdded { conversation, message }
            | Change::MessageAddedForSender { conversation, message, .. } => {
                let row = loaders.published_message(EventMessageKey(conversation, message)).await?;
                row.map(|row| Self::MessageAdded(MessageAdded { cursor, message: Message(row) }))
            }
            Change::MessageUpdated { conversation, message } => {
                let row = loaders.load(EventMessageKey(conversation, message)).await?;
                row.map(|row| Self::MessageUpdated(MessageUpdated { cursor, message: Message(row) }))
            }
            Change::MessageRemoved { user, message } => {
                let conversation = loaders.load(HiddenMessageKey(user, message)).await?;
                conversation.map(|conversation| {
                    let (message_id, conversation_id) = (message.to_string().into(), conversation.to_string().into());
                    Self::MessageRemoved(MessageRemoved { cursor, message_id, conversation_id })
                })
            }
            Change::MembershipUpdated { conversation, .. } => {
                Some(Self::MembershipUpdated(MembershipUpdated { cursor, conversation: conversation.into() }))
            }
            Change::ContactsChanged { other, .. } => {
                let user = loaders.user(other).await?.map(User);
                user.map(|user| Self::ContactsChanged(ContactsChanged { cursor, user }))
            }
            Change::ConversationAdded { conversation, .. } => {
                let row = loaders.load(ConversationKey(Reader::Recipients, conversation)).await?;
                row.map(|row| Self::ConversationAdded(ConversationAdded { cursor, conversation: row.into() }))
            }
            Change::ConversationUpdated { conversation } => {
                let row = loaders.load(ConversationKey(Reader::Recipients, conversation)).await?;
                row.map(|row| Self::ConversationUpdated(ConversationUpdated { cursor, conversation: row.into() }))
            }
            Change::ConversationRemoved { conversation, .. } => {
                let conversation_id = conversation.to_string().into();
                Some(Self::ConversationRemoved(ConversationRemoved { cursor, conversation_id }))
            }
            Change::ReceiptAdvanced { conversation, user } | Change::ReadAdvanced { conversation, user } => {
                let row = loaders.load(ConversationKey(Reader::Recipients, conversation)).await?;
                let participant = loaders.load(MembershipKey(user, conversation)).await?;
                row.zip(participant).map(|(row, (participant, _))| {
                    let (conversation, participant) = (row.into(), Participant(participant));
                    Self::ReceiptAdvanced(ReceiptAdvanced { cursor, conversation, participant })
                })
            }
            // All other changes are events of calls, or are not sent to clients.
            change => match DomainCallEvent::of(&change) {
                Some(event) => CallEvent::load(loaders, event).await?.and_then(CallEvent::for_inbox),
                None => None,
            },
        })
    }
}
