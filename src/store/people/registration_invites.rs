//! Registration invites: codes of an operator, needed to register with `REGISTRATION=invite`.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::store::Connection;
use crate::store::schema::registration_invites;

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = registration_invites, check_for_backend(diesel::pg::Pg))]
pub struct RegistrationInvite {
    /// SHA-256 of the code.
    pub code_hash: Vec<u8>,
    /// Free text of the operator.
    pub note: Option<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub max_uses: i32,
    pub uses: i32,
}

pub async fn insert(conn: &mut Connection, invite: &RegistrationInvite) -> QueryResult<()> {
    diesel::insert_into(registration_invites::table).values(invite).execute(conn).await.map(drop)
}

/// All invites, newest first.
pub async fn all(conn: &mut Connection) -> QueryResult<Vec<RegistrationInvite>> {
    registration_invites::table
        .order((registration_invites::created_at.desc(), registration_invites::code_hash))
        .select(RegistrationInvite::as_select())
        .load(conn)
        .await
}

/// Deletes the invites with these hashes and returns their number.
pub async fn delete(conn: &mut Connection, hashes: &[Vec<u8>]) -> QueryResult<usize> {
    let found = registration_invites::table.filter(registration_invites::code_hash.eq_any(hashes));
    diesel::delete(found).execute(conn).await
}

/// Whether the code has a use left.
pub async fn is_usable(conn: &mut Connection, hash: &[u8], now: DateTime<Utc>) -> QueryResult<bool> {
    let usable =
        registration_invites::expires_at.gt(now).and(registration_invites::uses.lt(registration_invites::max_uses));
    let invite = registration_invites::table.find(hash).filter(usable);
    diesel::select(diesel::dsl::exists(invite)).get_result(conn).await
}

/// Takes one use and returns whether there was one. The row stays locked until the transaction ends, so concurrent
/// registrations take their uses one by one.
pub async fn count_use(conn: &mut Connection, hash: &[u8], now: DateTime<Utc>) -> QueryResult<bool> {
    let usable =
        registration_invites::expires_at.gt(now).and(registration_invites::uses.lt(registration_invites::max_uses));
    diesel::update(registration_invites::table.find(hash).filter(usable))
        .set(registration_invites::uses.eq(registration_invites::uses + 1))
        .execute(conn)
        .await
        .map(|rows| rows == 1)
}
