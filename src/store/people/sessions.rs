//! Sessions, one for each signed-in device, and their refresh tokens.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::expired;
use crate::ids::{SessionId, UserId};
use crate::store::Connection;
use crate::store::schema::{refresh_tokens, sessions, users};

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = sessions, check_for_backend(diesel::pg::Pg))]
pub struct Session {
    pub id: SessionId,
    pub user_id: UserId,
    pub device_name: Option<String>,
    pub ip_address: Option<String>,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
    /// When the user last proved their identity in this session: by signing in, or later by `confirmIdentity`.
    pub confirmed_at: DateTime<Utc>,
    /// The claim `iss` of the token with which the user signed in. None if the user did not sign in with a token.
    pub issuer: Option<String>,
    /// The claim `sub` of that token.
    pub issuer_subject: Option<String>,
    /// The claim `sid` of that token: the session at the issuer. None if the token has none.
    pub issuer_session: Option<String>,
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = refresh_tokens, check_for_backend(diesel::pg::Pg))]
pub struct RefreshToken {
    pub hash: Vec<u8>,
    pub session_id: SessionId,
    pub expires_at: DateTime<Utc>,
    pub spent_at: Option<DateTime<Utc>>,
    /// Salt for deriving the successor from the spent token. None if the token is not spent, or if the successor must
    /// not be derived again.
    pub successor_salt: Option<Vec<u8>>,
}

pub async fn insert(conn: &mut Connection, session: &Session) -> QueryResult<()> {
    diesel::insert_into(sessions::table).values(session).execute(conn).await.map(drop)
}

/// Locks the session of the refresh token with this hash until the transaction ends, so that concurrent refreshes of
/// one session run one after the other. Returns None if no such token exists.
pub async fn lock_by_refresh_token(conn: &mut Connection, hash: &[u8]) -> QueryResult<Option<Session>> {
    let session = refresh_tokens::table.find(hash).select(refresh_tokens::session_id).single_value();
    sessions::table
        .filter(sessions::id.nullable().eq(session))
        .select(Session::as_select())
        .for_no_key_update()
        .first(conn)
        .await
        .optional()
}

/// Reads the user's sessions that are neither revoked nor expired, most recently used first.
pub async fn live_of(conn: &mut Connection, user: UserId, now: DateTime<Utc>) -> QueryResult<Vec<Session>> {
    sessions::table
        .filter(sessions::user_id.eq(user).and(sessions::revoked_at.is_null()).and(sessions::expires_at.gt(now)))
        .order((sessions::last_used_at.desc(), sessions::id.desc()))
        .select(Session::as_select())
        .load(conn)
        .await
}

/// Whether the user has a session that is neither revoked nor expired and was last used in this network, such as
/// `203.0.113.7` or `2001:db8::/64`.
pub async fn has_live_in(conn: &mut Connection, user: UserId, network: &str, now: DateTime<Utc>) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Bool)]
        found: bool,
    }
    diesel::sql_query(
        "SELECT EXISTS (
             SELECT FROM sessions
             WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND ip_address::inet <<= $3::inet
         ) AS found",
    )
    .bind::<SqlUuid, _>(user)
    .bind::<Timestamptz, _>(now)
    .bind::<Text, _>(network)
    .get_result::<Found>(conn)
    .await
    .map(|row| row.found)
}

/// Whether the session is neither revoked nor expired.
pub async fn is_live(conn: &mut Connection, id: SessionId, now: DateTime<Utc>) -> QueryResult<bool> {
    diesel::select(diesel::dsl::exists(
        sessions::table.find(id).filter(sessions::revoked_at.is_null().and(sessions::expires_at.gt(now))),
    ))
    .get_result(conn)
    .await
}

/// Reads when the user of the session last proved their identity, and whether the user is a guest. Returns None if the
/// session does not exist or is revoked.
pub async fn confirmed_at(conn: &mut Connection, id: SessionId) -> QueryResult<Option<(DateTime<Utc>, bool)>> {
    sessions::table
        .inner_join(users::table)
        .filter(sessions::id.eq(id).and(sessions::revoked_at.is_null()))
        .select((sessions::confirmed_at, users::is_guest))
        .first(conn)
        .await
        .optional()
}

/// Records that the user of the session has proved their identity. Returns false if the session does not exist or is
/// revoked.
pub async fn confirm(conn: &mut Connection, id: SessionId, now: DateTime<Utc>) -> QueryResult<bool> {
    let unrevoked = sessions::table.find(id).filter(sessions::revoked_at.is_null());
    diesel::update(unrevoked).set(sessions::confirmed_at.eq(now)).execute(conn).await.map(|rows| rows == 1)
}

/// Ends the confirmations of all sessions of the user except `kept`: sets them to the time `expired`, unless they are
/// older.
pub async fn end_confirmations(
    conn: &mut Connection,
    user: UserId,
    kept: SessionId,
    expired: DateTime<Utc>,
) -> QueryResult<()> {
    let others = sessions::user_id.eq(user).and(sessions::id.ne(kept)).and(sessions::confirmed_at.gt(expired));
    diesel::update(sessions::table.filter(others)).set(sessions::confirmed_at.eq(expired)).execute(conn).await.map(drop)
}

/// Revokes the user's sessions that `which` selects and that are not revoked yet. Returns their ids.
pub async fn revoke(
    conn: &mut Connection,
    user: UserId,
    which: Revoke,
    now: DateTime<Utc>,
) -> QueryResult<Vec<SessionId>> {
    let live = sessions::table.filter(sessions::user_id.eq(user).and(sessions::revoked_at.is_null()));
    let revoked = sessions::revoked_at.eq(now);
    match which {
        Revoke::One(id) => {
            diesel::update(live.filter(sessions::id.eq(id))).set(revoked).returning(sessions::id).load(conn).await
        }
        Revoke::All => diesel::update(live).set(revoked).returning(sessions::id).load(conn).await,
        Revoke::AllBut(id) => {
            diesel::update(live.filter(sessions::id.ne(id))).set(revoked).returning(sessions::id).load(conn).await
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Revoke {
    One(SessionId),
    All,
    AllBut(SessionId),
}

/// Revokes the sessions that users opened with tokens of the issuer up to `opened_until`: those of the subject, of the
/// session at the issuer, or of both if both are given. Returns their ids and users. Revokes nothing if none is given.
pub async fn revoke_of_issuer(
    conn: &mut Connection,
    issuer: &str,
    (subject, session): (Option<&str>, Option<&str>),
    opened_until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> QueryResult<Vec<(SessionId, UserId)>> {
    let live = sessions::table
        .filter(sessions::issuer.eq(issuer))
        .filter(sessions::created_at.le(opened_until).and(sessions::revoked_at.is_null()));
    let (revoked, result) = (sessions::revoked_at.eq(now), (sessions::id, sessions::user_id));
    match (subject, session) {
        (Some(subject), Some(session)) => {
            let both = sessions::issuer_subject.eq(subject).and(sessions::issuer_session.eq(session));
            diesel::update(live.filter(both)).set(revoked).returning(result).load(conn).await
        }
        (Some(subject), None) => {
            let of_subject = live.filter(sessions::issuer_subject.eq(subject));
            diesel::update(of_subject).set(revoked).returning(result).load(conn).await
        }
        (None, Some(session)) => {
            let of_session = live.filter(sessions::issuer_session.eq(session));
            diesel::update(of_session).set(revoked).returning(result).load(conn).await
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// Records a use of the session: the time, the new expiry, and the IP address if it is known.
pub async fn record_use(
    conn: &mut Connection,
    id: SessionId,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    ip_address: Option<&str>,
) -> QueryResult<Session> {
    diesel::update(sessions::table.find(id))
        .set((
            sessions::last_used_at.eq(now),
            sessions::expires_at.eq(expires_at),
            ip_address.map(|address| sessions::ip_address.eq(address)),
        ))
        .returning(Session::as_returning())
        .get_result(conn)
        .await
}

pub async fn insert_refresh_token(conn: &mut Connection, token: &RefreshToken) -> QueryResult<()> {
    diesel::insert_into(refresh_tokens::table).values(token).execute(conn).await.map(drop)
}

pub async fn refresh_token(conn: &mut Connection, hash: &[u8]) -> QueryResult<Option<RefreshToken>> {
    refresh_tokens::table.find(hash).select(RefreshToken::as_select()).first(conn).await.optional()
}

/// Marks the token as spent and stores the salt of its successor. Deletes the expired tokens of the same session, and
/// the salts of its tokens that were spent before `repeatable_from`. The session must be locked.
pub async fn spend_refresh_token(
    conn: &mut Connection,
    token: &RefreshToken,
    successor_salt: &[u8],
    now: DateTime<Utc>,
    repeatable_from: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::sql_query(
        "UPDATE refresh_tokens
         SET spent_at = coalesce(spent_at, $3), successor_salt = CASE WHEN hash = $1 THEN $4 END
         WHERE session_id = $2 AND (hash = $1 OR successor_salt IS NOT NULL AND spent_at < $5)",
    )
    .bind::<Binary, _>(&token.hash)
    .bind::<SqlUuid, _>(token.session_id)
    .bind::<Timestamptz, _>(now)
    .bind::<Binary, _>(successor_salt)
    .bind::<Timestamptz, _>(repeatable_from)
    .execute(conn)
    .await?;
    diesel::delete(
        refresh_tokens::table
            .filter(refresh_tokens::session_id.eq(token.session_id).and(refresh_tokens::expires_at.lt(now))),
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Returns the ids in `ids` whose sessions exist and are not revoked.
pub async fn unrevoked(conn: &mut Connection, ids: &[SessionId]) -> QueryResult<Vec<SessionId>> {
    let unrevoked = sessions::id.eq_any(ids).and(sessions::revoked_at.is_null());
    sessions::table.filter(unrevoked).select(sessions::id).load(conn).await
}

/// Deletes at most `limit` refresh tokens, including spent tokens, that expired more than an hour ago by Postgres's
/// clock. Returns the number of deleted tokens. The hour allows for nodes with slow clocks, which accept a token a
/// little longer.
pub async fn delete_expired_tokens(conn: &mut Connection, limit: usize) -> QueryResult<usize> {
    expired::delete(conn, "refresh_tokens", "hash", limit).await
}

/// Deletes at most `limit` sessions that expired at least `days` days ago. Returns the number of deleted sessions.
/// Keeps sessions that have refresh tokens: until a spent token expires, its reuse reveals a theft.
pub async fn delete_expired(conn: &mut Connection, days: i32, limit: usize) -> QueryResult<usize> {
    diesel::sql_query(
        "DELETE FROM sessions WHERE id = ANY(ARRAY(
             SELECT id FROM sessions WHERE expires_at <= now() - $1 * interval '24 hours'
             AND NOT EXISTS (SELECT FROM refresh_tokens WHERE session_id = sessions.id)
             ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
         ))",
    )
    .bind::<Integer, _>(days)
    .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
    .execute(conn)
    .await
}
