//! Queries of the rows that belong to one user, page by page, for an archive of the user's data.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};

use super::conversations::conversations::Conversation;
use super::conversations::participants::Participant;
use super::files::attachment_uses;
use super::files::attachments::Attachment;
use super::messaging::messages::Message;
use super::messaging::scheduled_messages::ScheduledMessage;
use super::people::identities::Identity;
use super::people::passkeys::Passkey;
use super::people::sessions::Session;
use super::push::subscriptions::PushSubscription;
use super::schema::{
    attachments, blocks, contact_requests, contacts, conversations, identities, message_reactions, messages,
    participants, passkeys, push_subscriptions, scheduled_messages, sessions,
};
use super::{Connection, connect};
use crate::error::Result;
use crate::ids::{
    AttachmentId, ConversationId, IdentityId, MessageId, PasskeyId, PushSubscriptionId, ScheduledMessageId, SessionId,
    UserId,
};

/// A read-only snapshot of the database. Its statements have no timeout, because the creation of an archive can take
/// long.
pub struct Snapshot {
    conn: Connection,
}

impl Snapshot {
    pub async fn open(url: &str) -> Result<Self> {
        let mut conn = connect(url).await?;
        conn.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(Self { conn })
    }

    pub fn conn(&mut self) -> &mut Connection {
        &mut self.conn
    }
}

/// Reads the user's sessions, including ended sessions that are not deleted yet.
pub async fn sessions(
    conn: &mut Connection,
    user: UserId,
    after: Option<SessionId>,
    limit: i64,
) -> QueryResult<Vec<Session>> {
    let mut query = sessions::table
        .filter(sessions::user_id.eq(user))
        .order(sessions::id)
        .limit(limit)
        .select(Session::as_select())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(sessions::id.gt(after));
    }
    query.load(conn).await
}

/// Reads the user's passkeys.
pub async fn passkeys(
    conn: &mut Connection,
    user: UserId,
    after: Option<PasskeyId>,
    limit: i64,
) -> QueryResult<Vec<Passkey>> {
    let mut query = passkeys::table
        .filter(passkeys::user_id.eq(user))
        .order(passkeys::id)
        .limit(limit)
        .select(Passkey::as_select())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(passkeys::id.gt(after));
    }
    query.load(conn).await
}

/// Reads the user's identities at issuers.
pub async fn identities(
    conn: &mut Connection,
    user: UserId,
    after: Option<IdentityId>,
    limit: i64,
) -> QueryResult<Vec<Identity>> {
    let mut query = identities::table
        .filter(identities::user_id.eq(user))
        .order(identities::id)
        .limit(limit)
        .select(Identity::as_select())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(identities::id.gt(after));
    }
    query.load(conn).await
}

/// Reads the user's push subscriptions, including those of ended sessions that are not deleted yet.
pub async fn push_subscriptions(
    conn: &mut Connection,
    user: UserId,
    after: Option<PushSubscriptionId>,
    limit: i64,
) -> QueryResult<Vec<PushSubscription>> {
    let mut query = push_subscriptions::table
        .filter(push_subscriptions::user_id.eq(user))
        .order(push_subscriptions::id)
        .limit(limit)
        .select(PushSubscription::as_select())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(push_subscriptions::id.gt(after));
    }
    query.load(conn).await
}

pub async fn memberships(
    conn: &mut Connection,
    user: UserId,
    after: Option<ConversationId>,
    limit: i64,
) -> QueryResult<Vec<(Participant, Conversation)>> {
    let mut query = participants::table
        .inner_join(conversations::table)
        .filter(participants::user_id.eq(user))
        .order(participants::conversation_id)
        .limit(limit)
        .select((Participant::as_select(), Conversation::as_select()))
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(participants::conversation_id.gt(after));
    }
    query.load(conn).await
}

/// Reads the messages that the user has sent, including messages in conversations that the user has left, each with its
/// attachments. No index supports this query: all pages together read every message of the server once.
pub async fn messages(
    conn: &mut Connection,
    user: UserId,
    after: Option<MessageId>,
    limit: i64,
) -> QueryResult<Vec<(Message, Vec<AttachmentId>)>> {
    let mut query = messages::table
        .filter(messages::sender_id.eq(user))
        .order(messages::id)
        .limit(limit)
        .select(Message::as_select())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(messages::id.gt(after));
    }
    let rows: Vec<Message> = query.load(conn).await?;
    let with: Vec<_> = rows.iter().filter(|row| row.has_attachments()).map(|row| row.id).collect();
    let attachments = attachment_uses::ids_of_messages(conn, &with).await?;
    let own = |row: &Message| of(&attachments, &row.id);
    Ok(rows.into_iter().map(|row| (own(&row), row)).map(|(own, row)| (row, own)).collect())
}

/// Reads the user's contacts, each with the time at which the contact was added.
pub async fn contacts(
    conn: &mut Connection,
    user: UserId,
    after: Option<UserId>,
    limit: i64,
) -> QueryResult<Vec<(UserId, DateTime<Utc>)>> {
    let mut query = contacts::table
        .filter(contacts::user_id.eq(user))
        .order(contacts::contact_id)
        .limit(limit)
        .select((contacts::contact_id, contacts::created_at))
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(contacts::contact_id.gt(after));
    }
    query.load(conn).await
}

/// Reads the users whom the user blocks, each with the time of the block.
pub async fn blocked(
    conn: &mut Connection,
    user: UserId,
    after: Option<UserId>,
    limit: i64,
) -> QueryResult<Vec<(UserId, DateTime<Utc>)>> {
    let mut query = blocks::table
        .filter(blocks::blocker_id.eq(user))
        .order(blocks::blocked_id)
        .limit(limit)
        .select((blocks::blocked_id, blocks::created_at))
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(blocks::blocked_id.gt(after));
    }
    query.load(conn).await
}

/// Reads the users to whom the user has sent a contact request that is pending, each with the time of the request.
pub async fn contact_requests(
    conn: &mut Connection,
    user: UserId,
    after: Option<UserId>,
    limit: i64,
) -> QueryResult<Vec<(UserId, DateTime<Utc>)>> {
    let mut query = contact_requests::table
        .filter(contact_requests::from_id.eq(user))
        .order(contact_requests::to_id)
        .limit(limit)
        .select((contact_requests::to_id, contact_requests::created_at))
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(contact_requests::to_id.gt(after));
    }
    query.load(conn).await
}

pub async fn reactions(
    conn: &mut Connection,
    user: UserId,
    after: Option<(MessageId, String)>,
    limit: i64,
) -> QueryResult<Vec<(MessageId, String)>> {
    let mut query = message_reactions::table
        .filter(message_reactions::user_id.eq(user))
        .order((message_reactions::message_id, message_reactions::emoji))
        .limit(limit)
        .select((message_reactions::message_id, message_reactions::emoji))
        .into_boxed();
    if let Some((message, emoji)) = after {
        let later = message_reactions::message_id.eq(message).and(message_reactions::emoji.gt(emoji));
        query = query.filter(message_reactions::message_id.gt(message).or(later));
    }
    query.load(conn).await
}

pub async fn scheduled_messages(
    conn: &mut Connection,
    user: UserId,
    after: Option<ScheduledMessageId>,
    limit: i64,
) -> QueryResult<Vec<(ScheduledMessage, Vec<AttachmentId>)>> {
    let mut query = scheduled_messages::table
        .filter(scheduled_messages::sender_id.eq(user))
        .order(scheduled_messages::id)
        .limit(limit)
        .select(ScheduledMessage::as_select())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(scheduled_messages::id.gt(after));
    }
    let rows: Vec<ScheduledMessage> = query.load(conn).await?;
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let attachments = attachment_uses::ids_of_scheduled(conn, &ids).await?;
    Ok(rows.into_iter().zip(ids).map(|(row, id)| (row, of(&attachments, &id))).collect())
}

/// Returns the attachments of the message with this id, in their order.
fn of<Id: PartialEq>(attachments: &[(Id, AttachmentId)], id: &Id) -> Vec<AttachmentId> {
    attachments.iter().filter(|(other, _)| other == id).map(|(_, attachment)| *attachment).collect()
}

/// Reads the user's attachments, including uploads that are not complete. Leaves out attachments that are being
/// deleted.
pub async fn attachments(
    conn: &mut Connection,
    user: UserId,
    after: Option<AttachmentId>,
    limit: i64,
) -> QueryResult<Vec<Attachment>> {
    let mut query = attachments::table
        .filter(attachments::uploader_id.eq(user).and(attachments::going_until.is_null()))
        .order(attachments::id)
        .limit(limit)
        .select(Attachment::as_select())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(attachments::id.gt(after));
    }
    query.load(conn).await
}
