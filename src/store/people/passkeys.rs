//! Passkeys: the public keys with which users sign in.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::ids::{PasskeyId, UserId};
use crate::store::Connection;
use crate::store::schema::passkeys;

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = passkeys, check_for_backend(diesel::pg::Pg))]
pub struct Passkey {
    pub id: PasskeyId,
    pub user_id: UserId,
    /// Id that the authenticator gave the key.
    pub credential_id: Vec<u8>,
    /// The public key as a COSE_Key.
    pub public_key: Vec<u8>,
    pub name: String,
    /// Counter of the authenticator. Zero if the authenticator does not count.
    pub sign_count: i64,
    /// Whether the authenticator has a copy of the key elsewhere.
    pub backed_up: bool,
    pub created_at: DateTime<Utc>,
    pub last_used_at: Option<DateTime<Utc>>,
}

pub async fn insert(conn: &mut Connection, passkey: &Passkey) -> QueryResult<()> {
    diesel::insert_into(passkeys::table).values(passkey).execute(conn).await.map(drop)
}

/// Reads the passkeys of the user, oldest first.
pub async fn of_user(conn: &mut Connection, user: UserId) -> QueryResult<Vec<Passkey>> {
    passkeys::table.filter(passkeys::user_id.eq(user)).order(passkeys::id).select(Passkey::as_select()).load(conn).await
}

/// Returns the number of passkeys of the user.
pub async fn count(conn: &mut Connection, user: UserId) -> QueryResult<i64> {
    passkeys::table.filter(passkeys::user_id.eq(user)).count().get_result(conn).await
}

pub async fn by_credential_id(conn: &mut Connection, credential_id: &[u8]) -> QueryResult<Option<Passkey>> {
    passkeys::table
        .filter(passkeys::credential_id.eq(credential_id))
        .select(Passkey::as_select())
        .first(conn)
        .await
        .optional()
}

/// Records a use of the passkey with the counter of the authenticator. Returns false and changes nothing if the passkey
/// no longer exists, or if the authenticator counts and its counter did not grow.
pub async fn record_use(
    conn: &mut Connection,
    id: PasskeyId,
    sign_count: i64,
    backed_up: bool,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let stored = passkeys::table.find(id);
    let used = (passkeys::sign_count.eq(sign_count), passkeys::backed_up.eq(backed_up), passkeys::last_used_at.eq(now));
    let rows = if sign_count == 0 {
        diesel::update(stored.filter(passkeys::sign_count.eq(0_i64))).set(used).execute(conn).await?
    } else {
        diesel::update(stored.filter(passkeys::sign_count.lt(sign_count))).set(used).execute(conn).await?
    };
    Ok(rows == 1)
}

/// Renames a passkey of the user. Returns None if the user has no such passkey.
pub async fn rename(conn: &mut Connection, user: UserId, id: PasskeyId, name: &str) -> QueryResult<Option<Passkey>> {
    diesel::update(passkeys::table.find(id).filter(passkeys::user_id.eq(user)))
        .set(passkeys::name.eq(name))
        .returning(Passkey::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// Deletes a passkey of the user and returns it. Returns None if the user has no such passkey.
pub async fn delete(conn: &mut Connection, user: UserId, id: PasskeyId) -> QueryResult<Option<Passkey>> {
    diesel::delete(passkeys::table.find(id).filter(passkeys::user_id.eq(user)))
        .returning(Passkey::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// Deletes all passkeys of the user. Returns their names.
pub async fn delete_all(conn: &mut Connection, user: UserId) -> QueryResult<Vec<String>> {
    let all = passkeys::table.filter(passkeys::user_id.eq(user));
    diesel::delete(all).returning(passkeys::name).load(conn).await
}
