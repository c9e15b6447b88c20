//! Verification codes: short codes that the server sends to an e-mail address or a phone number.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

use crate::ids::UserId;
use crate::store::Connection;
use crate::store::schema::verification_codes;

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = verification_codes)]
pub struct VerificationCode {
    /// HMAC-SHA256 of the purpose, the contact point and the user.
    pub id: Vec<u8>,
    /// HMAC-SHA256 of the same values and the code.
    pub code_hash: Vec<u8>,
    /// The signed-in user who requested the code. None for a code that signs in or resets a password.
    pub user_id: Option<UserId>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// Stores the code. Replaces the former code with the same id, together with its tries.
pub async fn replace(conn: &mut Connection, code: &VerificationCode) -> QueryResult<()> {
    let renewed = (
        verification_codes::code_hash.eq(&code.code_hash),
        verification_codes::tries.eq(0_i16),
        verification_codes::created_at.eq(code.created_at),
        verification_codes::expires_at.eq(code.expires_at),
    );
    diesel::insert_into(verification_codes::table)
        .values(code)
        .on_conflict(verification_codes::id)
        .do_update()
        .set(renewed)
        .execute(conn)
        .await
        .map(drop)
}

/// Counts a try for each of the codes with these ids. Returns the ids and hashes of the codes with which the try may be
/// compared. Leaves out codes that are expired or already have `max_tries` tries. Concurrent tries count one by one.
pub async fn count_try(
    conn: &mut Connection,
    ids: &[Vec<u8>],
    max_tries: i16,
    now: DateTime<Utc>,
) -> QueryResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let usable = verification_codes::tries.lt(max_tries).and(verification_codes::expires_at.gt(now));
    diesel::update(verification_codes::table.filter(verification_codes::id.eq_any(ids).and(usable)))
        .set(verification_codes::tries.eq(verification_codes::tries + 1_i16))
        .returning((verification_codes::id, verification_codes::code_hash))
        .load(conn)
        .await
}

/// Takes back a try of the code, if the code still exists and has not been replaced.
pub async fn undo_try(conn: &mut Connection, id: &[u8], code_hash: &[u8]) -> QueryResult<()> {
    let counted = verification_codes::code_hash.eq(code_hash).and(verification_codes::tries.gt(0_i16));
    diesel::update(verification_codes::table.find(id).filter(counted))
        .set(verification_codes::tries.eq(verification_codes::tries - 1_i16))
        .execute(conn)
        .await
        .map(drop)
}

/// Deletes the code. Returns false if the code no longer exists or has been replaced: of concurrent uses of a code,
/// only one succeeds.
pub async fn delete(conn: &mut Connection, id: &[u8], code_hash: &[u8]) -> QueryResult<bool> {
    let current = verification_codes::table.find(id).filter(verification_codes::code_hash.eq(code_hash));
    diesel::delete(current).execute(conn).await.map(|rows| rows == 1)
}

/// Deletes at most `limit` codes that expired more than an hour ago by Postgres's clock. Returns the number of deleted
/// codes. The hour allows for nodes with slow clocks.
pub async fn delete_expired(conn: &mut Connection, limit: usize) -> QueryResult<usize> {
    diesel::sql_query(
        "DELETE FROM verification_codes WHERE id = ANY(ARRAY(
             SELECT id FROM verification_codes WHERE expires_at <= now() - interval '1 hour'
             ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
         ))",
    )
    .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
    .execute(conn)
    .await
}
