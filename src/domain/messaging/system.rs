//! SYSTEM messages, which report changes of a conversation in its history.

use chrono::{DateTime, Utc};

use crate::domain::base::Base;
use crate::domain::error::Result;
use crate::ids::{MessageId, UserId};
use crate::log::Transaction;
use crate::random::Random;
use crate::store::conversations::conversations::Conversation;
use crate::store::messaging::hidden_messages;
use crate::store::messaging::messages::{self, Message, MessageKind, SystemEventKind};

/// The content of a SYSTEM message.
#[derive(Clone, Debug)]
pub(in crate::domain) struct SystemEvent {
    pub(in crate::domain) kind: SystemEventKind,
    /// The user who made the change.
    pub(in crate::domain) actor: UserId,
    /// The user whom the change affects. None if the change affects only the actor, or no user.
    pub(in crate::domain) subject: Option<UserId>,
    /// The new title, the new role, or another text that depends on the kind.
    pub(in crate::domain) text: Option<String>,
}

/// Adds a SYSTEM message to a conversation. The conversation must be locked.
pub(in crate::domain) async fn add(
    base: &Base,
    tx: &mut Transaction<'_>,
    conversation: &mut Conversation,
    event: SystemEvent,
) -> Result<Message> {
    add_at(base.now(), &base.random, tx, conversation, event, None).await
}

/// Same as `add`, but hides the message from `blocker`, the other user of the direct conversation, who blocks the
/// actor.
pub(in crate::domain) async fn add_hidden(
    base: &Base,
    tx: &mut Transaction<'_>,
    conversation: &mut Conversation,
    event: SystemEvent,
    blocker: UserId,
) -> Result<Message> {
    add_at(base.now(), &base.random, tx, conversation, event, Some(blocker)).await
}

/// Adds a SYSTEM message with the time `at`. If `blocker` is set, hides the message from this user, who blocks the
/// actor.
pub(in crate::domain) async fn add_at(
    at: DateTime<Utc>,
    random: &Random,
    tx: &mut Transaction<'_>,
    conversation: &mut Conversation,
    event: SystemEvent,
    blocker: Option<UserId>,
) -> Result<Message> {
    let actor = event.actor;
    let message = next_message(at, random, conversation, event);
    messages::insert_numbered(tx.conn(), std::slice::from_ref(&message)).await?;
    match blocker {
        None => tx.record_message(&message),
        Some(blocker) => {
            hidden_messages::hide(tx.conn(), blocker, message.id).await?;
            tx.record_message_for_sender(actor, &message);
        }
    }
    Ok(message)
}

/// Adds several SYSTEM messages in the given order.
pub(in crate::domain) async fn add_all(
    base: &Base,
    tx: &mut Transaction<'_>,
    conversation: &mut Conversation,
    events: Vec<SystemEvent>,
) -> Result<()> {
    let new: Vec<_> =
        events.into_iter().map(|event| next_message(base.now(), &base.random, conversation, event)).collect();
    messages::insert_numbered(tx.conn(), &new).await?;
    for message in &new {
        tx.record_message(message);
    }
    Ok(())
}

/// Makes the next message of the conversation, and updates the conversation in memory as the insert updates its row.
fn next_message(now: DateTime<Utc>, random: &Random, conversation: &mut Conversation, event: SystemEvent) -> Message {
    let message = Message {
        kind: MessageKind::System,
        system_kind: Some(event.kind),
        actor_id: Some(event.actor),
        subject_id: event.subject,
        system_text: event.text,
        ..conversation.next_message(MessageId::new(now, random), now)
    };
    conversation.apply_new_message(&message);
    message
}
