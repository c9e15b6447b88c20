//! Blocks between users.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::users::User;
use crate::ids::UserId;
use crate::store::Connection;
use crate::store::schema::{blocks, users};

/// The blocks between two users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// Whether the first user blocks the second user.
    pub own: bool,
    /// Whether the second user blocks the first user.
    pub reverse: bool,
}

pub async fn between(conn: &mut Connection, first: UserId, second: UserId) -> QueryResult<Between> {
    let blockers: Vec<UserId> = blocks::table
        .filter(blocks::blocker_id.eq(first).and(blocks::blocked_id.eq(second)))
        .or_filter(blocks::blocker_id.eq(second).and(blocks::blocked_id.eq(first)))
        .select(blocks::blocker_id)
        .load(conn)
        .await?;
    Ok(Between { own: blockers.contains(&first), reverse: blockers.contains(&second) })
}

/// Returns the users in `others` whom the user blocks or who block the user.
pub async fn blocked_either_way(conn: &mut Connection, user: UserId, others: &[UserId]) -> QueryResult<Vec<UserId>> {
    let pairs: Vec<(UserId, UserId)> = blocks::table
        .filter(blocks::blocker_id.eq(user).and(blocks::blocked_id.eq_any(others)))
        .or_filter(blocks::blocked_id.eq(user).and(blocks::blocker_id.eq_any(others)))
        .select((blocks::blocker_id, blocks::blocked_id))
        .load(conn)
        .await?;
    Ok(pairs.into_iter().map(|(blocker, blocked)| if blocker == user { blocked } else { blocker }).collect())
}

/// Inserts a block of `other` by `user`. Returns whether the block is new.
pub async fn insert(conn: &mut Connection, user: UserId, other: UserId, now: DateTime<Utc>) -> QueryResult<bool> {
    let row = (blocks::blocker_id.eq(user), blocks::blocked_id.eq(other), blocks::created_at.eq(now));
    let inserted = diesel::insert_into(blocks::table).values(row).on_conflict_do_nothing().execute(conn).await?;
    Ok(inserted == 1)
}

/// Deletes the block of `other` by `user`. Returns whether the block existed.
pub async fn delete(conn: &mut Connection, user: UserId, other: UserId) -> QueryResult<bool> {
    Ok(diesel::delete(blocks::table.find((user, other))).execute(conn).await? == 1)
}

/// Reads the first `limit` users whom `blocker` blocks after the position `after`, newest block first, each with the
/// time of the block.
pub async fn list(
    conn: &mut Connection,
    blocker: UserId,
    after: Option<(DateTime<Utc>, UserId)>,
    limit: i64,
) -> QueryResult<Vec<(DateTime<Utc>, User)>> {
    let mut query = blocks::table
        .inner_join(users::table.on(users::id.eq(blocks::blocked_id)))
        .filter(blocks::blocker_id.eq(blocker))
        .order((blocks::created_at.desc(), blocks::blocked_id.desc()))
        .limit(limit)
        .select((blocks::created_at, User::as_select()))
        .into_boxed();
    if let Some((at, id)) = after {
        let same = blocks::created_at.eq(at).and(blocks::blocked_id.lt(id));
        query = query.filter(blocks::created_at.lt(at).or(same));
    }
    query.load(conn).await
}
