//! Sends, finds, edits, deletes, hides and forwards messages.

use std::collections::HashSet;
use std::sync::Arc;

use super::batch::{self, Outgoing};
use super::core::MessagingCore;
use super::locked_message::{self, LockedMessage};
use super::mentions;
use super::new_message::NewMessage;
use crate::domain::error::{Error, NO_MESSAGE, Result, Violation};
use crate::domain::files::attachments::MAX_ATTACHMENTS;
use crate::domain::text::is_invisible;
use crate::domain::validate::{Check, NO_BODY};
use crate::domain::viewer::Viewer;
use crate::ids::{AttachmentId, ConversationId, MessageId, UserId};
use crate::limiter::Rate;
use crate::log::Change;
use crate::store::conversations::conversations::{self, ConversationKind};
use crate::store::conversations::participants::{self, ParticipantRole};
use crate::store::files::attachment_uses;
use crate::store::messaging::message_edits::{self, Edit};
use crate::store::messaging::messages::{self, Message, MessageKind, Range, Seen, Visibility};
use crate::store::messaging::{hidden_messages, mentions as store_mentions, unread};
use crate::store::people::users::User;

/// Maximum number of messages that one request forwards.
const MAX_FORWARDED: usize = 100;
/// Maximum number of conversations to which one request forwards messages.
const MAX_FORWARDED_TO: usize = 20;

pub struct Messages<'a> {
    pub(in crate::domain) core: &'a Arc<MessagingCore>,
}

impl Messages<'_> {
    /// Stores the message, ends the typing of the sender, and returns the stored message. If the sender has already used
    /// the clientId in this conversation, stores nothing and returns the earlier message.
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
        if let Err(limited) = self.core.base.check_rate(Rate::Messages, viewer, 1) {
            return self.stored(viewer, &message).await?.ok_or(limited);
        }
        let conversation = message.conversation;
        let sent = self.core.writers.send(Outgoing { sender: viewer.user, message }).await?;
        // Clients show the message instead of the typing, so the typing does not wait for its timeout.
        self.core.live.set_typing(conversation, viewer.user, false);
        Ok(sent)
    }

    /// Returns the message that the viewer has already stored with this clientId in this conversation. `send` uses this
    /// method so that a retry succeeds even if the rate limit is exceeded.
    async fn stored(&self, viewer: Viewer, message: &NewMessage) -> Result<Option<Message>> {
        let Some(client_id) = &message.client_id else { return Ok(None) };
        let connection = self.core.base.connection().await?;
        let found = messages::by_client_ids(&connection, &[(viewer.user, client_id)]).await?;
        Ok(found.into_iter().find(|found| found.conversation_id == message.conversation))
    }

    /// Finds a message by id. Returns None if the message does not exist or is not visible to the viewer.
    pub async fn find(&self, viewer: Viewer, id: MessageId) -> Result<Option<Message>> {
        Ok(self.find_many(viewer, &[id]).await?.pop())
    }

    /// Finds messages by id. Leaves out messages that are not visible to the viewer.
    pub async fn find_many(&self, viewer: Viewer, ids: &[MessageId]) -> Result<Vec<Message>> {
        Ok(messages::visible_to(&*self.core.base.connection().await?, viewer.user, ids).await?)
    }

    /// Reads the messages of pairs (user, message). Leaves out messages that the user of the pair may not see.
    pub async fn visible(&self, pairs: &[(UserId, MessageId)]) -> Result<Vec<Seen>> {
        Ok(messages::visible(&*self.core.base.connection().await?, pairs).await?)
    }

    /// Reads for each pair (user, message) whether the user may see the message. Leaves out pairs whose user is not a
    /// participant of the conversation.
    pub async fn visibilities(&self, pairs: &[(UserId, MessageId)]) -> Result<Vec<Visibility>> {
        Ok(messages::visibilities(&*self.core.base.connection().await?, pairs).await?)
    }

    /// Reads messages by user, conversation and number. Leaves out messages that the user may not see.
    pub async fn by_numbers(&self, wanted: &[(UserId, ConversationId, i32)]) -> Result<Vec<Seen>> {
        Ok(messages::by_numbers(&*self.core.base.connection().await?, wanted).await?)
    }

    /// Reads the same range of messages for each pair (user, conversation). Leaves out messages that the user may not
    /// see.
    pub async fn pages(&self, wanted: &[(UserId, ConversationId)], range: Range) -> Result<Vec<Seen>> {
        Ok(messages::pages(&*self.core.base.connection().await?, wanted, range).await?)
    }

    /// Reads the messages of events, given as pairs (conversation, message). Does not check who may see the messages,
    /// because the log has checked the recipients of the events.
    pub async fn of_events(&self, pairs: &[(ConversationId, MessageId)]) -> Result<Vec<Message>> {
        let ids: Vec<_> = pairs.iter().map(|&(_, id)| id).collect();
        let wanted: HashSet<_> = pairs.iter().copied().collect();
        let mut rows = messages::by_ids(&mut *self.core.base.connection().await?, &ids).await?;
        rows.retain(|row| wanted.contains(&(row.conversation_id, row.id)));
        Ok(rows)
    }

    /// Reads the conversation of each pair (user, message) whose message is hidden from the user. Leaves out the other
    /// pairs.
    pub async fn hidden(&self, pairs: &[(UserId, MessageId)]) -> Result<Vec<(UserId, MessageId, ConversationId)>> {
        Ok(hidden_messages::find(&*self.core.base.connection().await?, pairs).await?)
    }

    /// Reads the users whom each message mentions by username, in the order of their usernames.
    pub async fn mentioned_users(&self, ids: &[MessageId]) -> Result<Vec<(MessageId, User)>> {
        Ok(store_mentions::of_messages(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// Replaces the body of a message. Keeps the former body for the audit: at most `Limits::max_kept_edits` former
    /// bodies per message. The body of a message with attachments may be empty.
    pub async fn edit(&self, viewer: Viewer, id: MessageId, body: String) -> Result<Message> {
        let mut check = Check::default();
        check.caption(&body, self.core.base.limits.max_message_length);
        check.done()?;
        self.core.base.check_rate(Rate::Edits, viewer, 1)?;
        let body = Some(body).filter(|body| !is_invisible(body));
        let base = &self.core.base;
        let log = &base.log;
        log.transaction(async |tx| {
            let mut locked = locked_message::lock(tx, viewer.user, id).await?;
            if locked.message.sender_id != Some(viewer.user) {
                return Err(Error::Forbidden("Only the sender of a message may edit it."));
            }
            locked.refuse_deleted()?;
            match locked.message.kind {
                MessageKind::System => return Err(Error::invalid("messageId", "This message cannot be edited.")),
                MessageKind::Text if body.is_none() => return Err(Error::invalid("body", NO_BODY)),
                _ => {}
            }
            if locked.message.body == body {
                return Ok(locked.message);
            }
            let now = base.now();
            let (revision, before) = (locked.next_revision(), std::mem::replace(&mut locked.message.body, body));
            let edit = Edit { message_id: id, revision, body: before.as_deref(), until: now };
            message_edits::insert(tx.conn(), &edit, base.limits.max_kept_edits).await?;
            locked.message.edited_at = Some(now);
            locked.hide_from_blocker(tx).await?;
            locked.write(tx).await?;
            mentions::refresh(tx.conn(), &locked.message).await?;
            Ok(locked.message)
        })
        .await
    }

    /// Deletes the message for all participants. A tombstone with the same number remains. Changes nothing if the
    /// message is already deleted.
    pub async fn delete(&self, viewer: Viewer, id: MessageId) -> Result<Message> {
        self.core.base.check_rate(Rate::Edits, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let mut locked = locked_message::lock(tx, viewer.user, id).await?;
            if !may_delete(&locked) {
                return Err(Error::Forbidden(
                    "Only the sender of a message, or the group's owner or admins, may delete it for everyone.",
                ));
            }
            if locked.message.deleted_at.is_none() {
                locked.tombstone(tx, self.core.base.now()).await?;
            }
            Ok(locked.message)
        })
        .await
    }

    /// Hides a message from the viewer alone, on all devices of the viewer. Changes nothing if the message is already
    /// hidden.
    pub async fn hide(&self, viewer: Viewer, id: MessageId) -> Result<()> {
        self.core.base.check_rate(Rate::Edits, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let row = messages::numbers(tx.conn(), &[id]).await?.pop();
            let (_, conversation, number) = row.ok_or(NO_MESSAGE)?;
            // The conversation is locked, because the viewer's count of unread messages might change.
            conversations::lock(tx.conn(), conversation).await?.ok_or(NO_MESSAGE)?;
            let participant = participants::of_users(tx.conn(), conversation, &[viewer.user]).await?.pop();
            if participant.ok_or(NO_MESSAGE)?.hidden_up_to >= number {
                return Err(NO_MESSAGE);
            }
            if hidden_messages::hide(tx.conn(), viewer.user, id).await? {
                unread::uncount_for(tx.conn(), viewer.user, id).await?;
                tx.record(Change::MessageRemoved { user: viewer.user, message: id });
            }
            Ok(())
        })
        .await
    }

    /// Sends copies of the messages to each of the conversations, in the given order. The messages must be visible to
    /// the viewer. Stores either all copies or no copy. Ignores duplicate ids.
    pub async fn forward(
        &self,
        viewer: Viewer,
        mut ids: Vec<MessageId>,
        mut to: Vec<ConversationId>,
    ) -> Result<Vec<Message>> {
        remove_duplicates(&mut ids);
        remove_duplicates(&mut to);
        let mut check = Check::default();
        check.count("messageIds", "messages", ids.len(), MAX_FORWARDED);
        check.count("conversationIds", "conversations", to.len(), MAX_FORWARDED_TO);
        check.done()?;
        self.core.base.check_rate(Rate::Forwards, viewer, ids.len() * to.len())?;
        let contents = self.contents(viewer, &ids).await?;
        let copies: Vec<_> = to
            .iter()
            .flat_map(|&conversation| contents.iter().map(move |content| copy(viewer, conversation, content)))
            .collect();
        let base = &self.core.base;
        let sent = base.log.transaction(async |tx| {
            let results = batch::store(tx, &copies, &[], base.clock, &base.random).await?;
            results.sends.into_iter().collect::<Result<Vec<_>>>()
        });
        let sent = sent.await?;
        base.metrics.messages_stored(sent.len());
        Ok(sent)
    }

    /// Reads the contents of the messages to forward. Returns an error if a message is not visible to the viewer, or
    /// has no content.
    async fn contents(&self, viewer: Viewer, ids: &[MessageId]) -> Result<Vec<Content>> {
        let found = self.find_many(viewer, ids).await?;
        let with: Vec<_> = found.iter().filter(|row| row.has_attachments()).map(|row| row.id).collect();
        let attachments = attachment_uses::ids_of_messages(&mut *self.core.base.connection().await?, &with).await?;
        let mut violations = Vec::new();
        let mut contents = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            let message = found.iter().find(|message| message.id == *id).ok_or(NO_MESSAGE)?;
            let own = attachments.iter().filter(|(of, _)| of == id);
            let content = Content {
                body: message.body.clone().unwrap_or_default(),
                attachments: own.map(|(_, attachment)| *attachment).collect(),
            };
            if content.body.is_empty() && content.attachments.is_empty() {
                violations
                    .push(Violation::new(format!("messageIds.{index}"), "This message has no content to forward."));
            }
            contents.push(content);
        }
        if violations.is_empty() { Ok(contents) } else { Err(Error::Invalid(violations)) }
    }
}

/// Returns whether the participant may delete the message for all participants. The sender may, and in a group its
/// owner and admins may. No user may delete a SYSTEM message.
fn may_delete(locked: &LockedMessage) -> bool {
    let LockedMessage { message, conversation, participant } = locked;
    message.sender_id == Some(participant.user_id)
        || message.kind != MessageKind::System
            && conversation.kind == ConversationKind::Group
            && participant.role != ParticipantRole::Member
}

/// The content of a message to forward.
struct Content {
    body: String,
    attachments: Vec<AttachmentId>,
}

/// Checks that a message has a body, attachments or both. Removes duplicate attachments.
pub(super) fn check_content(check: &mut Check, body: &mut String, attachments: &mut Vec<AttachmentId>, max: usize) {
    remove_duplicates(attachments);
    check.at_most("attachmentIds", "attachments", attachments.len(), MAX_ATTACHMENTS.into());
    if attachments.is_empty() {
        check.body(body, max);
    } else {
        check.caption(body, max);
        if is_invisible(body) {
            body.clear();
        }
    }
}

fn copy(viewer: Viewer, conversation: ConversationId, content: &Content) -> Outgoing {
    let message = NewMessage {
        forwarded: true,
        ..NewMessage::with_content(conversation, content.body.clone(), content.attachments.clone())
    };
    Outgoing { sender: viewer.user, message }
}

/// Removes duplicates. Keeps the first of several equal items.
fn remove_duplicates<T: Copy + Eq + std::hash::Hash>(items: &mut Vec<T>) {
    let mut seen = std::collections::HashSet::new();
    items.retain(|item| seen.insert(*item));
}
