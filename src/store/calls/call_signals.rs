//! Signals that one device in a call has sent to another device, and that wait to be delivered.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{CallId, CallParticipantId, SessionId};
use crate::store::schema::call_signals;
use crate::store::{Connection, text_enum};

text_enum!(SdpType { Offer = "OFFER", Answer = "ANSWER", Pranswer = "PRANSWER", Rollback = "ROLLBACK" });

/// The content of a signal: either a session description or an ICE candidate.
#[derive(Clone, Debug, Default, Insertable, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = call_signals, check_for_backend(diesel::pg::Pg))]
pub struct Content {
    pub sdp_type: Option<SdpType>,
    pub sdp: Option<String>,
    pub candidate: Option<String>,
    pub sdp_mid: Option<String>,
    pub sdp_m_line_index: Option<i32>,
    pub username_fragment: Option<String>,
}

/// A signal that waits to be delivered, and its sender.
#[derive(Clone, Debug, QueryableByName)]
pub struct Pending {
    #[diesel(sql_type = BigInt)]
    pub seq: i64,
    #[diesel(sql_type = SqlUuid)]
    pub call_id: CallId,
    #[diesel(sql_type = SqlUuid)]
    pub from_id: CallParticipantId,
    #[diesel(embed)]
    pub content: Content,
}

impl Content {
    /// Returns the size in bytes of the session description or the ICE candidate. `Waiting::bytes` is the sum of these
    /// sizes.
    pub fn bytes(&self) -> usize {
        self.sdp.as_ref().or(self.candidate.as_ref()).map_or(0, String::len)
    }
}

pub async fn insert(
    conn: &mut Connection,
    from: CallParticipantId,
    to: CallParticipantId,
    content: &Content,
    at: DateTime<Utc>,
) -> QueryResult<()> {
    let columns = (call_signals::from_id.eq(from), call_signals::to_id.eq(to), call_signals::created_at.eq(at));
    diesel::insert_into(call_signals::table).values((content, columns)).execute(conn).await.map(drop)
}

/// The signals that wait for a participant: their number, and the bytes of their descriptions and candidates.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct Waiting {
    #[diesel(sql_type = BigInt)]
    pub count: i64,
    #[diesel(sql_type = BigInt)]
    pub bytes: i64,
}

pub async fn waiting(conn: &mut Connection, to: CallParticipantId) -> QueryResult<Waiting> {
    diesel::sql_query(
        "SELECT count(*) AS count, coalesce(sum(octet_length(coalesce(sdp, candidate))), 0) AS bytes
         FROM call_signals WHERE to_id = $1",
    )
    .bind::<SqlUuid, _>(to)
    .get_result(conn)
    .await
}

/// Reads the first `limit` signals that wait for the device and whose seq is higher than `after`, in the order in which
/// they were sent. Leaves out signals older than `seconds`.
pub async fn pending(
    conn: &mut Connection,
    session: SessionId,
    after: i64,
    seconds: f64,
    limit: i64,
) -> QueryResult<Vec<Pending>> {
    diesel::sql_query(
        "SELECT signal.*, receiver.call_id
         FROM call_participants AS receiver
         JOIN call_signals AS signal ON signal.to_id = receiver.id
         WHERE receiver.session_id = $1 AND receiver.left_at IS NULL
             AND signal.seq > $2 AND signal.created_at > now() - $3 * interval '1 second'
         ORDER BY signal.seq
         LIMIT $4",
    )
    .bind::<SqlUuid, _>(session)
    .bind::<BigInt, _>(after)
    .bind::<Double, _>(seconds)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Deletes the signals for the device up to and including `seq`, because they were delivered. Skips rows that another
/// transaction has locked, so that the deletion never waits.
pub async fn delete_upto(conn: &mut Connection, session: SessionId, seq: i64) -> QueryResult<()> {
    diesel::sql_query(
        "DELETE FROM call_signals WHERE seq IN (
             SELECT signal.seq FROM call_participants AS receiver
             JOIN call_signals AS signal ON signal.to_id = receiver.id
             WHERE receiver.session_id = $1 AND signal.seq <= $2
             FOR UPDATE OF signal SKIP LOCKED
         )",
    )
    .bind::<SqlUuid, _>(session)
    .bind::<BigInt, _>(seq)
    .execute(conn)
    .await
    .map(drop)
}

/// Deletes the signals from and to participants who have left the call.
pub async fn delete_of(conn: &mut Connection, gone: &[CallParticipantId]) -> QueryResult<()> {
    diesel::delete(call_signals::table)
        .filter(call_signals::to_id.eq_any(gone))
        .or_filter(call_signals::from_id.eq_any(gone))
        .execute(conn)
        .await
        .map(drop)
}

/// Deletes signals that have waited for at least `seconds`. Skips rows that another transaction has locked, so that the
/// deletion never waits.
pub async fn delete_old(conn: &mut Connection, seconds: f64) -> QueryResult<()> {
    diesel::sql_query(
        "DELETE FROM call_signals WHERE seq IN (
             SELECT seq FROM call_signals WHERE created_at <= now() - $1 * interval '1 second'
             FOR UPDATE SKIP LOCKED
         )",
    )
    .bind::<Double, _>(seconds)
    .execute(conn)
    .await
    .map(drop)
}
