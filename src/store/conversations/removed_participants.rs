//! Removals: users whom another participant removed from a group, until they are participants again.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::invites::Invite;
use crate::ids::{ConversationId, UserId};
use crate::store::Connection;
use crate::store::people::users::User;
use crate::store::schema::removed_participants;

#[derive(Clone, Copy, Debug, Queryable, Selectable)]
#[diesel(table_name = removed_participants, check_for_backend(diesel::pg::Pg))]
pub struct Removed {
    pub removed_at: DateTime<Utc>,
    /// Whether the user is banned, so that the user cannot join with any invite.
    pub banned: bool,
}

impl Removed {
    /// Whether the user may join with this invite: the user is not banned, and the invite was created after the
    /// removal.
    pub fn may_use(&self, invite: &Invite) -> bool {
        !self.banned && invite.created_at > self.removed_at
    }
}

/// A user who is banned from a conversation.
#[derive(Clone, Debug, QueryableByName)]
pub struct Banned {
    #[diesel(sql_type = SqlUuid)]
    pub conversation_id: ConversationId,
    #[diesel(sql_type = Timestamptz)]
    pub removed_at: DateTime<Utc>,
    #[diesel(embed)]
    pub user: User,
}

/// Records that the user was removed. The conversation must be locked. The stored `removed_at` is never before the
/// creation of an existing invite, even if the clock of the node that created the invite is ahead.
pub async fn insert(
    conn: &mut Connection,
    conversation: ConversationId,
    user: UserId,
    now: DateTime<Utc>,
    banned: bool,
) -> QueryResult<()> {
    diesel::sql_query(
        "INSERT INTO removed_participants (conversation_id, user_id, removed_at, banned)
         VALUES ($1, $2, greatest($3, (SELECT max(created_at) FROM invites WHERE conversation_id = $1)), $4)
         ON CONFLICT (conversation_id, user_id)
         DO UPDATE SET removed_at = excluded.removed_at, banned = excluded.banned",
    )
    .bind::<SqlUuid, _>(conversation)
    .bind::<SqlUuid, _>(user)
    .bind::<Timestamptz, _>(now)
    .bind::<Bool, _>(banned)
    .execute(conn)
    .await
    .map(drop)
}

/// Reads the user's removal. Returns None if the user was not removed, or has been a participant since.
pub async fn of_user(
    conn: &mut Connection,
    conversation: ConversationId,
    user: UserId,
) -> QueryResult<Option<Removed>> {
    removed_participants::table.find((conversation, user)).select(Removed::as_select()).first(conn).await.optional()
}

/// Deletes the removals of users who are participants again.
pub async fn forget(conn: &mut Connection, conversation: ConversationId, users: &[UserId]) -> QueryResult<()> {
    let rows = removed_participants::conversation_id.eq(conversation).and(removed_participants::user_id.eq_any(users));
    diesel::delete(removed_participants::table.filter(rows)).execute(conn).await.map(drop)
}

/// Lifts the user's ban. Returns whether the user was banned. The removal of the user stays recorded.
pub async fn unban(conn: &mut Connection, conversation: ConversationId, user: UserId) -> QueryResult<bool> {
    let row = removed_participants::table.find((conversation, user)).filter(removed_participants::banned);
    diesel::update(row).set(removed_participants::banned.eq(false)).execute(conn).await.map(|lifted| lifted == 1)
}

/// Reads the first `limit` banned users of each conversation after the position `after`, newest ban first.
pub async fn banned_pages(
    conn: &mut Connection,
    conversations: &[ConversationId],
    after: Option<(DateTime<Utc>, UserId)>,
    limit: i64,
) -> QueryResult<Vec<Banned>> {
    diesel::sql_query(
        "SELECT page.conversation_id, page.removed_at, users.* FROM unnest($1) AS wanted (id)
         CROSS JOIN LATERAL (
             SELECT * FROM removed_participants
             WHERE conversation_id = wanted.id AND banned AND ($2 IS NULL OR (removed_at, user_id) < ($2, $3))
             ORDER BY removed_at DESC, user_id DESC
             LIMIT $4
         ) AS page
         JOIN users ON users.id = page.user_id
         ORDER BY page.conversation_id, page.removed_at DESC, page.user_id DESC",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Nullable<Timestamptz>, _>(after.map(|(at, _)| at))
    .bind::<Nullable<SqlUuid>, _>(after.map(|(_, id)| id))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}
