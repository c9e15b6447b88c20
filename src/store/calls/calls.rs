//! Calls, and the users for whom each call rings. A transaction that changes a call must lock its conversation first.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Double, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{CallId, ConversationId, MessageId, SessionId, UserId};
use crate::store::schema::{call_participants, call_rings, calls};
use crate::store::{Connection, text_enum};

text_enum!(CallKind { Audio = "AUDIO", Video = "VIDEO" });
text_enum!(CallState { Ringing = "RINGING", Ongoing = "ONGOING", Ended = "ENDED" });
text_enum!(CallEndReason {
    HungUp = "HUNG_UP",
    Declined = "DECLINED",
    Missed = "MISSED",
    Busy = "BUSY",
    Failed = "FAILED",
});

#[derive(Clone, Debug, Queryable, QueryableByName, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = calls, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
pub struct Call {
    pub id: CallId,
    pub conversation_id: ConversationId,
    pub kind: CallKind,
    pub state: CallState,
    pub started_by: UserId,
    pub created_at: DateTime<Utc>,
    /// Time until which the call rings. Users who have not answered by this time have missed the call.
    pub rings_until: DateTime<Utc>,
    pub answered_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub end_reason: Option<CallEndReason>,
    /// The participant from whom the call is hidden, because this participant blocks the caller.
    pub withheld_from: Option<UserId>,
    /// The SYSTEM message that reports the end of the call.
    pub message_id: Option<MessageId>,
}

#[derive(QueryableByName)]
struct Time {
    #[diesel(sql_type = Timestamptz)]
    now: DateTime<Utc>,
}

/// Reads the time from Postgres's clock. Calls use this clock and not the clock of a node, because any node may end a
/// call.
pub async fn now(conn: &mut Connection) -> QueryResult<DateTime<Utc>> {
    let time: Time = diesel::sql_query("SELECT clock_timestamp() AS now").get_result(conn).await?;
    Ok(time.now)
}

pub async fn insert(conn: &mut Connection, call: &Call) -> QueryResult<()> {
    diesel::insert_into(calls::table).values(call).execute(conn).await.map(drop)
}

pub async fn update(conn: &mut Connection, call: &Call) -> QueryResult<()> {
    diesel::update(calls::table.find(call.id)).set(call).execute(conn).await.map(drop)
}

pub async fn by_ids(conn: &mut Connection, ids: &[CallId]) -> QueryResult<Vec<Call>> {
    calls::table.filter(calls::id.eq_any(ids)).select(Call::as_select()).load(conn).await
}

/// Reads the calls whose end these SYSTEM messages report.
pub async fn by_messages(conn: &mut Connection, ids: &[MessageId]) -> QueryResult<Vec<Call>> {
    calls::table.filter(calls::message_id.eq_any(ids)).select(Call::as_select()).load(conn).await
}

/// A call, and a user who may see it.
#[derive(Clone, Debug, QueryableByName)]
pub struct Seen {
    #[diesel(sql_type = SqlUuid)]
    pub viewer_id: UserId,
    #[diesel(embed)]
    pub call: Call,
}

/// Reads the calls that have not ended, for pairs of a user and a conversation. Leaves out calls that are hidden from
/// the user. Does not check whether the user is a participant.
pub async fn live_in(mut conn: &Connection, pairs: &[(UserId, ConversationId)]) -> QueryResult<Vec<Seen>> {
    let (users, conversations): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    diesel::sql_query(
        "SELECT wanted.user_id AS viewer_id, calls.*
         FROM unnest($1, $2) AS wanted (user_id, conversation_id) JOIN calls USING (conversation_id)
         WHERE calls.state <> 'ENDED' AND calls.withheld_from IS DISTINCT FROM wanted.user_id",
    )
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<SqlUuid>, _>(conversations)
    .load(&mut conn)
    .await
}

/// Reads the conversation's call that has not ended, even if the call is hidden from a participant. Returns None if all
/// calls have ended.
pub async fn live_of(conn: &mut Connection, conversation: ConversationId) -> QueryResult<Option<Call>> {
    calls::table
        .filter(calls::conversation_id.eq(conversation).and(calls::state.ne(CallState::Ended)))
        .select(Call::as_select())
        .first(conn)
        .await
        .optional()
}

/// Reads the calls for pairs of a user and a call. Leaves out calls that the user may not see: calls of conversations
/// in which the user is not a participant, calls that ended before the user joined a group that hides its history, and
/// calls that are hidden from the user.
pub async fn visible(mut conn: &Connection, pairs: &[(UserId, CallId)]) -> QueryResult<Vec<Seen>> {
    let (users, ids): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    diesel::sql_query(
        "SELECT wanted.user_id AS viewer_id, calls.*
         FROM unnest($1, $2) AS wanted (user_id, call_id)
         JOIN calls ON calls.id = wanted.call_id
         JOIN participants
             ON participants.conversation_id = calls.conversation_id AND participants.user_id = wanted.user_id
         WHERE (participants.hidden_up_to = 0 OR calls.ended_at IS NULL OR calls.ended_at >= participants.joined_at)
             AND calls.withheld_from IS DISTINCT FROM wanted.user_id",
    )
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<SqlUuid>, _>(ids)
    .load(&mut conn)
    .await
}

/// Reads those of the calls that the user may see, as `visible` defines it.
pub async fn visible_to(conn: &Connection, user: UserId, ids: &[CallId]) -> QueryResult<Vec<Call>> {
    let pairs: Vec<_> = ids.iter().map(|&id| (user, id)).collect();
    Ok(visible(conn, &pairs).await?.into_iter().map(|seen| seen.call).collect())
}

/// Returns the time until the user may start another call, if `limit` starts are allowed in each `window`. Returns None
/// if the user may start a call now.
pub async fn next_start(
    conn: &mut Connection,
    user: UserId,
    limit: i64,
    window: Duration,
) -> QueryResult<Option<Duration>> {
    let times = "SELECT created_at AS at FROM calls WHERE started_by = $1";
    next_after(conn, times, user, limit, window).await
}

/// Returns the time until the user may repeat an action that is allowed `limit` times in each `window`. Returns None if
/// the action is allowed now. `times` is an SQL query that returns, as `at`, the times of the earlier actions of the
/// user $1.
pub(super) async fn next_after(
    conn: &mut Connection,
    times: &str,
    user: UserId,
    limit: i64,
    window: Duration,
) -> QueryResult<Option<Duration>> {
    #[derive(QueryableByName)]
    struct Wait {
        #[diesel(sql_type = Double)]
        seconds: f64,
    }
    let row: Option<Wait> = diesel::sql_query(format!(
        "SELECT EXTRACT(EPOCH FROM at - clock_timestamp())::float8 + $3 AS seconds
         FROM ({times}) AS times ORDER BY at DESC OFFSET $2 LIMIT 1",
    ))
    .bind::<SqlUuid, _>(user)
    .bind::<BigInt, _>(limit - 1)
    .bind::<Double, _>(window.as_secs_f64())
    .get_result(conn)
    .await
    .optional()?;
    let seconds = row.map(|row| row.seconds).filter(|seconds| *seconds > 0.0);
    Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
}

pub async fn insert_rings(conn: &mut Connection, call: CallId, users: &[UserId]) -> QueryResult<()> {
    let rows: Vec<_> = users.iter().map(|&user| (call_rings::call_id.eq(call), call_rings::user_id.eq(user))).collect();
    diesel::insert_into(call_rings::table).values(rows).execute(conn).await.map(drop)
}

/// Stops the ringing for one user. Returns whether the call rang for the user.
pub async fn stop_ringing(conn: &mut Connection, call: CallId, user: UserId) -> QueryResult<bool> {
    Ok(diesel::delete(call_rings::table.find((call, user))).execute(conn).await? == 1)
}

/// Stops the ringing for all users. Returns the users for whom the call rang.
pub async fn stop_all_ringing(conn: &mut Connection, call: CallId) -> QueryResult<Vec<UserId>> {
    diesel::delete(call_rings::table.filter(call_rings::call_id.eq(call)))
        .returning(call_rings::user_id)
        .get_results(conn)
        .await
}

pub async fn rings_for_any_user(conn: &mut Connection, call: CallId) -> QueryResult<bool> {
    diesel::select(exists(call_rings::table.filter(call_rings::call_id.eq(call)))).get_result(conn).await
}

/// Reads the calls that ring for the user now, oldest first.
pub async fn ringing_for(conn: &mut Connection, user: UserId) -> QueryResult<Vec<CallId>> {
    calls::table
        .inner_join(call_rings::table)
        .filter(call_rings::user_id.eq(user))
        .filter(calls::rings_until.gt(diesel::dsl::now))
        .order((calls::created_at, calls::id))
        .select(calls::id)
        .load(conn)
        .await
}

/// Reads the call in which the device is now. Returns None if the device is not in a call.
pub async fn of_session(conn: &mut Connection, session: SessionId) -> QueryResult<Option<CallId>> {
    call_participants::table
        .filter(call_participants::session_id.eq(session).and(call_participants::left_at.is_null()))
        .select(call_participants::call_id)
        .first(conn)
        .await
        .optional()
}

/// Reads the call in which the user is now, with any device. Returns None if the user is not in a call.
pub async fn of_user(conn: &mut Connection, user: UserId) -> QueryResult<Option<Call>> {
    calls::table
        .inner_join(call_participants::table)
        .filter(call_participants::user_id.eq(user).and(call_participants::left_at.is_null()))
        .select(Call::as_select())
        .first(conn)
        .await
        .optional()
}

/// Returns the pairs of a call and a user in `pairs` for which the call still rings.
pub async fn still_ringing(mut conn: &Connection, pairs: &[(CallId, UserId)]) -> QueryResult<Vec<(CallId, UserId)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        call_id: CallId,
        #[diesel(sql_type = SqlUuid)]
        user_id: UserId,
    }
    let (ids, users): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT call_id, user_id FROM call_rings
         JOIN calls ON calls.id = call_id AND rings_until > now()
         WHERE (call_id, user_id) IN (SELECT * FROM unnest($1, $2))",
    )
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Array<SqlUuid>, _>(users)
    .load(&mut conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.call_id, row.user_id)).collect())
}

/// Reads at most `limit` conversations whose calls still ring although `rings_until` has passed.
pub async fn overdue(conn: &mut Connection, limit: i64) -> QueryResult<Vec<ConversationId>> {
    let has_rings = exists(call_rings::table.filter(call_rings::call_id.eq(calls::id)));
    calls::table
        .filter(calls::state.ne(CallState::Ended).and(calls::rings_until.le(diesel::dsl::now)))
        .filter(calls::state.eq(CallState::Ringing).or(has_rings))
        .order(calls::rings_until)
        .limit(limit)
        .select(calls::conversation_id)
        .load(conn)
        .await
}

/// Returns the time until the next `rings_until` of a call that rings: zero if this time has passed, `Duration::MAX` if
/// no call rings. Returns None if all calls have ended.
pub async fn until_next(conn: &mut Connection) -> QueryResult<Option<Duration>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        live: bool,
        #[diesel(sql_type = Nullable<Double>)]
        seconds: Option<f64>,
    }
    let row: Row = diesel::sql_query(
        "SELECT count(*) > 0 AS live,
             EXTRACT(EPOCH FROM min(rings_until) FILTER (
                 WHERE state = 'RINGING' OR EXISTS (SELECT FROM call_rings WHERE call_id = calls.id)
             ) - now())::float8 AS seconds
         FROM calls WHERE state <> 'ENDED'",
    )
    .get_result(conn)
    .await?;
    let wait = row.seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
    Ok(row.live.then(|| wait.unwrap_or(Duration::MAX)))
}
