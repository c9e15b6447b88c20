//! A user's own data, as one JSON document that is written while it is read.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use super::files::Object;
use crate::error::Error as Internal;
use crate::ids::{AttachmentId, ConversationId, MessageId, ScheduledMessageId, SessionId, UserId};
use crate::store::attachment_uses;
use crate::store::attachments::AttachmentState;
use crate::store::export::{self, Snapshot};
use crate::store::users::{self, User};

/// Rows read at once.
const PAGE: i64 = 1000;

/// Why there is no archive, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("there is no user {0}")]
    Unknown(String),
    #[error("writing the archive: {0}")]
    Write(#[from] io::Error),
    #[error(transparent)]
    Part(#[from] Internal),
}

impl From<diesel::result::Error> for ExportError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Part(error.into())
    }
}

impl From<serde_json::Error> for ExportError {
    fn from(error: serde_json::Error) -> Self {
        Self::Write(error.into())
    }
}

/// Writes what the user has entered and sent: profile, sessions, memberships, the user's own messages and reactions,
/// contacts and blocks, and the files by their names and their keys in S3. All as of one moment, and never more than a page in memory.
pub async fn export(url: &str, user: &str, now: DateTime<Utc>, out: &mut impl Write) -> Result<(), ExportError> {
    let mut snapshot = Snapshot::open(url).await?;
    let unknown = || ExportError::Unknown(user.to_owned());
    let row = match user.parse::<UserId>() {
        Ok(id) => users::by_id(snapshot.conn(), id).await?,
        Err(_) => users::by_username(snapshot.conn(), &user.trim().to_lowercase()).await?,
    };
    let row = row.ok_or_else(unknown)?;
    write!(out, "{{\n\"format\": \"parlance-export-1\",\n\"exportedAt\": {},\n\"user\": ", json!(now))?;
    serde_json::to_writer(&mut *out, &profile(&row))?;
    write_sessions(&mut snapshot, row.id, out).await?;
    write_memberships(&mut snapshot, row.id, out).await?;
    write_messages(&mut snapshot, row.id, out).await?;
    write_users(&mut snapshot, row.id, "contacts", Users::Contacts, out).await?;
    write_users(&mut snapshot, row.id, "contactRequests", Users::Asked, out).await?;
    write_users(&mut snapshot, row.id, "blockedUsers", Users::Blocked, out).await?;
    write_reactions(&mut snapshot, row.id, out).await?;
    write_scheduled(&mut snapshot, row.id, out).await?;
    write_attachments(&mut snapshot, row.id, out).await?;
    out.write_all(b"\n}\n")?;
    Ok(out.flush()?)
}

fn profile(user: &User) -> impl Serialize {
    json!({
        "id": user.id.to_string(),
        "username": user.username,
        "displayName": user.display_name,
        "about": user.about,
        "email": user.email,
        "phone": user.phone,
        "createdAt": user.created_at,
        "lastSeenAt": user.last_seen_at,
        "avatarId": user.avatar_id.map(|id| id.to_string()),
        "privacy": {
            "lastSeen": user.privacy.last_seen.as_str(),
            "readReceipts": user.privacy.read_receipts,
            "groupAdds": user.privacy.group_adds.as_str(),
            "discoverableByContactPoint": user.privacy.discoverable_by_contact_point.as_str(),
        },
    })
}

async fn write_sessions(snapshot: &mut Snapshot, user: UserId, out: &mut impl Write) -> Result<(), ExportError> {
    let mut list = List::begin("sessions", out)?;
    let mut after: Option<SessionId> = None;
    loop {
        let rows = export::sessions(snapshot.conn(), user, after, PAGE).await?;
        let Some(row) = rows.last() else { return list.end() };
        after = Some(row.id);
        for row in rows {
            list.item(&json!({
                "id": row.id.to_string(),
                "deviceName": row.device_name,
                "ipAddress": row.ip_address,
                "createdAt": row.created_at,
                "lastUsedAt": row.last_used_at,
                "expiresAt": row.expires_at,
                "revokedAt": row.revoked_at,
            }))?;
        }
    }
}

async fn write_memberships(snapshot: &mut Snapshot, user: UserId, out: &mut impl Write) -> Result<(), ExportError> {
    let mut list = List::begin("memberships", out)?;
    let mut after: Option<ConversationId> = None;
    loop {
        let rows = export::memberships(snapshot.conn(), user, after, PAGE).await?;
        let Some((_, conversation)) = rows.last() else { return list.end() };
        after = Some(conversation.id);
        for (row, conversation) in rows {
            list.item(&json!({
                "conversationId": conversation.id.to_string(),
                "kind": conversation.kind.as_str(),
                "title": conversation.title,
                "role": row.role.as_str(),
                "joinedAt": row.joined_at,
                "archived": row.archived,
                "pinned": row.pinned,
                "mutedUntil": row.muted_until,
                "lastDeliveredNumber": row.last_delivered_number,
                "lastReadNumber": row.last_read_number,
            }))?;
        }
    }
}

async fn write_messages(snapshot: &mut Snapshot, user: UserId, out: &mut impl Write) -> Result<(), ExportError> {
    let mut list = List::begin("messages", out)?;
    let mut after: Option<MessageId> = None;
    loop {
        let rows = export::messages(snapshot.conn(), user, after, PAGE).await?;
        let Some(row) = rows.last() else { return list.end() };
        after = Some(row.id);
        let with: Vec<_> = rows.iter().filter(|row| row.has_attachments()).map(|row| row.id).collect();
        let attachments = attachment_uses::ids_of_messages(snapshot.conn(), &with).await?;
        for row in rows {
            list.item(&json!({
                "id": row.id.to_string(),
                "conversationId": row.conversation_id.to_string(),
                "number": row.number,
                "kind": row.kind.as_str(),
                "body": row.body,
                "attachmentIds": ids_of(&attachments, row.id),
                "clientId": row.client_id,
                "replyToId": row.reply_to_id.map(|id| id.to_string()),
                "forwarded": row.forwarded,
                "createdAt": row.created_at,
                "editedAt": row.edited_at,
                "deletedAt": row.deleted_at,
                "expiresAt": row.expires_at,
            }))?;
        }
    }
}

/// A list of other users, with a time for each.
#[derive(Clone, Copy)]
enum Users {
    Contacts,
    /// Asked to be a contact.
    Asked,
    Blocked,
}

async fn write_users(
    snapshot: &mut Snapshot,
    user: UserId,
    name: &str,
    which: Users,
    out: &mut impl Write,
) -> Result<(), ExportError> {
    let mut list = List::begin(name, out)?;
    let mut after: Option<UserId> = None;
    loop {
        let rows = match which {
            Users::Contacts => export::contacts(snapshot.conn(), user, after, PAGE).await?,
            Users::Asked => export::asked(snapshot.conn(), user, after, PAGE).await?,
            Users::Blocked => export::blocked(snapshot.conn(), user, after, PAGE).await?,
        };
        let Some((other, _)) = rows.last() else { return list.end() };
        after = Some(*other);
        for (other, since) in rows {
            list.item(&json!({ "userId": other.to_string(), "since": since }))?;
        }
    }
}

async fn write_reactions(snapshot: &mut Snapshot, user: UserId, out: &mut impl Write) -> Result<(), ExportError> {
    let mut list = List::begin("reactions", out)?;
    let mut after: Option<(MessageId, String)> = None;
    loop {
        let rows = export::reactions(snapshot.conn(), user, after.as_ref(), PAGE).await?;
        for (message, emoji) in &rows {
            list.item(&json!({ "messageId": message.to_string(), "emoji": emoji }))?;
        }
        after = rows.into_iter().next_back();
        if after.is_none() {
            return list.end();
        }
    }
}

async fn write_scheduled(snapshot: &mut Snapshot, user: UserId, out: &mut impl Write) -> Result<(), ExportError> {
    let mut list = List::begin("scheduledMessages", out)?;
    let mut after: Option<ScheduledMessageId> = None;
    loop {
        let rows = export::scheduled_messages(snapshot.conn(), user, after, PAGE).await?;
        let Some(row) = rows.last() else { return list.end() };
        after = Some(row.id);
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let attachments = attachment_uses::ids_of_scheduled(snapshot.conn(), &ids).await?;
        for row in rows {
            list.item(&json!({
                "id": row.id.to_string(),
                "conversationId": row.conversation_id.to_string(),
                "body": row.body,
                "attachmentIds": ids_of(&attachments, row.id),
                "sendAt": row.send_at,
                "createdAt": row.created_at,
            }))?;
        }
    }
}

async fn write_attachments(snapshot: &mut Snapshot, user: UserId, out: &mut impl Write) -> Result<(), ExportError> {
    let mut list = List::begin("attachments", out)?;
    let mut after: Option<AttachmentId> = None;
    loop {
        let rows = export::attachments(snapshot.conn(), user, after, PAGE).await?;
        let Some(row) = rows.last() else { return list.end() };
        after = Some(row.id);
        for row in rows {
            let key = (row.state == AttachmentState::Ready).then(|| Object::Original.key(row.id));
            list.item(&json!({
                "id": row.id.to_string(),
                "state": row.state.as_str(),
                "fileName": row.file_name,
                "contentType": row.content_type,
                "byteSize": row.byte_size,
                "createdAt": row.created_at,
                "key": key,
            }))?;
        }
    }
}

/// Those of a message, in their order.
fn ids_of<Of: PartialEq>(attachments: &[(Of, AttachmentId)], of: Of) -> Vec<String> {
    attachments.iter().filter(|(other, _)| *other == of).map(|(_, id)| id.to_string()).collect()
}

/// A member of the document whose value is a list, an item on each line.
struct List<'a, W> {
    out: &'a mut W,
    empty: bool,
}

impl<'a, W: Write> List<'a, W> {
    fn begin(name: &str, out: &'a mut W) -> Result<Self, ExportError> {
        write!(out, ",\n\"{name}\": [")?;
        Ok(Self { out, empty: true })
    }

    fn item(&mut self, value: &impl Serialize) -> Result<(), ExportError> {
        self.out.write_all(if self.empty { b"\n" } else { b",\n" })?;
        self.empty = false;
        Ok(serde_json::to_writer(&mut *self.out, value)?)
    }

    fn end(self) -> Result<(), ExportError> {
        Ok(self.out.write_all(b"\n]")?)
    }
}
