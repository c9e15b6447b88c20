//! Accounts of guests, which have no way to sign in again.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::UserId;
use crate::store::Connection;

/// Condition of a guest without a live session, a conversation or a contact.
const ABANDONED: &str = "is_guest
    AND NOT EXISTS (
        SELECT FROM sessions WHERE user_id = users.id AND revoked_at IS NULL AND expires_at > now()
    )
    AND NOT EXISTS (SELECT FROM participants WHERE user_id = users.id)
    AND NOT EXISTS (SELECT FROM removed_participants WHERE user_id = users.id)
    AND NOT EXISTS (SELECT FROM contacts WHERE contact_id = users.id)";

#[derive(QueryableByName)]
struct Guest {
    #[diesel(sql_type = SqlUuid)]
    id: UserId,
}

/// Deletes at most `limit` guests whose accounts are at least `days` days old, whose sessions have all ended, and who
/// are in no conversation and no contact of another user. Returns the ids of the deleted guests. The second statement
/// checks again, after the rows are locked.
pub async fn delete_abandoned(conn: &mut Connection, days: i32, limit: usize) -> QueryResult<Vec<UserId>> {
    let select = format!(
        "SELECT id FROM users WHERE created_at <= now() - $1 * interval '24 hours' AND {ABANDONED}
         ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED"
    );
    let locked: Vec<Guest> = diesel::sql_query(select)
        .bind::<Integer, _>(days)
        .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
        .load(conn)
        .await?;
    let ids: Vec<_> = locked.into_iter().map(|guest| guest.id).collect();
    if ids.is_empty() {
        return Ok(ids);
    }
    let delete = format!("DELETE FROM users WHERE id = ANY($1) AND {ABANDONED} RETURNING id");
    let deleted: Vec<Guest> = diesel::sql_query(delete).bind::<Array<SqlUuid>, _>(ids).load(conn).await?;
    Ok(deleted.into_iter().map(|guest| guest.id).collect())
}
