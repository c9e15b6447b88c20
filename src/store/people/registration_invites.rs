//! Registration invites: codes that an operator creates, and that users need to register if `REGISTRATION=invite`.

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

/// Reads all invites, newest first.
pub async fn all(conn: &mut Connection) -> QueryResult<Vec<RegistrationInvite>> {
    registration_invites::table
        .order((registration_invites::created_at.desc(), registration_invites::code_hash))
        .select(RegistrationInvite::as_select())
        .load(conn)
        .await
}

/// Deletes the invites with these hashes and returns the number of deleted invites.
pub async fn delete(conn: &mut Connection, hashes: &[Vec<u8>]) -> QueryResult<usize> {
    let found = registration_invites::table.filter(registration_invites::code_hash.eq_any(hashes));
    diesel::delete(found).execute(conn).await
}

/// Whether the invite has a use left and is not expired.
pub async fn is_usable(conn: &mut Connection, hash: &[u8], now: DateTime<Utc>) -> QueryResult<bool> {
    let usable =
        registration_invites::expires_at.gt(now).and(registration_invites::uses.lt(registration_invites::max_uses));
    let invite = registration_invites::table.find(hash).filter(usable);
    diesel::select(diesel::dsl::exists(invite)).get_result(conn).await
}

/// Counts one use of the invite. Returns false and counts nothing if the invite is expired or used up. The row stays
/// locked until the transaction ends, so that concurrent registrations count their uses one by one.
pub async fn count_use(conn: &mut Connection, hash: &[u8], now: DateTime<Utc>) -> QueryResult<bool> {
    let usable =
        registration_invites::expires_at.gt(now).and(registration_invites::uses.lt(registration_invites::max_uses));
    diesel::update(registration_invites::table.find(hash).filter(usable))
        .set(registration_invites::uses.eq(registration_invites::uses + 1))
        .execute(conn)
        .await
        .map(|rows| rows == 1)
}
