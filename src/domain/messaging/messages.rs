//! Messages: sending, finding and forwarding them, and how their senders change them.

use std::sync::Arc;

use super::batch::{self, Outgoing};
use super::change::{self, Held};
use super::core::MessagingCore;
use super::mentions;
use crate::domain::error::{Error, NO_MESSAGE, Result, Violation};
use crate::domain::files::attachments::MAX_ATTACHMENTS;
use crate::domain::validate::{Check, NO_BODY};
use crate::domain::viewer::Viewer;
use crate::ids::{AttachmentId, ConversationId, MessageId};
use crate::limiter::Rate;
use crate::log::{Change, Transaction};
use crate::store::conversations::conversations::{self, ConversationKind};
use crate::store::conversations::participants::{self, ParticipantRole};
use crate::store::files::attachment_uses;
use crate::store::messaging::messages::{self, Edit, Message, MessageKind};
use crate::store::messaging::unread;

/// Messages that are forwarded at once.
const MAX_FORWARDED: usize = 100;
/// Conversations that messages are forwarded to at once.
const MAX_FORWARDED_TO: usize = 20;

pub struct Messages<'a> {
    pub(in crate::domain) core: &'a Arc<MessagingCore>,
}

#[derive(Debug)]
pub struct NewMessage {
    pub conversation: ConversationId,
    /// Makes a retry safe: the same from the same sender is the same message.
    pub client_id: Option<String>,
    /// Empty where only attachments are sent.
    pub body: String,
    /// The sender's own; with `forwarded`, those of a message that the sender sees.
    pub attachments: Vec<AttachmentId>,
    /// The message that it answers, of the same conversation.
    pub reply_to: Option<MessageId>,
    /// Seconds until it deletes itself.
    pub expires_in: Option<i32>,
    pub forwarded: bool,
}

impl Messages<'_> {
    /// Stores the message before it returns it. A clientId that the sender has used in this conversation
    /// returns the message it made then.
    pub async fn send(&self, viewer: Viewer, mut message: NewMessage) -> Result<Message> {
        let mut check = Check::default();
        check_content(
            &mut check,
            &mut message.body,
            &mut message.attachments,
            self.core.base.limits.max_message_length,
        );
        if let Some(client_id) = &message.client_id {
            check.client_id(client_id);
        }
        if let Some(seconds) = message.expires_in {
            check.expires_in(seconds);
        }
        check.done()?;
        if let Err(limited) = self.core.base.take(Rate::Messages, viewer, 1) {
            return self.stored(viewer, &message).await?.ok_or(limited);
        }
        self.core.writers.send(Outgoing { sender: viewer.user, message }).await
    }

    /// The message that the viewer has stored with this clientId in the same conversation. It is not a new one, so a rate
    /// does not refuse it.
    async fn stored(&self, viewer: Viewer, message: &NewMessage) -> Result<Option<Message>> {
        let Some(client_id) = &message.client_id else { return Ok(None) };
        let connection = self.core.base.connection().await?;
        let found = messages::by_client_ids(&connection, &[(viewer.user, client_id)]).await?;
        Ok(found.into_iter().find(|found| found.conversation_id == message.conversation))
    }

    /// None where the viewer may not see it.
    pub async fn find(&self, viewer: Viewer, id: MessageId) -> Result<Option<Message>> {
        Ok(self.find_many(viewer, &[id]).await?.pop())
    }

    /// Those that the viewer may see.
    pub async fn find_many(&self, viewer: Viewer, ids: &[MessageId]) -> Result<Vec<Message>> {
        Ok(messages::visible_to(&*self.core.base.connection().await?, viewer.user, ids).await?)
    }

    /// Replaces the message's body. The former body is kept for the audit, at most `Limits::max_kept_edits` of them for
    /// each message. The body of a message with attachments may be empty.
    pub async fn edit(&self, viewer: Viewer, id: MessageId, body: String) -> Result<Message> {
        let mut check = Check::default();
        check.caption(&body, self.core.base.limits.max_message_length);
        check.done()?;
        self.core.base.take(Rate::Edits, viewer, 1)?;
        let mut tx = self.core.base.log.begin().await?;
        let done = self.edit_in(&mut tx, viewer, id, body).await;
        tx.finish(done).await
    }

    async fn edit_in(&self, tx: &mut Transaction<'_>, viewer: Viewer, id: MessageId, body: String) -> Result<Message> {
        let mut held = change::hold(tx, viewer.user, id).await?;
        if held.message.sender_id != Some(viewer.user) {
            return Err(Error::Forbidden("Only who has sent a message may edit it."));
        }
        held.refuse_deleted()?;
        let body = Some(body).filter(|body| !body.trim().is_empty());
        match held.message.kind {
            MessageKind::System => return Err(Error::invalid("messageId", "This message cannot be edited.")),
            MessageKind::Text if body.is_none() => return Err(Error::invalid("body", NO_BODY)),
            _ => {}
        }
        if held.message.body == body {
            return Ok(held.message);
        }
        let now = self.core.base.now();
        let (revision, before) = (held.next_revision(), std::mem::replace(&mut held.message.body, body));
        let edit = Edit { message_id: id, revision, body: before.as_deref(), until: now };
        messages::keep_edit(tx.conn(), &edit, self.core.base.limits.max_kept_edits).await?;
        held.message.edited_at = Some(now);
        held.withhold(tx).await?;
        held.write(tx).await?;
        mentions::refresh(tx.conn(), &held.message).await?;
        Ok(held.message)
    }

    /// Leaves a tombstone, with its number. Doing it once more changes nothing.
    pub async fn delete(&self, viewer: Viewer, id: MessageId) -> Result<Message> {
        self.core.base.take(Rate::Edits, viewer, 1)?;
        let mut tx = self.core.base.log.begin().await?;
        let done = self.delete_in(&mut tx, viewer, id).await;
        tx.finish(done).await
    }

    async fn delete_in(&self, tx: &mut Transaction<'_>, viewer: Viewer, id: MessageId) -> Result<Message> {
        let mut held = change::hold(tx, viewer.user, id).await?;
        if !may_delete(&held) {
            return Err(Error::Forbidden(
                "Only who has sent a message, or an admin of the group, may delete it for all.",
            ));
        }
        if held.message.deleted_at.is_none() {
            held.bury(tx, self.core.base.now()).await?;
        }
        Ok(held.message)
    }

    /// Hides a message from the viewer alone, on all their devices. Doing it once more changes nothing.
    pub async fn hide(&self, viewer: Viewer, id: MessageId) -> Result<()> {
        self.core.base.take(Rate::Edits, viewer, 1)?;
        let mut tx = self.core.base.log.begin().await?;
        let done = hide_in(&mut tx, viewer, id).await;
        tx.finish(done).await
    }

    /// Sends copies of messages that the viewer may see, in the order given, to each of the conversations: all of
    /// them, or none. Nobody counts twice.
    pub async fn forward(
        &self,
        viewer: Viewer,
        mut ids: Vec<MessageId>,
        mut to: Vec<ConversationId>,
    ) -> Result<Vec<Message>> {
        keep_first(&mut ids);
        keep_first(&mut to);
        let mut check = Check::default();
        check.count("messageIds", "messages", ids.len(), MAX_FORWARDED);
        check.count("conversationIds", "conversations", to.len(), MAX_FORWARDED_TO);
        check.done()?;
        self.core.base.take(Rate::Forwards, viewer, ids.len() * to.len())?;
        let contents = self.contents(viewer, &ids).await?;
        let copies: Vec<_> = to
            .iter()
            .flat_map(|&conversation| contents.iter().map(move |content| copy(viewer, conversation, content)))
            .collect();
        let base = &self.core.base;
        let mut tx = base.log.begin().await?;
        let done = batch::store(&mut tx, &copies, &[], base.clock, &base.random).await;
        let done = done.and_then(|results| results.sends.into_iter().collect::<Result<Vec<_>>>());
        let sent = tx.finish(done).await?;
        base.metrics.messages_stored(sent.len());
        Ok(sent)
    }

    /// What the messages say and show that are to be forwarded.
    async fn contents(&self, viewer: Viewer, ids: &[MessageId]) -> Result<Vec<Content>> {
        let found = self.find_many(viewer, ids).await?;
        let with: Vec<_> = found.iter().filter(|row| row.has_attachments()).map(|row| row.id).collect();
        let attachments = attachment_uses::ids_of_messages(&mut *self.core.base.connection().await?, &with).await?;
        let mut violations = Vec::new();
        let mut contents = Vec::with_capacity(ids.len());
        for (place, id) in ids.iter().enumerate() {
            let message = found.iter().find(|message| message.id == *id).ok_or(NO_MESSAGE)?;
            let own = attachments.iter().filter(|(of, _)| of == id);
            let content = Content {
                body: message.body.clone().unwrap_or_default(),
                attachments: own.map(|(_, attachment)| *attachment).collect(),
            };
            if content.body.is_empty() && content.attachments.is_empty() {
                violations.push(Violation::new(format!("messageIds.{place}"), "There is nothing to forward."));
            }
            contents.push(content);
        }
        if violations.is_empty() { Ok(contents) } else { Err(Error::Invalid(violations)) }
    }
}

async fn hide_in(tx: &mut Transaction<'_>, viewer: Viewer, id: MessageId) -> Result<()> {
    let place = messages::places(tx.conn(), &[id]).await?.pop();
    let (_, conversation, number) = place.ok_or(NO_MESSAGE)?;
    // The viewer's count of unread messages changes with it.
    conversations::lock(tx.conn(), conversation).await?.ok_or(NO_MESSAGE)?;
    let participant = participants::of_users(tx.conn(), conversation, &[viewer.user]).await?.pop();
    if participant.ok_or(NO_MESSAGE)?.hidden_up_to >= number {
        return Err(NO_MESSAGE);
    }
    if messages::hide(tx.conn(), viewer.user, id).await? {
        unread::uncount_for(tx.conn(), viewer.user, id).await?;
        tx.record(Change::MessageRemoved { user: viewer.user, message: id });
    }
    Ok(())
}

/// One's own; in a group its owner and its admins any. What a SYSTEM message tells is nobody's to take back.
fn may_delete(held: &Held) -> bool {
    let Held { message, conversation, participant, .. } = held;
    message.sender_id == Some(participant.user_id)
        || message.kind != MessageKind::System
            && conversation.kind == ConversationKind::Group
            && participant.role != ParticipantRole::Member
}

/// What a message says and shows.
struct Content {
    body: String,
    attachments: Vec<AttachmentId>,
}

/// A body, or attachments, or both; each attachment counts once.
pub(super) fn check_content(check: &mut Check, body: &mut String, attachments: &mut Vec<AttachmentId>, max: usize) {
    keep_first(attachments);
    check.at_most("attachmentIds", "attachments", attachments.len(), MAX_ATTACHMENTS.into());
    if attachments.is_empty() {
        check.body(body, max);
    } else {
        check.caption(body, max);
        if body.trim().is_empty() {
            body.clear();
        }
    }
}

fn copy(viewer: Viewer, conversation: ConversationId, content: &Content) -> Outgoing {
    let message = NewMessage {
        conversation,
        client_id: None,
        body: content.body.clone(),
        attachments: content.attachments.clone(),
        reply_to: None,
        expires_in: None,
        forwarded: true,
    };
    Outgoing { sender: viewer.user, message }
}

/// Each once, in the order of the first.
fn keep_first<T: Copy + Eq + std::hash::Hash>(items: &mut Vec<T>) {
    let mut seen = std::collections::HashSet::new();
    items.retain(|item| seen.insert(*item));
}
