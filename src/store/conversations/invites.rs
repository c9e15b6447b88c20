//! Invites: codes with which users can join a group.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::participants::ParticipantRole;
use crate::ids::{ConversationId, InviteId, UserId};
use crate::store::Connection;
use crate::store::schema::{invites, participants};

#[derive(Clone, Debug, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = invites, check_for_backend(diesel::pg::Pg))]
pub struct Invite {
    pub id: InviteId,
    pub code: String,
    pub conversation_id: ConversationId,
    pub created_by: Option<UserId>,
    pub created_at: DateTime<Utc>,
    /// When the invite expires. None if the invite does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// Maximum number of uses. None means unlimited.
    pub max_uses: Option<i32>,
    pub uses: i32,
}

impl Invite {
    /// Whether the invite is neither expired nor used up.
    pub fn is_valid(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|at| at > now) && self.max_uses.is_none_or(|max| self.uses < max)
    }
}

pub async fn insert(conn: &mut Connection, invite: &Invite) -> QueryResult<()> {
    diesel::insert_into(invites::table).values(invite).execute(conn).await?;
    Ok(())
}

pub async fn by_code(conn: &mut Connection, code: &str) -> QueryResult<Option<Invite>> {
    invites::table.filter(invites::code.eq(code)).select(Invite::as_select()).first(conn).await.optional()
}

pub async fn by_id(conn: &mut Connection, id: InviteId) -> QueryResult<Option<Invite>> {
    invites::table.find(id).select(Invite::as_select()).first(conn).await.optional()
}

/// Locks the invite until the transaction ends, so that its uses are counted one by one. Returns None if the invite
/// does not exist.
pub async fn lock(conn: &mut Connection, id: InviteId) -> QueryResult<Option<Invite>> {
    invites::table.find(id).select(Invite::as_select()).for_update().first(conn).await.optional()
}

/// Reads the invites with these ids, each with the user's role in its conversation. Leaves out invites to conversations
/// in which the user is not a participant.
pub async fn visible_to(
    conn: &mut Connection,
    user: UserId,
    ids: &[InviteId],
) -> QueryResult<Vec<(Invite, ParticipantRole)>> {
    invites::table
        .inner_join(participants::table.on(participants::conversation_id.eq(invites::conversation_id)))
        .filter(invites::id.eq_any(ids).and(participants::user_id.eq(user)))
        .select((Invite::as_select(), participants::role))
        .load(conn)
        .await
}

/// Reads the first `limit` invites of each conversation after the position `after`, newest first.
pub async fn pages(
    conn: &mut Connection,
    conversations: &[ConversationId],
    after: Option<(DateTime<Utc>, InviteId)>,
    limit: i64,
) -> QueryResult<Vec<Invite>> {
    diesel::sql_query(
        "SELECT page.* FROM unnest($1) AS wanted (id) CROSS JOIN LATERAL (
             SELECT * FROM invites
             WHERE conversation_id = wanted.id AND ($2 IS NULL OR (created_at, id) < ($2, $3))
             ORDER BY created_at DESC, id DESC
             LIMIT $4
         ) AS page
         ORDER BY page.conversation_id, page.created_at DESC, page.id DESC",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Nullable<Timestamptz>, _>(after.map(|(at, _)| at))
    .bind::<Nullable<SqlUuid>, _>(after.map(|(_, id)| id))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Counts one use of the invite, which must be locked.
pub async fn count_use(conn: &mut Connection, id: InviteId) -> QueryResult<()> {
    diesel::update(invites::table.find(id)).set(invites::uses.eq(invites::uses + 1)).execute(conn).await?;
    Ok(())
}

/// Deletes the invite. Returns whether the invite existed.
pub async fn delete(conn: &mut Connection, id: InviteId) -> QueryResult<bool> {
    diesel::delete(invites::table.find(id)).execute(conn).await.map(|deleted| deleted == 1)
}
