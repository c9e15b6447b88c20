//! Identities at issuers, by which users sign in.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::ids::{IdentityId, UserId};
use crate::store::Connection;
use crate::store::schema::identities;

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = identities, check_for_backend(diesel::pg::Pg))]
pub struct Identity {
    pub id: IdentityId,
    pub user_id: UserId,
    /// The claim `iss` of the issuer's tokens.
    pub issuer: String,
    /// The claim `sub` of the tokens for this user. Unique at the issuer, and never assigned to another person.
    pub subject: String,
    pub created_at: DateTime<Utc>,
    /// When the user last signed in by this identity.
    pub last_used_at: DateTime<Utc>,
}

/// Stores the identity. Violates a unique index if the identity is linked to an account already.
pub async fn insert(conn: &mut Connection, identity: &Identity) -> QueryResult<()> {
    diesel::insert_into(identities::table).values(identity).execute(conn).await.map(drop)
}

/// Reads the user to whose account the identity is linked.
pub async fn owner(conn: &mut Connection, issuer: &str, subject: &str) -> QueryResult<Option<UserId>> {
    let identity = identities::table.filter(identities::issuer.eq(issuer).and(identities::subject.eq(subject)));
    identity.select(identities::user_id).first(conn).await.optional()
}

/// Records that the user signs in by the identity. Returns false if the identity is not linked to the user.
pub async fn record_use(
    conn: &mut Connection,
    user: UserId,
    issuer: &str,
    subject: &str,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let identity = identities::table
        .filter(identities::issuer.eq(issuer).and(identities::subject.eq(subject)))
        .filter(identities::user_id.eq(user));
    diesel::update(identity).set(identities::last_used_at.eq(now)).execute(conn).await.map(|rows| rows == 1)
}

/// Reads the identities of the user, oldest first.
pub async fn of_user(conn: &mut Connection, user: UserId) -> QueryResult<Vec<Identity>> {
    identities::table
        .filter(identities::user_id.eq(user))
        .order((identities::created_at, identities::id))
        .select(Identity::as_select())
        .load(conn)
        .await
}

/// Counts the identities of the user.
pub async fn count(conn: &mut Connection, user: UserId) -> QueryResult<i64> {
    identities::table.filter(identities::user_id.eq(user)).count().get_result(conn).await
}

/// Deletes an identity of the user and returns it. Returns None if the user has no such identity.
pub async fn delete(conn: &mut Connection, user: UserId, id: IdentityId) -> QueryResult<Option<Identity>> {
    diesel::delete(identities::table.find(id).filter(identities::user_id.eq(user)))
        .returning(Identity::as_returning())
        .get_result(conn)
        .await
        .optional()
}
