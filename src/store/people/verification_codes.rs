//! Verification codes: short codes that the server sends to an e-mail address or a phone number.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, SmallInt, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::expired;
use crate::ids::UserId;
use crate::store::Connection;
use crate::store::schema::verification_codes;

/// A code that is stored. All byte strings are HMACs.
#[derive(Clone, Debug)]
pub struct VerificationCode {
    /// HMAC-SHA256 of the values of the slot and the challenge.
    pub id: Vec<u8>,
    /// HMAC-SHA256 of the purpose, the contact point and the user.
    pub slot: Vec<u8>,
    /// HMAC-SHA256 of the values of the slot and the code.
    pub code_hash: Vec<u8>,
    /// The signed-in user who requested the code. None for a code that signs in or resets a password.
    pub user_id: Option<UserId>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// A code with which a try may be compared.
#[derive(Clone, Debug, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = verification_codes, check_for_backend(diesel::pg::Pg))]
pub struct LiveCode {
    pub id: Vec<u8>,
    pub slot: Vec<u8>,
    pub code_hash: Vec<u8>,
}

/// Stores the code, and deletes the oldest codes of its slot, so that the slot has at most `max_codes`. Concurrent
/// calls can leave a few more codes until the next call.
pub async fn insert(conn: &mut Connection, code: &VerificationCode, max_codes: i64) -> QueryResult<()> {
    diesel::sql_query(
        "WITH replaced AS (
             DELETE FROM verification_codes WHERE id = ANY(ARRAY(
                 SELECT id FROM verification_codes WHERE slot = $2 ORDER BY created_at DESC, id DESC OFFSET $7
             ))
         )
         INSERT INTO verification_codes (id, slot, code_hash, user_id, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind::<Binary, _>(&code.id)
    .bind::<Binary, _>(&code.slot)
    .bind::<Binary, _>(&code.code_hash)
    .bind::<Nullable<SqlUuid>, _>(code.user_id)
    .bind::<Timestamptz, _>(code.created_at)
    .bind::<Timestamptz, _>(code.expires_at)
    .bind::<BigInt, _>(max_codes - 1)
    .execute(conn)
    .await
    .map(drop)
}

/// Counts a try with the challenge for each of the codes with these ids. Returns the codes with which the try may be
/// compared. Leaves out codes that are expired or already have `max_tries` tries. Concurrent tries count one by one.
pub async fn count_try(
    conn: &mut Connection,
    ids: &[Vec<u8>],
    max_tries: i16,
    now: DateTime<Utc>,
) -> QueryResult<Vec<LiveCode>> {
    let usable = verification_codes::tries.lt(max_tries).and(verification_codes::expires_at.gt(now));
    diesel::update(verification_codes::table.filter(verification_codes::id.eq_any(ids).and(usable)))
        .set(verification_codes::tries.eq(verification_codes::tries + 1_i16))
        .returning(LiveCode::as_returning())
        .load(conn)
        .await
}

/// Same as `count_try`, but without a challenge: counts the try for the newest code of each slot that is not expired.
pub async fn count_open_try(
    conn: &mut Connection,
    slots: &[Vec<u8>],
    max_tries: i16,
    now: DateTime<Utc>,
) -> QueryResult<Vec<LiveCode>> {
    diesel::sql_query(
        "UPDATE verification_codes SET open_tries = open_tries + 1
         WHERE id = ANY(ARRAY(
             SELECT DISTINCT ON (slot) id FROM verification_codes
             WHERE slot = ANY($1) AND expires_at > $3
             ORDER BY slot, created_at DESC, id DESC
         )) AND open_tries < $2 AND expires_at > $3
         RETURNING id, slot, code_hash",
    )
    .bind::<Array<Binary>, _>(slots)
    .bind::<SmallInt, _>(max_tries)
    .bind::<Timestamptz, _>(now)
    .load(conn)
    .await
}

/// Takes back a try of the code, if the code still exists.
pub async fn undo_try(conn: &mut Connection, id: &[u8]) -> QueryResult<()> {
    diesel::update(verification_codes::table.find(id).filter(verification_codes::tries.gt(0_i16)))
        .set(verification_codes::tries.eq(verification_codes::tries - 1_i16))
        .execute(conn)
        .await
        .map(drop)
}

/// Takes back a try of the code without a challenge, if the code still exists.
pub async fn undo_open_try(conn: &mut Connection, id: &[u8]) -> QueryResult<()> {
    diesel::update(verification_codes::table.find(id).filter(verification_codes::open_tries.gt(0_i16)))
        .set(verification_codes::open_tries.eq(verification_codes::open_tries - 1_i16))
        .execute(conn)
        .await
        .map(drop)
}

/// Deletes the code. Returns false if the code no longer exists: of concurrent uses of a code, only one succeeds.
pub async fn delete(conn: &mut Connection, id: &[u8]) -> QueryResult<bool> {
    diesel::delete(verification_codes::table.find(id)).execute(conn).await.map(|rows| rows == 1)
}

/// Deletes all codes in these slots, and all codes that the user has requested.
pub async fn delete_all(conn: &mut Connection, slots: &[Vec<u8>], user: UserId) -> QueryResult<()> {
    let concerned = verification_codes::slot.eq_any(slots).or(verification_codes::user_id.eq(user));
    diesel::delete(verification_codes::table.filter(concerned)).execute(conn).await.map(drop)
}

/// Deletes at most `limit` codes that expired more than an hour ago by Postgres's clock. Returns the number of deleted
/// codes. The hour allows for nodes with slow clocks.
pub async fn delete_expired(conn: &mut Connection, limit: usize) -> QueryResult<usize> {
    expired::delete(conn, "verification_codes", "id", limit).await
}
