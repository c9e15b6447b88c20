//! Call participants: devices that are or were in a call, or declined it, and when each device was last seen.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double, Integer, Nullable, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::calls;
use crate::ids::{CallId, CallParticipantId, ConversationId, SessionId, UserId};
use crate::store::Connection;
use crate::store::schema::call_participants;

#[derive(Clone, Debug, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = call_participants, check_for_backend(diesel::pg::Pg))]
pub struct CallParticipant {
    pub id: CallParticipantId,
    pub call_id: CallId,
    /// The user of the device. The user's account might have been deleted since.
    pub user_id: UserId,
    pub session_id: SessionId,
    pub joined_at: DateTime<Utc>,
    /// When the device left the call. None while the device is in the call. Equal to `joined_at` if the device declined
    /// the call.
    pub left_at: Option<DateTime<Utc>>,
    /// When a node last saw a connection of the device.
    pub seen_at: DateTime<Utc>,
    /// State of the rate limit of the device's signals: the time at which the signals sent so far would be sent at
    /// exactly the allowed rate.
    pub signals_until: DateTime<Utc>,
}

/// Inserts the participant. Returns false and inserts nothing if the user is already in a call.
pub async fn insert(conn: &mut Connection, row: &CallParticipant) -> QueryResult<bool> {
    let inserted =
        diesel::insert_into(call_participants::table).values(row).on_conflict_do_nothing().execute(conn).await?;
    Ok(inserted == 1)
}

pub async fn by_ids(conn: &mut Connection, ids: &[CallParticipantId]) -> QueryResult<Vec<CallParticipant>> {
    call_participants::table
        .filter(call_participants::id.eq_any(ids))
        .select(CallParticipant::as_select())
        .load(conn)
        .await
}

/// Reads the participants who are in these calls now, in the order in which they joined.
pub async fn present(conn: &mut Connection, ids: &[CallId]) -> QueryResult<Vec<CallParticipant>> {
    call_participants::table
        .filter(call_participants::call_id.eq_any(ids).and(call_participants::left_at.is_null()))
        .order((call_participants::joined_at, call_participants::id))
        .select(CallParticipant::as_select())
        .load(conn)
        .await
}

/// Returns the users in `users` who are in a call now.
pub async fn busy(conn: &mut Connection, users: &[UserId]) -> QueryResult<Vec<UserId>> {
    call_participants::table
        .filter(call_participants::user_id.eq_any(users).and(call_participants::left_at.is_null()))
        .select(call_participants::user_id)
        .load(conn)
        .await
}

/// Whether the device is or was in the call. A device that declined the call was not in the call.
pub async fn was_in(conn: &mut Connection, call: CallId, session: SessionId) -> QueryResult<bool> {
    let rows = call_participants::table
        .filter(call_participants::call_id.eq(call).and(call_participants::session_id.eq(session)))
        .filter(call_participants::left_at.is_distinct_from(call_participants::joined_at.nullable()));
    diesel::select(diesel::dsl::exists(rows)).get_result(conn).await
}

/// Returns the time until the user may join another call, if `limit` joins are allowed in each `window`. Returns None
/// if the user may join a call now. Declined calls do not count.
pub async fn next_join(
    conn: &mut Connection,
    user: UserId,
    limit: i64,
    window: Duration,
) -> QueryResult<Option<Duration>> {
    let times = "SELECT joined_at AS at FROM call_participants
                 WHERE user_id = $1 AND left_at IS DISTINCT FROM joined_at";
    calls::next_after(conn, times, user, limit, window).await
}

/// Deletes at most `limit` participants of deleted accounts who left their call more than `days` days ago. Returns the
/// number of deleted participants. `days` is the retention of the log, whose events refer to these rows.
pub async fn delete_orphans(conn: &mut Connection, days: i32, limit: usize) -> QueryResult<usize> {
    diesel::sql_query(
        "DELETE FROM call_participants WHERE id = ANY(ARRAY(
             SELECT id FROM call_participants WHERE left_at < now() - $1 * interval '24 hours'
             AND NOT EXISTS (SELECT FROM users WHERE users.id = user_id) LIMIT $2
         ))",
    )
    .bind::<Integer, _>(days)
    .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
    .execute(conn)
    .await
}

/// Records that the participants left the call.
pub async fn leave(conn: &mut Connection, ids: &[CallParticipantId], at: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(call_participants::table.filter(call_participants::id.eq_any(ids)))
        .set(call_participants::left_at.eq(at))
        .execute(conn)
        .await
        .map(drop)
}

pub async fn set_signals_until(conn: &mut Connection, id: CallParticipantId, until: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(call_participants::table.find(id))
        .set(call_participants::signals_until.eq(until))
        .execute(conn)
        .await
        .map(drop)
}

/// Reads the sessions of all devices that are in a call now.
pub async fn sessions(conn: &mut Connection) -> QueryResult<Vec<SessionId>> {
    call_participants::table
        .filter(call_participants::left_at.is_null())
        .select(call_participants::session_id)
        .load(conn)
        .await
}

/// Sets `seen_at` to the current time for devices that have a connection, if `seen_at` is older than `seconds`. Skips
/// rows that another transaction has locked, so that the update never waits.
pub async fn mark_seen(conn: &mut Connection, sessions: &[SessionId], seconds: f64) -> QueryResult<()> {
    diesel::sql_query(
        "UPDATE call_participants SET seen_at = clock_timestamp() WHERE id IN (
             SELECT id FROM call_participants WHERE left_at IS NULL AND session_id = ANY($1)
                 AND seen_at < now() - $2 * interval '1 second'
             FOR NO KEY UPDATE SKIP LOCKED
         )",
    )
    .bind::<Array<SqlUuid>, _>(sessions)
    .bind::<Double, _>(seconds)
    .execute(conn)
    .await
    .map(drop)
}

/// A participant whose device disappeared without leaving the call.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct Lost {
    #[diesel(sql_type = SqlUuid)]
    pub conversation_id: ConversationId,
    #[diesel(sql_type = SqlUuid)]
    pub id: CallParticipantId,
    /// Whether the session was revoked or deleted, for example by a logout.
    #[diesel(sql_type = diesel::sql_types::Bool)]
    pub signed_out: bool,
}

/// Reads at most `limit` participants in calls whose device was not seen for `seconds`, or whose session was revoked or
/// deleted. If `seconds` is None, reads only participants whose session was revoked or deleted.
pub async fn lost(conn: &mut Connection, seconds: Option<f64>, limit: i64) -> QueryResult<Vec<Lost>> {
    diesel::sql_query(
        "SELECT calls.conversation_id, present.id, live.id IS NULL AS signed_out
         FROM call_participants AS present
         JOIN calls ON calls.id = present.call_id
         LEFT JOIN sessions AS live ON live.id = present.session_id AND live.revoked_at IS NULL
         WHERE present.left_at IS NULL
             AND (present.seen_at < now() - $1 * interval '1 second' OR live.id IS NULL)
         ORDER BY present.seen_at
         LIMIT $2",
    )
    .bind::<Nullable<Double>, _>(seconds)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}
