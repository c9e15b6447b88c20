//! Recovery codes: each of them replaces the authenticator app once.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::ids::UserId;
use crate::store::Connection;
use crate::store::schema::recovery_codes;

/// Replaces all codes of the user by new ones with these hashes.
pub async fn replace(conn: &mut Connection, user: UserId, hashes: &[Vec<u8>]) -> QueryResult<()> {
    delete(conn, user).await?;
    let rows: Vec<_> =
        hashes.iter().map(|hash| (recovery_codes::user_id.eq(user), recovery_codes::hash.eq(hash))).collect();
    diesel::insert_into(recovery_codes::table).values(rows).execute(conn).await.map(drop)
}

/// Whether the user has an unused code with this hash.
pub async fn is_usable(conn: &mut Connection, user: UserId, hash: &[u8]) -> QueryResult<bool> {
    let unused = recovery_codes::table.find((user, hash)).filter(recovery_codes::used_at.is_null());
    diesel::select(diesel::dsl::exists(unused)).get_result(conn).await
}

/// Marks the code as used. Returns false if the user has no unused code with this hash: of concurrent uses of a code,
/// only one succeeds.
pub async fn spend(conn: &mut Connection, user: UserId, hash: &[u8], now: DateTime<Utc>) -> QueryResult<bool> {
    let unused = recovery_codes::table.find((user, hash)).filter(recovery_codes::used_at.is_null());
    diesel::update(unused).set(recovery_codes::used_at.eq(now)).execute(conn).await.map(|rows| rows == 1)
}

/// Returns the number of unused codes of the user.
pub async fn unused(conn: &mut Connection, user: UserId) -> QueryResult<i64> {
    let unused = recovery_codes::user_id.eq(user).and(recovery_codes::used_at.is_null());
    recovery_codes::table.filter(unused).count().get_result(conn).await
}

/// Deletes all codes of the user.
pub async fn delete(conn: &mut Connection, user: UserId) -> QueryResult<()> {
    let all = recovery_codes::table.filter(recovery_codes::user_id.eq(user));
    diesel::delete(all).execute(conn).await.map(drop)
}
