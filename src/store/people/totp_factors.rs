//! TOTP factors: the authenticator apps of accounts, at most one for each.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::ids::UserId;
use crate::store::Connection;
use crate::store::schema::totp_factors;

#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = totp_factors, check_for_backend(diesel::pg::Pg))]
pub struct TotpFactor {
    pub user_id: UserId,
    /// The secret that the app shares with the server.
    pub secret: Vec<u8>,
    pub created_at: DateTime<Utc>,
    /// When the user proved that the app has the secret. None while the factor is not in use.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Time step of the last code that was used. None if no code was used.
    pub last_step: Option<i64>,
}

/// Reads the factor of the user, whether it is in use or not.
pub async fn find(conn: &mut Connection, user: UserId) -> QueryResult<Option<TotpFactor>> {
    totp_factors::table.find(user).select(TotpFactor::as_select()).first(conn).await.optional()
}

/// Whether the user has a factor that is in use.
pub async fn is_on(conn: &mut Connection, user: UserId) -> QueryResult<bool> {
    let confirmed = totp_factors::table.find(user).filter(totp_factors::confirmed_at.is_not_null());
    diesel::select(diesel::dsl::exists(confirmed)).get_result(conn).await
}

/// Stores a factor that is not in use yet. Replaces a former one that is not in use.
pub async fn replace_unconfirmed(conn: &mut Connection, factor: &TotpFactor) -> QueryResult<()> {
    let unconfirmed = totp_factors::table.find(factor.user_id).filter(totp_factors::confirmed_at.is_null());
    diesel::delete(unconfirmed).execute(conn).await?;
    diesel::insert_into(totp_factors::table).values(factor).execute(conn).await.map(drop)
}

/// Puts the factor in use. `step` is the time step of the code by which the user has confirmed it.
pub async fn confirm(conn: &mut Connection, user: UserId, step: i64, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(totp_factors::table.find(user))
        .set((totp_factors::confirmed_at.eq(now), totp_factors::last_step.eq(step)))
        .execute(conn)
        .await
        .map(drop)
}

/// Records the use of the code of this time step. Returns false if the code of this step or of a later one was used
/// before, or if the factor is not in use: of concurrent uses of a code, only one succeeds.
pub async fn use_step(conn: &mut Connection, user: UserId, step: i64) -> QueryResult<bool> {
    let unused = totp_factors::last_step.is_null().or(totp_factors::last_step.lt(step));
    let confirmed = totp_factors::table.find(user).filter(totp_factors::confirmed_at.is_not_null());
    diesel::update(confirmed.filter(unused))
        .set(totp_factors::last_step.eq(step))
        .execute(conn)
        .await
        .map(|rows| rows == 1)
}

/// Deletes the factor. Returns whether the user had one in use.
pub async fn delete(conn: &mut Connection, user: UserId) -> QueryResult<bool> {
    let deleted = diesel::delete(totp_factors::table.find(user))
        .returning(totp_factors::confirmed_at)
        .get_result::<Option<DateTime<Utc>>>(conn)
        .await
        .optional()?;
    Ok(deleted.flatten().is_some())
}
