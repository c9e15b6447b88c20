//! Digests: the users who have unread messages that were in no digest, and the content of a digest.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::conditions::{self, UNREAD_COUNT};
use super::settings::NotificationContent;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::conversations::conversations::ConversationKind;
use crate::store::messaging::messages::MessageKind;
use crate::store::schema::notification_settings;
use crate::store::{Connection, Prepared};

/// SQL condition: the participant may get digests about the conversation. A statement that uses this condition must
/// name the participant `viewer`, and bind the time to $1.
const COUNTED: &str = "(NOT viewer.archived AND NOT viewer.unannounced
    AND (viewer.muted_until IS NULL OR viewer.muted_until <= $1)
    AND (viewer.notification_level = 'all' OR viewer.notification_level = 'mentions' AND viewer.unread_mentions > 0))";

/// The times that decide whether a user gets a digest.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub now: DateTime<Utc>,
    /// A message that was sent before this time causes a digest.
    pub before: DateTime<Utc>,
    /// A message that was sent before this time is too old to cause a digest.
    pub since: DateTime<Utc>,
    /// A user whose last digest was sent after this time gets none.
    pub paused_since: DateTime<Utc>,
}

/// A user who may get digests.
#[derive(Clone, Debug, QueryableByName)]
pub struct Candidate {
    #[diesel(sql_type = SqlUuid)]
    pub id: UserId,
    #[diesel(sql_type = Text)]
    pub username: String,
    #[diesel(sql_type = Text)]
    pub email: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub language: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub content: Option<NotificationContent>,
    /// Time up to which messages were in a digest. None if the user has got none.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub digested_up_to: Option<DateTime<Utc>>,
    /// Whether an unread message in the window was in no digest.
    #[diesel(sql_type = Bool)]
    pub is_due: bool,
}

/// Reads the first `limit` users after the id `after` who have a verified e-mail address and have not turned digests
/// off.
pub async fn candidates(
    conn: &mut Connection,
    window: Window,
    after: UserId,
    limit: i64,
) -> QueryResult<Vec<Candidate>> {
    let notifies = conditions::notifies("$1");
    let query = diesel::sql_query(format!(
        // Only the newest message that is old enough is read: if it was in a digest, so were all older ones.
        "SELECT page.*, (
             page.digested_up_to IS NULL OR page.digested_up_to <= $4
         ) AND EXISTS (
             SELECT FROM participants AS viewer
             JOIN conversations ON conversations.id = viewer.conversation_id
             CROSS JOIN LATERAL (
                 SELECT created_at FROM messages
                 WHERE conversation_id = viewer.conversation_id AND created_at <= $2
                     AND {notifies}
                 ORDER BY number DESC
                 LIMIT 1
             ) AS newest
             WHERE viewer.user_id = page.id AND {COUNTED} AND {UNREAD_COUNT} > 0
                 AND conversations.last_activity_at > greatest($3, page.digested_up_to)
                 AND newest.created_at > greatest($3, page.digested_up_to)
         ) AS is_due
         FROM (
             SELECT users.id, users.username, users.email, users.language, settings.content, settings.digested_up_to
             FROM users LEFT JOIN notification_settings AS settings ON settings.user_id = users.id
             WHERE users.id > $5 AND users.email_verified_at IS NOT NULL AND users.email IS NOT NULL
                 AND coalesce(settings.email_digests, true)
             ORDER BY users.id
             LIMIT $6
         ) AS page
         ORDER BY page.id",
    ))
    .bind::<Timestamptz, _>(window.now)
    .bind::<Timestamptz, _>(window.before)
    .bind::<Timestamptz, _>(window.since)
    .bind::<Timestamptz, _>(window.paused_since)
    .bind::<SqlUuid, _>(after)
    .bind::<BigInt, _>(limit);
    Prepared(query).load(conn).await
}

/// A conversation in a digest, with its newest unread message.
#[derive(Clone, Debug, QueryableByName)]
pub struct Missed {
    #[diesel(sql_type = SqlUuid)]
    pub user_id: UserId,
    #[diesel(sql_type = SqlUuid)]
    pub conversation_id: ConversationId,
    #[diesel(sql_type = Text)]
    pub conversation_kind: ConversationKind,
    #[diesel(sql_type = Nullable<Text>)]
    pub title: Option<String>,
    /// Number of unread messages of the conversation.
    #[diesel(sql_type = Integer)]
    pub unread: i32,
    /// Number of unread messages of all conversations with unread messages, and number of these conversations.
    #[diesel(sql_type = BigInt)]
    pub all_unread: i64,
    #[diesel(sql_type = BigInt)]
    pub all_conversations: i64,
    #[diesel(sql_type = SqlUuid)]
    pub message_id: MessageId,
    #[diesel(sql_type = Text)]
    pub kind: MessageKind,
    #[diesel(sql_type = Nullable<Text>)]
    pub body: Option<String>,
    /// Display name of the sender. None if the sender's account was deleted.
    #[diesel(sql_type = Nullable<Text>)]
    pub sender: Option<String>,
}

/// Reads for each user the `limit` conversations with unread messages that were active last, the last active one first.
/// Leaves out conversations whose unread messages are all from users whom the user blocks.
pub async fn missed(
    conn: &mut Connection,
    users: &[UserId],
    now: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<Missed>> {
    let notifies = conditions::notifies("$1");
    let query = diesel::sql_query(format!(
        "SELECT wanted.user_id, page.*, sender.display_name AS sender
         FROM unnest($2) AS wanted (user_id)
         CROSS JOIN LATERAL (
             SELECT conversations.id AS conversation_id, conversations.kind AS conversation_kind, conversations.title,
                 {UNREAD_COUNT} AS unread, sum({UNREAD_COUNT}) OVER () AS all_unread,
                 count(*) OVER () AS all_conversations,
                 newest.id AS message_id, newest.kind, newest.body, newest.sender_id, conversations.last_activity_at
             FROM participants AS viewer
             JOIN conversations ON conversations.id = viewer.conversation_id
             CROSS JOIN LATERAL (
                 SELECT id, kind, body, sender_id FROM messages
                 WHERE conversation_id = viewer.conversation_id AND {notifies}
                 ORDER BY number DESC
                 LIMIT 1
             ) AS newest
             WHERE viewer.user_id = wanted.user_id AND {COUNTED} AND {UNREAD_COUNT} > 0
             ORDER BY conversations.last_activity_at DESC, conversations.id DESC
             LIMIT $3
         ) AS page
         LEFT JOIN users AS sender ON sender.id = page.sender_id
         ORDER BY wanted.user_id, page.last_activity_at DESC, page.conversation_id DESC",
    ))
    .bind::<Timestamptz, _>(now)
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<BigInt, _>(limit);
    Prepared(query).load(conn).await
}

/// Records that messages up to `up_to` are in a digest to each of the users, and returns their tokens to unsubscribe.
/// A user without a token gets the one of `new_tokens` at the same place as the user. Leaves out users who have turned
/// digests off in the meantime.
pub async fn mark(
    conn: &mut Connection,
    users: &[UserId],
    new_tokens: &[Vec<u8>],
    up_to: DateTime<Utc>,
) -> QueryResult<Vec<(UserId, Vec<u8>)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        user_id: UserId,
        #[diesel(sql_type = Binary)]
        token: Vec<u8>,
    }
    let rows: Vec<Row> = diesel::sql_query(
        "INSERT INTO notification_settings AS stored (user_id, digested_up_to, unsubscribe_token)
         SELECT users.id, $3, new.token FROM unnest($1, $2) AS new (user_id, token)
         JOIN users ON users.id = new.user_id
         ORDER BY users.id
         ON CONFLICT (user_id) DO UPDATE
         SET digested_up_to = excluded.digested_up_to,
             unsubscribe_token = coalesce(stored.unsubscribe_token, excluded.unsubscribe_token)
         WHERE stored.email_digests
         RETURNING user_id, unsubscribe_token AS token",
    )
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<Binary>, _>(new_tokens)
    .bind::<Timestamptz, _>(up_to)
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.user_id, row.token)).collect())
}

/// Undoes `mark` for users to whom no digest was sent. `before` has the former times.
pub async fn unmark(
    conn: &mut Connection,
    users: &[UserId],
    before: &[Option<DateTime<Utc>>],
    up_to: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::sql_query(
        "UPDATE notification_settings AS stored SET digested_up_to = former.digested_up_to
         FROM unnest($1, $2) AS former (user_id, digested_up_to)
         WHERE stored.user_id = former.user_id AND stored.digested_up_to = $3",
    )
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<Nullable<Timestamptz>>, _>(before)
    .bind::<Timestamptz, _>(up_to)
    .execute(conn)
    .await
    .map(drop)
}

/// Turns off the digests of the user with this token. Returns false if no user has the token.
pub async fn unsubscribe(conn: &mut Connection, token: &[u8]) -> QueryResult<bool> {
    diesel::update(notification_settings::table.filter(notification_settings::unsubscribe_token.eq(token)))
        .set(notification_settings::email_digests.eq(false))
        .execute(conn)
        .await
        .map(|updated| updated > 0)
}
