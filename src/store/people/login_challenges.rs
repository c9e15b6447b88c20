//! Challenges of sign-ins that have passed the first factor and wait for the second one.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::expired;
use crate::ids::UserId;
use crate::store::Connection;
use crate::store::schema::login_challenges;

#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = login_challenges, check_for_backend(diesel::pg::Pg))]
pub struct LoginChallenge {
    /// SHA-256 of the token of the client.
    pub hash: Vec<u8>,
    pub user_id: UserId,
    pub device_name: Option<String>,
    /// Network of the client. None if it is not known.
    pub network: Option<String>,
    /// Hash of the password of the account when the challenge was made. None if the account had no password.
    pub password_hash: Option<String>,
    /// Hash of the password that the account gets with the second factor. None if the sign-in resets no password.
    pub new_password_hash: Option<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// The verified claims of the token with which the sign-in began, as JSON. None for another first factor.
    pub assertion: Option<String>,
}

/// Stores the challenge, and deletes the oldest challenges of the same account and network, so that these have at most
/// `max_challenges`. Concurrent calls can leave a few more challenges until the next call.
pub async fn insert(conn: &mut Connection, challenge: &LoginChallenge, max_challenges: i64) -> QueryResult<()> {
    diesel::sql_query(
        "DELETE FROM login_challenges WHERE hash = ANY(ARRAY(
             SELECT hash FROM login_challenges WHERE user_id = $1 AND network IS NOT DISTINCT FROM $2
             ORDER BY created_at DESC, hash OFFSET $3
         ))",
    )
    .bind::<SqlUuid, _>(challenge.user_id)
    .bind::<Nullable<Text>, _>(challenge.network.as_deref())
    .bind::<BigInt, _>(max_challenges - 1)
    .execute(conn)
    .await?;
    diesel::insert_into(login_challenges::table).values(challenge).execute(conn).await.map(drop)
}

/// Counts a try of the challenge and returns the challenge. Returns None if it does not exist, is expired, or already
/// has `max_tries` tries. Concurrent tries count one by one.
pub async fn count_try(
    conn: &mut Connection,
    hash: &[u8],
    max_tries: i16,
    now: DateTime<Utc>,
) -> QueryResult<Option<LoginChallenge>> {
    let usable = login_challenges::tries.lt(max_tries).and(login_challenges::expires_at.gt(now));
    diesel::update(login_challenges::table.find(hash).filter(usable))
        .set(login_challenges::tries.eq(login_challenges::tries + 1_i16))
        .returning(LoginChallenge::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// Takes back a try of the challenge.
pub async fn undo_try(conn: &mut Connection, hash: &[u8]) -> QueryResult<()> {
    diesel::update(login_challenges::table.find(hash).filter(login_challenges::tries.gt(0_i16)))
        .set(login_challenges::tries.eq(login_challenges::tries - 1_i16))
        .execute(conn)
        .await
        .map(drop)
}

/// Deletes the challenge. Returns false if it no longer exists: of concurrent uses of a challenge, only one succeeds.
pub async fn delete(conn: &mut Connection, hash: &[u8]) -> QueryResult<bool> {
    diesel::delete(login_challenges::table.find(hash)).execute(conn).await.map(|rows| rows == 1)
}

/// Deletes all challenges of the user.
pub async fn delete_all(conn: &mut Connection, user: UserId) -> QueryResult<()> {
    diesel::delete(login_challenges::table.filter(login_challenges::user_id.eq(user))).execute(conn).await.map(drop)
}

/// Deletes at most `limit` challenges that expired more than an hour ago by Postgres's clock. Returns the number of
/// deleted challenges. The hour allows for nodes with slow clocks.
pub async fn delete_expired(conn: &mut Connection, limit: usize) -> QueryResult<usize> {
    expired::delete(conn, "login_challenges", "hash", limit).await
}
