//! Advisory locks for work that only one transaction may do at a time. Each lock is held until its transaction ends.

use std::time::Duration;

use diesel::sql_types::{BigInt, Bool};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::Connection;
use crate::ids::UserId;

/// Key of the lock for housekeeping: creating and dropping partitions, and deleting expired rows. The value of the key
/// does not matter, but all versions must use the same one.
pub const HOUSEKEEPING: i64 = 0x7061_726c_686f_7573;

/// Key of the lock for digests: finding the users who get one.
pub const DIGESTS: i64 = 0x7061_726c_6469_6765;

/// Maximum time for which a transaction that has called `try_lock` waits for another lock. Other transactions that need
/// the same table queue behind this transaction and wait as long.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);

/// Locks what two users share: contacts, contact requests, blocks and the opening of their direct conversation. Call
/// this before you lock a conversation. Two pairs of users can have the same key: then they only wait for each other.
pub async fn wait_for_pair(conn: &mut Connection, one: UserId, other: UserId) -> QueryResult<()> {
    // The key is the same for both orders of the users.
    let ((a, b), (c, d)) = (one.0.as_u64_pair(), other.0.as_u64_pair());
    wait(conn, (a ^ b ^ c ^ d).cast_signed()).await
}

/// Waits for the lock and takes it.
pub async fn wait(conn: &mut Connection, lock: i64) -> QueryResult<()> {
    sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(lock).execute(conn).await.map(drop)
}

/// Takes the lock if it is free, and returns whether the lock was taken. From then on the transaction waits for other
/// locks for at most `LOCK_TIMEOUT`.
pub async fn try_lock(conn: &mut Connection, lock: i64) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        locked: bool,
    }
    sql_query(format!("SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis())).execute(conn).await?;
    let row: Row =
        sql_query("SELECT pg_try_advisory_xact_lock($1) AS locked").bind::<BigInt, _>(lock).get_result(conn).await?;
    Ok(row.locked)
}
