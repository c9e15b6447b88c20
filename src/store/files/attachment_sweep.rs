//! The sweep, which deletes attachments to which nothing refers.
//!
//! A transaction that adds a reference to an attachment locks the attachment's row first (`attachments::lock`). The
//! sweep locks only rows that no other transaction has locked, and then checks whether anything refers to these
//! attachments. No reference can be added after the sweep has locked the row.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::attachments::{Attachment, seconds};
use crate::ids::AttachmentId;
use crate::store::Connection;
use crate::store::schema::{attachment_looks, attachments};

/// A row of `attachment_looks`: an attachment for which the sweep has to check whether anything still refers to it.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct SweepCandidate {
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    #[diesel(sql_type = SqlUuid)]
    pub attachment_id: AttachmentId,
}

/// Locks at most `limit` candidates that are older than `grace`, oldest first, until the transaction ends, and returns
/// them. Skips rows that another transaction has locked.
pub async fn claim_candidates(conn: &mut Connection, grace: Duration, limit: i64) -> QueryResult<Vec<SweepCandidate>> {
    diesel::sql_query(
        "SELECT id, attachment_id FROM attachment_looks WHERE since <= now() - $1 * interval '1 second'
         ORDER BY since, id LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind::<BigInt, _>(seconds(grace))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Locks the attachments until the transaction ends, and returns them. Skips rows that another transaction has locked,
/// and uploads that a node has claimed.
pub async fn lock_unclaimed(conn: &mut Connection, ids: &[AttachmentId]) -> QueryResult<Vec<Attachment>> {
    diesel::sql_query(
        "SELECT * FROM attachments
         WHERE id = ANY($1) AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
         ORDER BY id FOR UPDATE SKIP LOCKED",
    )
    .bind::<Array<SqlUuid>, _>(ids)
    .load(conn)
    .await
}

/// Returns the ids in `ids` whose attachments exist.
pub async fn existing(conn: &mut Connection, ids: &[AttachmentId]) -> QueryResult<Vec<AttachmentId>> {
    attachments::table.filter(attachments::id.eq_any(ids)).select(attachments::id).load(conn).await
}

/// Marks the attachments to which nothing refers as being deleted, reserves them for the caller for `time`, and returns
/// them. The attachments must have been locked by `lock_unclaimed` in an earlier statement. Skips attachments that have
/// a candidate younger than `grace`, or younger than `soon` if the attachment is REJECTED: the sweep checks them again
/// when that candidate is due.
pub async fn mark_deleting(
    conn: &mut Connection,
    ids: &[AttachmentId],
    grace: Duration,
    soon: Duration,
    time: Duration,
) -> QueryResult<Vec<Attachment>> {
    diesel::sql_query(
        "UPDATE attachments SET going_until = clock_timestamp() + $4 * interval '1 second'
         WHERE id = ANY($1) AND going_until IS NULL
             AND NOT EXISTS (SELECT FROM message_attachments WHERE attachment_id = attachments.id)
             AND NOT EXISTS (SELECT FROM scheduled_message_attachments WHERE attachment_id = attachments.id)
             AND NOT EXISTS (SELECT FROM users WHERE avatar_id = attachments.id)
             AND NOT EXISTS (SELECT FROM conversations WHERE avatar_id = attachments.id)
             AND NOT EXISTS (
                 SELECT FROM attachment_looks
                 WHERE attachment_id = attachments.id
                     AND since > now() - CASE state WHEN 'REJECTED' THEN $3 ELSE $2 END * interval '1 second'
             )
         RETURNING *",
    )
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<BigInt, _>(seconds(grace))
    .bind::<BigInt, _>(seconds(soon))
    .bind::<BigInt, _>(seconds(time))
    .load(conn)
    .await
}

/// Postpones the candidates: they are due after `time`, which must be shorter than `grace`.
pub async fn postpone_candidates(
    conn: &mut Connection,
    ids: &[i64],
    time: Duration,
    grace: Duration,
) -> QueryResult<()> {
    diesel::sql_query("UPDATE attachment_looks SET since = now() - $2 * interval '1 second' WHERE id = ANY($1)")
        .bind::<Array<BigInt>, _>(ids)
        .bind::<BigInt, _>(seconds(grace.saturating_sub(time)))
        .execute(conn)
        .await
        .map(drop)
}

pub async fn delete_candidates(conn: &mut Connection, ids: &[i64]) -> QueryResult<()> {
    diesel::delete(attachment_looks::table.filter(attachment_looks::id.eq_any(ids))).execute(conn).await.map(drop)
}

/// Reserves for `time` at most `limit` attachments that a node had reserved for deletion and did not delete before its
/// reservation expired. Returns these attachments.
pub async fn claim_abandoned(conn: &mut Connection, time: Duration, limit: i64) -> QueryResult<Vec<Attachment>> {
    diesel::sql_query(
        "UPDATE attachments SET going_until = clock_timestamp() + $1 * interval '1 second'
         WHERE id IN (
             SELECT id FROM attachments WHERE going_until <= clock_timestamp()
             ORDER BY going_until LIMIT $2 FOR UPDATE SKIP LOCKED
         )
         RETURNING *",
    )
    .bind::<BigInt, _>(seconds(time))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Deletes the rows of attachments whose objects are deleted. Returns the number of deleted rows.
pub async fn delete(conn: &mut Connection, ids: &[AttachmentId]) -> QueryResult<usize> {
    diesel::delete(attachments::table.filter(attachments::id.eq_any(ids).and(attachments::going_until.is_not_null())))
        .execute(conn)
        .await
}
