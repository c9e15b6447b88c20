//! Deletes rows that have expired.

use diesel::QueryResult;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

use crate::store::Connection;

/// Deletes at most `limit` rows of the table that expired more than an hour ago by Postgres's clock. Returns the number
/// of deleted rows. `key` is the primary key of the table, which also has a column `expires_at`. The hour allows for
/// nodes with slow clocks.
pub(super) async fn delete(
    conn: &mut Connection,
    table: &'static str,
    key: &'static str,
    limit: usize,
) -> QueryResult<usize> {
    diesel::sql_query(format!(
        "DELETE FROM {table} WHERE {key} = ANY(ARRAY(
             SELECT {key} FROM {table} WHERE expires_at <= now() - interval '1 hour'
             ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
         ))"
    ))
    .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
    .execute(conn)
    .await
}
