//! The events of the log as clients see them.

use async_graphql::{ID, Interface, SimpleObject, Union};

use super::calls::call_event::{CallAnswered, CallEnded, CallEvent, CallLeft, CallRinging, CallSessionGone};
use super::conversations::conversation::Conversation;
use super::conversations::participant::Participant;
use super::conversations::typing::TypingChanged;
use super::error::Result;
use super::loaders::{Loaders, MembershipKey};
use super::messaging::message::Message;
use super::people::presence::PresenceChanged;
use super::people::user::User;
use crate::domain::calls::call_events::CallEvent as DomainCallEvent;
use crate::ids::MessageId;
use crate::log::{Change, Event, Item, Log};
use crate::store::messaging::messages::Message as Row;

#[derive(SimpleObject)]
pub struct MessageAdded {
    cursor: String,
    message: Message,
}

/// Edited, deleted for everybody, reacted to, pinned or the like.
#[derive(SimpleObject)]
pub struct MessageUpdated {
    cursor: String,
    message: Message,
}

/// The viewer has deleted it for themselves alone.
#[derive(SimpleObject)]
pub struct MessageRemoved {
    cursor: String,
    message_id: ID,
    conversation_id: ID,
}

#[derive(SimpleObject)]
pub struct ConversationAdded {
    cursor: String,
    conversation: Conversation,
}

#[derive(SimpleObject)]
pub struct ConversationUpdated {
    cursor: String,
    conversation: Conversation,
}

/// The viewer takes no part in it any more.
#[derive(SimpleObject)]
pub struct ConversationRemoved {
    cursor: String,
    conversation_id: ID,
}

/// A participant has received or read further. A viewer with read receipts off gets no event when others only read.
#[derive(SimpleObject)]
pub struct ReceiptAdvanced {
    cursor: String,
    conversation: Conversation,
    participant: Participant,
}

/// The viewer's own state in the conversation changed.
#[derive(SimpleObject)]
pub struct MembershipUpdated {
    cursor: String,
    conversation: Conversation,
}

/// Between the viewer and the user: a request, a contact, a block.
#[derive(SimpleObject)]
pub struct ContactsChanged {
    cursor: String,
    user: User,
}

/// Everything up to `cursor` has been sent; what follows is live.
#[derive(SimpleObject)]
pub struct CaughtUp {
    cursor: String,
}

/// The cursor given is too old or unknown: fetch state anew, then resume from `cursor`.
#[derive(SimpleObject)]
pub struct ResyncRequired {
    cursor: String,
}

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

/// A durable event: survives a disconnect, and its cursor resumes after it.
#[derive(Interface)]
#[graphql(field(name = "cursor", ty = "&String"))]
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
    /// None where what the event tells of is gone by now. Who may see it was decided by the log.
    pub(super) async fn load(log: &Log, loaders: &Loaders, item: Item) -> Result<Option<Self>> {
        let cursor = |seq| log.cursor(seq).to_string();
        let Event { seq, change } = match item {
            Item::Event(event) => event,
            Item::CaughtUp(seq) => return Ok(Some(Self::CaughtUp(CaughtUp { cursor: cursor(seq) }))),
            Item::ResyncRequired(seq) => {
                return Ok(Some(Self::ResyncRequired(ResyncRequired { cursor: cursor(seq) })));
            }
            // An inbox is never over.
            Item::Closed => return Ok(None),
        };
        let cursor = cursor(seq);
        Ok(match change {
            Change::MessageAdded { message, .. } | Change::MessageWithheld { message, .. } => {
                let row = load_message(log, loaders, message).await?;
                row.map(|row| Self::MessageAdded(MessageAdded { cursor, message: Message(row) }))
            }
            Change::MessageUpdated { message, .. } => {
                let row = loaders.load(message).await?;
                row.map(|row| Self::MessageUpdated(MessageUpdated { cursor, message: Message(row) }))
            }
            Change::MessageRemoved { message, .. } => {
                let row: Option<Row> = loaders.load(message).await?;
                row.map(|row| {
                    let (message_id, conversation_id) =
                        (row.id.to_string().into(), row.conversation_id.to_string().into());
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
                let row = loaders.load(conversation).await?;
                row.map(|row| Self::ConversationAdded(ConversationAdded { cursor, conversation: row.into() }))
            }
            Change::ConversationUpdated { conversation } => {
                let row = loaders.load(conversation).await?;
                row.map(|row| Self::ConversationUpdated(ConversationUpdated { cursor, conversation: row.into() }))
            }
            Change::ConversationRemoved { conversation, .. } => {
                let conversation_id = conversation.to_string().into();
                Some(Self::ConversationRemoved(ConversationRemoved { cursor, conversation_id }))
            }
            Change::ReceiptAdvanced { conversation, user } | Change::ReadAdvanced { conversation, user } => {
                let row = loaders.load(conversation).await?;
                let participant = loaders.load(MembershipKey(user, conversation)).await?;
                row.zip(participant).map(|(row, (participant, _))| {
                    let (conversation, participant) = (row.into(), Participant(participant));
                    Self::ReceiptAdvanced(ReceiptAdvanced { cursor, conversation, participant })
                })
            }
            // The others are for nobody's eyes.
            change => match DomainCallEvent::of(&change) {
                Some(event) => CallEvent::load(loaders, event).await?.and_then(CallEvent::for_inbox),
                None => None,
            },
        })
    }
}

/// Mostly it has come along with its event.
async fn load_message(log: &Log, loaders: &Loaders, id: MessageId) -> Result<Option<Row>> {
    match log.carried(id) {
        Some(message) => Ok(Some(Row::clone(&message))),
        None => loaders.load(id).await,
    }
}
