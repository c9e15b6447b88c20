//! Export of a user's own data as one JSON document. The data is read and written page by page.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use serde_json::{Value, json};

use super::users::by_id_or_username;
use crate::domain::files::objects::Object;
use crate::error::Error as Internal;
use crate::ids::{AttachmentId, MessageId, UserId};
use crate::store::Connection;
use crate::store::conversations::conversations::Conversation;
use crate::store::conversations::participants::Participant;
use crate::store::export::{self, Snapshot};
use crate::store::files::attachments::{Attachment, AttachmentState};
use crate::store::messaging::messages::Message;
use crate::store::messaging::scheduled_messages::ScheduledMessage;
use crate::store::people::identities::Identity;
use crate::store::people::passkeys::Passkey;
use crate::store::people::sessions::Session;
use crate::store::people::users::User;
use crate::store::people::{recovery_codes, totp_factors};
use crate::store::push::settings::{self, NotificationSettings};
use crate::store::push::subscriptions::PushSubscription;

/// Maximum number of rows that one query reads.
const PAGE_SIZE: i64 = 1000;

/// The reason why an export failed. A part of the archive might have been written.
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

/// Writes the data that the user has entered and sent: profile, sessions, second factors without their secrets,
/// identities, notification settings, push subscriptions without their keys, memberships, the user's own messages and
/// reactions, contacts and blocks, and the names and S3 keys of the user's files. All data comes from one snapshot of
/// the database. At most one page of rows is in memory. `user` is an id or a username.
pub async fn export(url: &str, user: &str, now: DateTime<Utc>, out: &mut impl Write) -> Result<(), ExportError> {
    let mut snapshot = Snapshot::open(url).await?;
    let unknown = || ExportError::Unknown(user.to_owned());
    let row = by_id_or_username(snapshot.conn(), user).await?.ok_or_else(unknown)?;
    write!(out, "{{\n\"format\": \"parlance-export-1\",\n\"exportedAt\": {},\n", json!(now))?;
    write!(out, "\"user\": {}", profile(&row))?;
    let totp = totp(snapshot.conn(), row.id).await?;
    write!(out, ",\n\"totp\": {totp}")?;
    let notifications = notification_settings(&settings::find(snapshot.conn(), row.id).await?);
    write!(out, ",\n\"notificationSettings\": {notifications}")?;
    let mut archive = Archive { snapshot, user: row.id, out };
    archive.list("sessions", export::sessions, |row| row.id, session).await?;
    archive.list("passkeys", export::passkeys, |row| row.id, passkey).await?;
    archive.list("identities", export::identities, |row| row.id, identity).await?;
    archive.list("pushSubscriptions", export::push_subscriptions, |row| row.id, push_subscription).await?;
    archive.list("memberships", export::memberships, |(_, conversation)| conversation.id, membership).await?;
    archive.list("messages", export::messages, |(row, _)| row.id, message).await?;
    archive.list("contacts", export::contacts, |(other, _)| *other, other).await?;
    archive.list("contactRequests", export::contact_requests, |(other, _)| *other, other).await?;
    archive.list("blockedUsers", export::blocked, |(other, _)| *other, other).await?;
    archive.list("reactions", export::reactions, Clone::clone, reaction).await?;
    archive.list("scheduledMessages", export::scheduled_messages, |(row, _)| row.id, scheduled_message).await?;
    archive.list("attachments", export::attachments, |row| row.id, attachment).await?;
    out.write_all(b"\n}\n")?;
    Ok(out.flush()?)
}

fn profile(user: &User) -> Value {
    json!({
        "id": user.id.to_string(),
        "username": user.username,
        "displayName": user.display_name,
        "about": user.about,
        "email": user.email,
        "emailVerifiedAt": user.email_verified_at,
        "phone": user.phone,
        "phoneVerifiedAt": user.phone_verified_at,
        "hasPassword": user.password_hash.is_some(),
        "isGuest": user.is_guest,
        "language": user.language,
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

fn session(row: &Session) -> Value {
    json!({
        "id": row.id.to_string(),
        "deviceName": row.device_name,
        "ipAddress": row.ip_address,
        "createdAt": row.created_at,
        "lastUsedAt": row.last_used_at,
        "expiresAt": row.expires_at,
        "revokedAt": row.revoked_at,
        "confirmedAt": row.confirmed_at,
        "issuer": row.issuer,
        "issuerSubject": row.issuer_subject,
        "issuerSession": row.issuer_session,
    })
}

fn identity(row: &Identity) -> Value {
    json!({
        "id": row.id.to_string(),
        "issuer": row.issuer,
        "subject": row.subject,
        "createdAt": row.created_at,
        "lastUsedAt": row.last_used_at,
    })
}

/// Formats the authenticator app, without its secret. Null if none is in use.
async fn totp(conn: &mut Connection, user: UserId) -> QueryResult<Value> {
    let confirmed_at = totp_factors::find(conn, user).await?.and_then(|factor| factor.confirmed_at);
    let left = recovery_codes::unused(conn, user).await?;
    Ok(confirmed_at.map_or(Value::Null, |at| json!({ "confirmedAt": at, "recoveryCodesLeft": left })))
}

fn passkey(row: &Passkey) -> Value {
    json!({
        "id": row.id.to_string(),
        "name": row.name,
        "backedUp": row.backed_up,
        "createdAt": row.created_at,
        "lastUsedAt": row.last_used_at,
    })
}

fn notification_settings(row: &NotificationSettings) -> Value {
    let quiet_hours = row
        .quiet_from
        .zip(row.quiet_to)
        .map(|(from, to)| json!({ "fromMinute": from, "toMinute": to, "timeZone": row.time_zone }));
    json!({ "content": row.content.as_str(), "quietHours": quiet_hours, "emailDigests": row.email_digests })
}

/// Formats a push subscription without its keys. The address shows which service the device uses.
fn push_subscription(row: &PushSubscription) -> Value {
    json!({
        "id": row.id.to_string(),
        "sessionId": row.session_id.to_string(),
        "transport": row.transport.as_str(),
        "address": row.address,
        "createdAt": row.created_at,
        "lastDeliveredAt": row.last_delivered_at,
    })
}

fn membership((row, conversation): &(Participant, Conversation)) -> Value {
    json!({
        "conversationId": conversation.id.to_string(),
        "kind": conversation.kind.as_str(),
        "title": conversation.title,
        "role": row.role.as_str(),
        "joinedAt": row.joined_at,
        "archived": row.archived,
        "pinned": row.pinned,
        "mutedUntil": row.muted_until,
        "notificationLevel": row.notification_level.as_str(),
        "lastDeliveredNumber": row.last_delivered_number,
        "lastReadNumber": row.last_read_number,
    })
}

fn message((row, attachments): &(Message, Vec<AttachmentId>)) -> Value {
    json!({
        "id": row.id.to_string(),
        "conversationId": row.conversation_id.to_string(),
        "number": row.number,
        "kind": row.kind.as_str(),
        "body": row.body,
        "attachmentIds": texts(attachments),
        "clientId": row.client_id,
        "replyToId": row.reply_to_id.map(|id| id.to_string()),
        "forwarded": row.forwarded,
        "createdAt": row.created_at,
        "editedAt": row.edited_at,
        "deletedAt": row.deleted_at,
        "expiresAt": row.expires_at,
    })
}

/// Formats another user, and the time since which this user is a contact, is blocked, or has a request.
fn other((user, since): &(UserId, DateTime<Utc>)) -> Value {
    json!({ "userId": user.to_string(), "since": since })
}

fn reaction((message, emoji): &(MessageId, String)) -> Value {
    json!({ "messageId": message.to_string(), "emoji": emoji })
}

fn scheduled_message((row, attachments): &(ScheduledMessage, Vec<AttachmentId>)) -> Value {
    json!({
        "id": row.id.to_string(),
        "conversationId": row.conversation_id.to_string(),
        "body": row.body,
        "attachmentIds": texts(attachments),
        "sendAt": row.send_at,
        "createdAt": row.created_at,
    })
}

fn attachment(row: &Attachment) -> Value {
    json!({
        "id": row.id.to_string(),
        "state": row.state.as_str(),
        "fileName": row.file_name,
        "contentType": row.content_type,
        "byteSize": row.byte_size,
        "createdAt": row.created_at,
        "key": (row.state == AttachmentState::Ready).then(|| Object::Original.key(row.id)),
    })
}

fn texts(ids: &[AttachmentId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// The export document that is being written.
struct Archive<'a, W> {
    snapshot: Snapshot,
    user: UserId,
    out: &'a mut W,
}

impl<W: Write> Archive<'_, W> {
    /// Writes a member of the JSON object whose value is a list, with one item per line. `page` reads at most the given
    /// number of the user's rows after a key.
    async fn list<T, K>(
        &mut self,
        name: &str,
        page: impl AsyncFn(&mut Connection, UserId, Option<K>, i64) -> QueryResult<Vec<T>>,
        key: impl Fn(&T) -> K,
        item: impl Fn(&T) -> Value,
    ) -> Result<(), ExportError> {
        write!(self.out, ",\n\"{name}\": [")?;
        let mut separator = "\n";
        let mut after = None;
        loop {
            let rows = page(self.snapshot.conn(), self.user, after, PAGE_SIZE).await?;
            let Some(last) = rows.last() else { return Ok(self.out.write_all(b"\n]")?) };
            for row in &rows {
                write!(self.out, "{separator}{}", item(row))?;
                separator = ",\n";
            }
            after = Some(key(last));
        }
    }
}
