//! Codes that a login in the browser hands to the client.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::expired;
use crate::store::Connection;
use crate::store::schema::sign_in_codes;

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = sign_in_codes)]
pub struct SignInCode {
    /// SHA-256 of the code and of the challenge of its login.
    pub code_hash: Vec<u8>,
    /// The verified claims as JSON.
    pub assertion: String,
    pub expires_at: DateTime<Utc>,
}

pub async fn insert(conn: &mut Connection, code: &SignInCode) -> QueryResult<()> {
    diesel::insert_into(sign_in_codes::table).values(code).execute(conn).await.map(drop)
}

/// Deletes the code and returns its assertion. Returns None if the code is unknown, used or expired: of concurrent uses
/// of a code, only one succeeds.
pub async fn take(conn: &mut Connection, hash: &[u8], now: DateTime<Utc>) -> QueryResult<Option<String>> {
    let live = sign_in_codes::table.find(hash).filter(sign_in_codes::expires_at.gt(now));
    diesel::delete(live).returning(sign_in_codes::assertion).get_result(conn).await.optional()
}

/// Deletes at most `limit` codes that expired more than an hour ago by Postgres's clock. Returns the number of deleted
/// codes. The hour allows for nodes with slow clocks.
pub async fn delete_expired(conn: &mut Connection, limit: usize) -> QueryResult<usize> {
    expired::delete(conn, "sign_in_codes", "code_hash", limit).await
}
