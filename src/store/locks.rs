//! What one node does at a time: advisory locks, held to the end of the transaction.

use std::time::Duration;

use diesel::sql_types::{BigInt, Bool};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::Connection;
use crate::ids::UserId;

/// Making and dropping partitions, and sweeping. Any number will do, as long as every Parlance takes the same.
pub const HOUSEKEEPING: i64 = 0x7061_726c_686f_7573;

/// How long a transaction of housekeeping waits for a lock: who comes after it on the same table waits as long.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);

/// What is between two users: contacts, requests, blocks and the opening of their conversation. Two pairs with the same
/// number only wait for each other. Taken before any conversation is locked.
pub async fn wait_for_pair(conn: &mut Connection, one: UserId, other: UserId) -> QueryResult<()> {
    // The same either way round.
    let ((a, b), (c, d)) = (one.0.as_u64_pair(), other.0.as_u64_pair());
    wait(conn, (a ^ b ^ c ^ d).cast_signed()).await
}

/// Waits for the lock.
pub async fn wait(conn: &mut Connection, lock: i64) -> QueryResult<()> {
    sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(lock).execute(conn).await.map(drop)
}

/// Whether the lock was free. The transaction that has it waits for no other lock for long.
pub async fn take(conn: &mut Connection, lock: i64) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        taken: bool,
    }
    sql_query(format!("SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis())).execute(conn).await?;
    let row: Row =
        sql_query("SELECT pg_try_advisory_xact_lock($1) AS taken").bind::<BigInt, _>(lock).get_result(conn).await?;
    Ok(row.taken)
}
