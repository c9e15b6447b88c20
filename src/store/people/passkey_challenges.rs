//! Challenges of passkeys: random values that an authenticator signs once.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::expired;
use crate::ids::UserId;
use crate::store::Connection;
use crate::store::schema::passkey_challenges;

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = passkey_challenges)]
pub struct PasskeyChallenge {
    /// SHA-256 of the challenge.
    pub hash: Vec<u8>,
    /// The user who adds a passkey. None for a challenge that a passkey answers to prove an identity.
    pub user_id: Option<UserId>,
    pub expires_at: DateTime<Utc>,
}

pub async fn insert(conn: &mut Connection, challenge: &PasskeyChallenge) -> QueryResult<()> {
    diesel::insert_into(passkey_challenges::table).values(challenge).execute(conn).await.map(drop)
}

/// Deletes the challenge that was made for this user, or for no user. Returns false if it does not exist or is
/// expired: each challenge is answered once.
pub async fn take(conn: &mut Connection, hash: &[u8], user: Option<UserId>, now: DateTime<Utc>) -> QueryResult<bool> {
    let of_user = passkey_challenges::user_id.is_not_distinct_from(user);
    let live = of_user.and(passkey_challenges::expires_at.gt(now));
    let taken = diesel::delete(passkey_challenges::table.find(hash).filter(live)).execute(conn).await?;
    Ok(taken == 1)
}

/// Deletes at most `limit` challenges that expired more than an hour ago by Postgres's clock. Returns the number of
/// deleted challenges. The hour allows for nodes with slow clocks.
pub async fn delete_expired(conn: &mut Connection, limit: usize) -> QueryResult<usize> {
    expired::delete(conn, "passkey_challenges", "hash", limit).await
}
