//! Contacts and contact requests.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::users::User;
use crate::ids::{ContactRequestId, UserId};
use crate::store::schema::{contact_requests, contacts, users};
use crate::store::{Connection, Prepared};

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = contact_requests, check_for_backend(diesel::pg::Pg))]
pub struct ContactRequest {
    pub id: ContactRequestId,
    pub from_id: UserId,
    pub to_id: UserId,
    pub created_at: DateTime<Utc>,
    /// The user from whom the request is hidden, because this user blocks the other user.
    pub withheld_from: Option<UserId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Incoming,
    Outgoing,
}

/// The relation of one user to another, as the first user sees it.
#[derive(Clone, Copy, Debug, Default, QueryableByName)]
pub struct Relation {
    #[diesel(sql_type = Bool)]
    pub is_contact: bool,
    #[diesel(sql_type = Bool)]
    pub has_blocked: bool,
}

/// Whether `other` is in the user's contacts. `other` might not have the user as a contact.
pub async fn is_contact(conn: &mut Connection, user: UserId, other: UserId) -> QueryResult<bool> {
    diesel::select(diesel::dsl::exists(contacts::table.find((user, other)))).get_result(conn).await
}

/// Adds `contact` to the user's contacts. Returns whether the contact is new. Does not change the contacts of
/// `contact`.
pub async fn insert(conn: &mut Connection, user: UserId, contact: UserId, now: DateTime<Utc>) -> QueryResult<bool> {
    let row = (contacts::user_id.eq(user), contacts::contact_id.eq(contact), contacts::created_at.eq(now));
    let inserted = diesel::insert_into(contacts::table).values(row).on_conflict_do_nothing().execute(conn).await?;
    Ok(inserted == 1)
}

/// Removes `contact` from the user's contacts. Returns whether the contact existed. Does not change the contacts of
/// `contact`.
pub async fn delete(conn: &mut Connection, user: UserId, contact: UserId) -> QueryResult<bool> {
    Ok(diesel::delete(contacts::table.find((user, contact))).execute(conn).await? == 1)
}

/// Reads the first `limit` contacts of the user after the position `after`, newest first, each with the time at which
/// the contact was added.
pub async fn list(
    conn: &mut Connection,
    user: UserId,
    after: Option<(DateTime<Utc>, UserId)>,
    limit: i64,
) -> QueryResult<Vec<(DateTime<Utc>, User)>> {
    let mut query = contacts::table
        .inner_join(users::table.on(users::id.eq(contacts::contact_id)))
        .filter(contacts::user_id.eq(user))
        .order((contacts::created_at.desc(), contacts::contact_id.desc()))
        .limit(limit)
        .select((contacts::created_at, User::as_select()))
        .into_boxed();
    if let Some((at, id)) = after {
        let same = contacts::created_at.eq(at).and(contacts::contact_id.lt(id));
        query = query.filter(contacts::created_at.lt(at).or(same));
    }
    query.load(conn).await
}

/// The relation of a viewer to another user.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct Related {
    #[diesel(sql_type = SqlUuid)]
    pub viewer_id: UserId,
    #[diesel(sql_type = SqlUuid)]
    pub other_id: UserId,
    #[diesel(embed)]
    pub relation: Relation,
}

/// Reads the relations for pairs of a viewer and another user.
pub async fn relations(mut conn: &Connection, pairs: &[(UserId, UserId)]) -> QueryResult<Vec<Related>> {
    let (viewers, others): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let query = diesel::sql_query(
        "SELECT viewer_id, other_id,
             EXISTS (SELECT FROM contacts WHERE user_id = viewer_id AND contact_id = other_id) AS is_contact,
             EXISTS (SELECT FROM blocks WHERE blocker_id = viewer_id AND blocked_id = other_id) AS has_blocked
         FROM unnest($1, $2) AS wanted (viewer_id, other_id)",
    )
    .bind::<Array<SqlUuid>, _>(viewers)
    .bind::<Array<SqlUuid>, _>(others);
    Prepared(query).load(&mut conn).await
}

pub async fn insert_request(conn: &mut Connection, request: &ContactRequest) -> QueryResult<()> {
    diesel::insert_into(contact_requests::table).values(request).execute(conn).await.map(drop)
}

/// Reads the pending requests between two users, at most one in each direction.
pub async fn requests_between(conn: &mut Connection, one: UserId, other: UserId) -> QueryResult<Vec<ContactRequest>> {
    contact_requests::table.filter(between(one, other)).select(ContactRequest::as_select()).load(conn).await
}

/// Reads the requests with these ids. Leaves out requests that the user may not see.
pub async fn requests_visible_to(
    conn: &mut Connection,
    user: UserId,
    ids: &[ContactRequestId],
) -> QueryResult<Vec<ContactRequest>> {
    contact_requests::table
        .filter(contact_requests::id.eq_any(ids).and(contact_requests::withheld_from.is_distinct_from(user)))
        .filter(contact_requests::from_id.eq(user).or(contact_requests::to_id.eq(user)))
        .select(ContactRequest::as_select())
        .load(conn)
        .await
}

/// Reads the first `limit` requests to the user (`Incoming`) or from the user (`Outgoing`) after the position `after`,
/// newest first. Leaves out requests that are hidden from the user.
pub async fn list_requests(
    conn: &mut Connection,
    user: UserId,
    direction: Direction,
    after: Option<(DateTime<Utc>, ContactRequestId)>,
    limit: i64,
) -> QueryResult<Vec<ContactRequest>> {
    let mut query = contact_requests::table
        .filter(contact_requests::withheld_from.is_distinct_from(user))
        .order((contact_requests::created_at.desc(), contact_requests::id.desc()))
        .limit(limit)
        .select(ContactRequest::as_select())
        .into_boxed();
    query = match direction {
        Direction::Incoming => query.filter(contact_requests::to_id.eq(user)),
        Direction::Outgoing => query.filter(contact_requests::from_id.eq(user)),
    };
    if let Some((at, id)) = after {
        let same = contact_requests::created_at.eq(at).and(contact_requests::id.lt(id));
        query = query.filter(contact_requests::created_at.lt(at).or(same));
    }
    query.load(conn).await
}

/// Lets both users see the request.
pub async fn show_request(conn: &mut Connection, id: ContactRequestId) -> QueryResult<()> {
    diesel::update(contact_requests::table.find(id))
        .set(contact_requests::withheld_from.eq(None::<UserId>))
        .execute(conn)
        .await
        .map(drop)
}

/// Hides the pending requests between the two users from the blocker. Deletes requests that are already hidden from the
/// other user.
pub async fn hide_requests(conn: &mut Connection, blocker: UserId, other: UserId) -> QueryResult<()> {
    diesel::delete(contact_requests::table.filter(between(blocker, other)))
        .filter(contact_requests::withheld_from.eq(other))
        .execute(conn)
        .await?;
    diesel::update(contact_requests::table.filter(between(blocker, other)))
        .set(contact_requests::withheld_from.eq(blocker))
        .execute(conn)
        .await
        .map(drop)
}

pub async fn delete_request(conn: &mut Connection, id: ContactRequestId) -> QueryResult<()> {
    diesel::delete(contact_requests::table.find(id)).execute(conn).await.map(drop)
}

pub async fn delete_requests_between(conn: &mut Connection, one: UserId, other: UserId) -> QueryResult<()> {
    diesel::delete(contact_requests::table.filter(between(one, other))).execute(conn).await.map(drop)
}

#[diesel::dsl::auto_type]
fn between(one: UserId, other: UserId) -> _ {
    let sent = contact_requests::from_id.eq(one).and(contact_requests::to_id.eq(other));
    let received = contact_requests::from_id.eq(other).and(contact_requests::to_id.eq(one));
    sent.or(received)
}
