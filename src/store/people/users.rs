//! Users: their accounts and profiles.

use chrono::{DateTime, Utc};
use diesel::dsl::case_when;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::privacy_settings::Privacy;
use crate::ids::{AttachmentId, UserId};
use crate::store::schema::users;
use crate::store::{Connection, escape_like};
use crate::text;

#[derive(Clone, Debug, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = users, check_for_backend(diesel::pg::Pg))]
pub struct User {
    pub id: UserId,
    pub username: String,
    pub display_name: String,
    pub about: Option<String>,
    /// Several users may have the same address, but at most one of these users has verified it.
    pub email: Option<String>,
    /// Several users may have the same number, but at most one of these users has verified it.
    pub phone: Option<String>,
    /// Argon2id hash as a PHC string. None if the account has no password.
    pub password_hash: Option<String>,
    pub created_at: DateTime<Utc>,
    /// When the user's last open connection closed. None if this has never happened.
    pub last_seen_at: Option<DateTime<Utc>>,
    pub avatar_id: Option<AttachmentId>,
    /// When the user verified the e-mail address. None while the address is unverified. An unverified address is
    /// accepted neither for login nor in searches.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// When the user verified the phone number. None while the number is unverified. An unverified number is accepted
    /// neither for login nor in searches.
    pub phone_verified_at: Option<DateTime<Utc>>,
    /// Whether the user has no way to sign in again: no password, verified address or number, identity or passkey.
    pub is_guest: bool,
    /// Language of the notices to the user, as a tag of RFC 5646. None if no client has named one.
    pub language: Option<String>,
    #[diesel(embed)]
    pub privacy: Privacy,
}

/// Changes of a user. None leaves a column unchanged, and `Some(None)` sets the column to null.
#[derive(Clone, Debug, Default, PartialEq, Eq, AsChangeset)]
#[diesel(table_name = users)]
pub struct UserChanges {
    pub username: Option<String>,
    pub display_name: Option<String>,
    pub about: Option<Option<String>>,
    pub email: Option<Option<String>>,
    pub phone: Option<Option<String>>,
    /// Id of the avatar's attachment. A new attachment must be locked with `attachments::lock`.
    pub avatar_id: Option<Option<AttachmentId>>,
}

/// A user found by a search. `rank` is 0 if the username, e-mail address or phone number is equal to the query, 1 if
/// the username begins with the query, and 2 if the display name matches.
#[derive(Debug, QueryableByName)]
pub struct Found {
    #[diesel(embed)]
    pub user: User,
    #[diesel(sql_type = Integer)]
    pub rank: i32,
}

pub async fn insert(conn: &mut Connection, user: &User) -> QueryResult<()> {
    let search_name = users::search_name.eq(text::fold(&user.display_name));
    diesel::insert_into(users::table).values((user, search_name)).execute(conn).await.map(drop)
}

/// Stores the changes and returns the updated user. A changed e-mail address or phone number becomes unverified.
/// Setting the same value again keeps it verified.
pub async fn update(conn: &mut Connection, id: UserId, changes: &UserChanges) -> QueryResult<User> {
    // The right side of SET reads the row as it was before the update.
    let email_verified_at = changes.email.as_ref().map(|new| {
        let still_verified = case_when(users::email.is_not_distinct_from(new.as_deref()), users::email_verified_at);
        users::email_verified_at.eq(still_verified)
    });
    let phone_verified_at = changes.phone.as_ref().map(|new| {
        let still_verified = case_when(users::phone.is_not_distinct_from(new.as_deref()), users::phone_verified_at);
        users::phone_verified_at.eq(still_verified)
    });
    let search_name = changes.display_name.as_deref().map(|new| users::search_name.eq(text::fold(new)));
    diesel::update(users::table.find(id))
        .set((changes, search_name, email_verified_at, phone_verified_at))
        .returning(User::as_returning())
        .get_result(conn)
        .await
}

pub async fn by_id(conn: &mut Connection, id: UserId) -> QueryResult<Option<User>> {
    users::table.find(id).select(User::as_select()).first(conn).await.optional()
}

pub async fn by_ids(conn: &mut Connection, ids: &[UserId]) -> QueryResult<Vec<User>> {
    users::table.filter(users::id.eq_any(ids)).select(User::as_select()).load(conn).await
}

pub async fn by_username(conn: &mut Connection, username: &str) -> QueryResult<Option<User>> {
    users::table.filter(users::username.eq(username)).select(User::as_select()).first(conn).await.optional()
}

/// Reads the user with this username, verified e-mail address or verified phone number.
pub async fn by_identifier(conn: &mut Connection, identifier: &str) -> QueryResult<Option<User>> {
    let by_email = users::email.eq(identifier).and(users::email_verified_at.is_not_null());
    let by_phone = users::phone.eq(identifier).and(users::phone_verified_at.is_not_null());
    users::table
        .filter(users::username.eq(identifier).or(by_email).or(by_phone))
        .select(User::as_select())
        .first(conn)
        .await
        .optional()
}

/// Reads the user who has verified one of these e-mail addresses or phone numbers, which are forms of the same one.
pub async fn by_verified(conn: &mut Connection, forms: &[String]) -> QueryResult<Option<User>> {
    let by_email = users::email.eq_any(forms).and(users::email_verified_at.is_not_null());
    let by_phone = users::phone.eq_any(forms).and(users::phone_verified_at.is_not_null());
    users::table.filter(by_email.or(by_phone)).select(User::as_select()).first(conn).await.optional()
}

/// Same as `by_verified`, but also locks the user against changes until the transaction ends.
pub async fn lock_by_verified(conn: &mut Connection, forms: &[String]) -> QueryResult<Option<User>> {
    let by_email = users::email.eq_any(forms).and(users::email_verified_at.is_not_null());
    let by_phone = users::phone.eq_any(forms).and(users::phone_verified_at.is_not_null());
    let found = users::table.filter(by_email.or(by_phone)).select(User::as_select());
    found.for_share().first(conn).await.optional()
}

/// Sets the e-mail address of the user, as verified. Violates a unique index if another user has verified the address.
pub async fn set_verified_email(
    conn: &mut Connection,
    id: UserId,
    email: &str,
    now: DateTime<Utc>,
) -> QueryResult<User> {
    diesel::update(users::table.find(id))
        .set((users::email.eq(email), users::email_verified_at.eq(now), users::is_guest.eq(false)))
        .returning(User::as_returning())
        .get_result(conn)
        .await
}

/// Sets the phone number of the user, as verified. Violates a unique index if another user has verified the number.
pub async fn set_verified_phone(
    conn: &mut Connection,
    id: UserId,
    phone: &str,
    now: DateTime<Utc>,
) -> QueryResult<User> {
    diesel::update(users::table.find(id))
        .set((users::phone.eq(phone), users::phone_verified_at.eq(now), users::is_guest.eq(false)))
        .returning(User::as_returning())
        .get_result(conn)
        .await
}

/// Locks the user until the transaction ends.
pub async fn lock(conn: &mut Connection, id: UserId) -> QueryResult<()> {
    users::table.find(id).select(users::id).for_no_key_update().execute(conn).await.map(drop)
}

/// Reads the user, and locks the user until the transaction ends.
pub async fn lock_row(conn: &mut Connection, id: UserId) -> QueryResult<Option<User>> {
    users::table.find(id).select(User::as_select()).for_no_key_update().first(conn).await.optional()
}

/// Locks the password against changes until the transaction ends. Returns whether the user exists and has this password
/// hash. A hash of None means that the account has no password.
pub async fn lock_password(conn: &mut Connection, id: UserId, hash: Option<&str>) -> QueryResult<bool> {
    let current = users::table.find(id).filter(users::password_hash.is_not_distinct_from(hash));
    let found: Option<UserId> = current.select(users::id).for_share().first(conn).await.optional()?;
    Ok(found.is_some())
}

/// Replaces the password hash and returns the user. Returns None and changes nothing if the hash is no longer `old`.
/// A hash of None means that the account has no password.
pub async fn replace_password(
    conn: &mut Connection,
    id: UserId,
    old: Option<&str>,
    new: &str,
) -> QueryResult<Option<User>> {
    diesel::update(users::table.find(id).filter(users::password_hash.is_not_distinct_from(old)))
        .set((users::password_hash.eq(new), users::is_guest.eq(false)))
        .returning(User::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// Sets the password hash of the user, whatever it was before.
pub async fn set_password(conn: &mut Connection, id: UserId, hash: &str) -> QueryResult<()> {
    diesel::update(users::table.find(id)).set(users::password_hash.eq(hash)).execute(conn).await.map(drop)
}

/// Gives a guest a username and a password. Violates a unique index if the username is taken. Returns None if the user
/// is no guest.
pub async fn upgrade_guest(
    conn: &mut Connection,
    id: UserId,
    username: &str,
    password_hash: &str,
) -> QueryResult<Option<User>> {
    diesel::update(users::table.find(id).filter(users::is_guest))
        .set((users::username.eq(username), users::password_hash.eq(password_hash), users::is_guest.eq(false)))
        .returning(User::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// Records that the user has a way to sign in. Returns whether the user was a guest.
pub async fn end_guest(conn: &mut Connection, id: UserId) -> QueryResult<bool> {
    let guest = users::table.find(id).filter(users::is_guest);
    diesel::update(guest).set(users::is_guest.eq(false)).execute(conn).await.map(|rows| rows == 1)
}

/// Stores the language of the user. Does nothing if another transaction has locked the user. Sign-ins share a lock on
/// the user, so two of them could otherwise wait for each other.
pub async fn set_language(conn: &mut Connection, id: UserId, language: &str) -> QueryResult<()> {
    diesel::sql_query(
        "UPDATE users SET language = $2
         WHERE id = (SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED)",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<Text, _>(language)
    .execute(conn)
    .await
    .map(drop)
}

/// Reads when each user was last seen. Leaves out users who were never seen.
pub async fn last_seen(conn: &mut Connection, ids: &[UserId]) -> QueryResult<Vec<(UserId, DateTime<Utc>)>> {
    users::table
        .filter(users::id.eq_any(ids))
        .filter(users::last_seen_at.is_not_null())
        .select((users::id, users::last_seen_at.assume_not_null()))
        .load(conn)
        .await
}

/// Stores when each user was last seen, unless a later time is stored. Returns the number of users found. Locks the
/// rows in the order of their ids, so that nodes cannot deadlock.
pub async fn set_last_seen(conn: &mut Connection, ids: &[UserId], times: &[DateTime<Utc>]) -> QueryResult<usize> {
    diesel::sql_query(
        "WITH locked AS (SELECT id FROM users WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE)
         UPDATE users SET last_seen_at = greatest(users.last_seen_at, seen.at)
         FROM unnest($1, $2) AS seen (id, at), locked
         WHERE users.id = seen.id AND locked.id = seen.id",
    )
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Array<Timestamptz>, _>(times)
    .execute(conn)
    .await
}

/// Locks the user for deletion: until the transaction ends, no other transaction can insert a row that refers to the
/// user. Returns None if the user does not exist.
pub async fn lock_for_deletion(conn: &mut Connection, id: UserId) -> QueryResult<Option<User>> {
    users::table.find(id).select(User::as_select()).for_update().first(conn).await.optional()
}

/// Deletes the user and all rows that belong to the user.
pub async fn delete(conn: &mut Connection, id: UserId) -> QueryResult<()> {
    diesel::delete(users::table.find(id)).execute(conn).await.map(drop)
}

/// Returns the ids in `ids` whose users exist.
pub async fn existing(conn: &mut Connection, ids: &[UserId]) -> QueryResult<Vec<UserId>> {
    users::table.filter(users::id.eq_any(ids)).select(users::id).load(conn).await
}

/// Searches users, and returns the first `limit` users after the position `after` in the order (rank, username). Finds
/// users whose username begins with `query`, which must be in lower case, or whose display name contains `query`, and
/// the user whose verified e-mail address or phone number is `contact_point`, if this user lets the viewer find them by
/// it. Names are compared as `text::fold` writes them. If a folded query has fewer than three characters, the index has
/// no trigram of it, so a display name must begin with the query.
pub async fn search(
    conn: &mut Connection,
    viewer: UserId,
    query: &str,
    contact_point: Option<&str>,
    after: Option<(i32, &str)>,
    limit: i64,
) -> QueryResult<Vec<Found>> {
    const TRIGRAM: usize = 3;
    let prefix = format!("{}%", escape_like(query));
    let folded = text::fold(query);
    let name = match folded.chars().count() {
        0 => None,
        1..TRIGRAM => Some(format!("{}%", escape_like(&folded))),
        _ => Some(format!("%{}%", escape_like(&folded))),
    };
    diesel::sql_query(
        "WITH owner AS MATERIALIZED (
             SELECT id FROM users
             WHERE (
                 email = $7 AND email_verified_at IS NOT NULL OR phone = $7 AND phone_verified_at IS NOT NULL
             ) AND (
                 discoverable_by_contact_point = 'EVERYONE'
                 OR discoverable_by_contact_point = 'CONTACTS' AND EXISTS (
                     SELECT FROM contacts WHERE user_id = users.id AND contact_id = $8
                 )
             )
             LIMIT 1
         )
         SELECT * FROM (
             SELECT *, CASE
                 WHEN username = $1 OR id = (SELECT id FROM owner) THEN 0
                 WHEN username LIKE $2 THEN 1
                 ELSE 2
             END AS rank
             FROM users
             WHERE username LIKE $2 OR search_name LIKE $3 OR id = (SELECT id FROM owner)
         ) AS found
         WHERE $4::int IS NULL OR (rank, username) > ($4, $5)
         ORDER BY rank, username
         LIMIT $6",
    )
    .bind::<Text, _>(query)
    .bind::<Text, _>(prefix)
    .bind::<Nullable<Text>, _>(name)
    .bind::<Nullable<Integer>, _>(after.map(|(rank, _)| rank))
    .bind::<Nullable<Text>, _>(after.map(|(_, username)| username))
    .bind::<BigInt, _>(limit)
    .bind::<Nullable<Text>, _>(contact_point)
    .bind::<SqlUuid, _>(viewer)
    .load(conn)
    .await
}
