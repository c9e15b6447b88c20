//! SYSTEM messages: what happened to a conversation, told in its history.

use chrono::{DateTime, Utc};

use crate::domain::base::Base;
use crate::domain::error::Result;
use crate::ids::{MessageId, UserId};
use crate::log::Transaction;
use crate::random::Random;
use crate::store::conversations::conversations::Conversation;
use crate::store::messaging::messages::{self, Message, MessageKind, SystemEventKind};

/// What a SYSTEM message tells.
#[derive(Clone, Debug)]
pub(in crate::domain) struct SystemEvent {
    pub(in crate::domain) kind: SystemEventKind,
    /// Who did it.
    pub(in crate::domain) actor: UserId,
    /// Whom it was done to, where that is somebody else.
    pub(in crate::domain) subject: Option<UserId>,
    /// The new title, the new role or the like.
    pub(in crate::domain) text: Option<String>,
}

/// Adds the message to a conversation that the transaction has locked.
pub(in crate::domain) async fn tell(
    base: &Base,
    tx: &mut Transaction<'_>,
    conversation: &mut Conversation,
    event: SystemEvent,
) -> Result<Message> {
    tell_at(base.now(), &base.random, tx, conversation, event, None).await
}

/// The same, for nobody but the actor: the other blocks them.
pub(in crate::domain) async fn tell_withheld(
    base: &Base,
    tx: &mut Transaction<'_>,
    conversation: &mut Conversation,
    event: SystemEvent,
    blocker: UserId,
) -> Result<Message> {
    tell_at(base.now(), &base.random, tx, conversation, event, Some(blocker)).await
}

/// Tells of what happened at a time; nobody but the actor where the other blocks them.
pub(in crate::domain) async fn tell_at(
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
            messages::hide(tx.conn(), blocker, message.id).await?;
            tx.record_withheld(actor, &message);
        }
    }
    Ok(message)
}

/// The same for several, in their order.
pub(in crate::domain) async fn tell_all(
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

/// The conversation is then as it will be once the message is inserted.
fn next_message(now: DateTime<Utc>, random: &Random, conversation: &mut Conversation, event: SystemEvent) -> Message {
    let message = Message {
        kind: MessageKind::System,
        system_kind: Some(event.kind),
        actor_id: Some(event.actor),
        subject_id: event.subject,
        system_text: event.text,
        ..conversation.next_message(MessageId::new(now, random), now)
    };
    conversation.has_got(&message);
    message
}
