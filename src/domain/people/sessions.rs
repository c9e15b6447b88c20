//! Sessions: signed-in devices with their access tokens and refresh tokens.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::core::PeopleCore;
use super::refresh_tokens::{self, REPEATABLE_FOR};
use crate::address::ClientAddress;
use crate::domain::error::{Error, Result};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::ids::{SessionId, UserId};
use crate::issuers::Assertion;
use crate::log::{Change, Transaction};
use crate::notices::Language;
use crate::store::people::sessions::{self, RefreshToken, Revoke, Session};
use crate::store::people::users::User;

/// Maximum size of a refresh token in bytes. A longer text is not checked. Tokens of this server have 55 bytes.
const MAX_REFRESH_TOKEN: usize = 128;
pub(in crate::domain) const ENDED: Error =
    Error::Unauthenticated("The session has ended. Call `login` to sign in again.");
const NO_REFRESH: Error = Error::Unauthenticated(
    "The refresh token is unknown, expired or already used, or its session has ended. Call `login` to sign in again.",
);

pub struct Sessions<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// The device that signs in.
#[derive(Clone, Debug, Default)]
pub struct Device {
    pub name: Option<String>,
    pub ip_address: Option<ClientAddress>,
    /// The languages that the client prefers.
    pub language: Language,
}

impl Device {
    pub(super) fn checked(mut self, check: &mut Check) -> Self {
        self.name = self.name.map(|name| check.device_name(&name));
        self
    }
}

/// A session and a new pair of tokens for this session.
pub struct SignedIn {
    pub session: Session,
    pub viewer: Viewer,
    pub access_token: String,
    pub refresh_token: String,
    pub refresh_token_expires_at: DateTime<Utc>,
    /// Whether the session is the first one of a new account.
    pub is_new_account: bool,
}

impl fmt::Debug for SignedIn {
    /// Omits the tokens, so that they do not get into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SignedIn").field("session", &self.session.id).finish_non_exhaustive()
    }
}

impl Sessions<'_> {
    /// Returns the viewer of an access token. Returns UNAUTHENTICATED if the token is not valid or its session has
    /// ended.
    pub async fn authenticate(&self, access_token: &str) -> Result<Viewer> {
        let viewer = self.read_token(access_token)?;
        self.check(viewer).await?;
        Ok(viewer)
    }

    /// Returns the viewer of an access token, or UNAUTHENTICATED if the token is not valid. Does not check whether the
    /// session has ended.
    pub fn read_token(&self, access_token: &str) -> Result<Viewer> {
        let viewer = self.core.tokens.verify(access_token, self.core.base.now());
        viewer.ok_or(Error::Unauthenticated(
            "The access token is invalid or has expired. Call `refreshSession` with the refresh token, or `login`.",
        ))
    }

    /// Returns UNAUTHENTICATED if the viewer's session has ended. A node queries Postgres once per session. After that,
    /// the log reports the end of the session to the node.
    pub async fn check(&self, viewer: Viewer) -> Result<()> {
        let live_sessions = &self.core.live_sessions;
        if live_sessions.is_live(viewer.session) {
            return Ok(());
        }
        let watch = live_sessions.watch(viewer.session);
        let live =
            sessions::is_live(&mut *self.core.base.connection().await?, viewer.session, self.core.base.now()).await?;
        if !live {
            return Err(ENDED);
        }
        watch.confirm();
        Ok(())
    }

    /// Exchanges the refresh token for a new pair of tokens. Using the token again within `REPEATABLE_FOR` returns the
    /// same pair. A later use counts as theft and ends the session.
    pub async fn refresh(&self, refresh_token: &str, ip_address: Option<ClientAddress>) -> Result<SignedIn> {
        // The time for hashing a text grows with its length.
        if refresh_token.len() > MAX_REFRESH_TOKEN {
            return Err(NO_REFRESH);
        }
        let log = &self.core.base.log;
        let pair = log.transaction(async |tx| self.rotate(tx, refresh_token, ip_address).await).await?;
        // The transaction returns None instead of an error, so that a revocation of the session is committed.
        pair.ok_or(NO_REFRESH)
    }

    /// Reads the live sessions of the viewer, the last used session first.
    pub async fn list(&self, viewer: Viewer) -> Result<Vec<Session>> {
        Ok(sessions::live_of(&mut *self.core.base.connection().await?, viewer.user, self.core.base.now()).await?)
    }

    pub async fn revoke(&self, viewer: Viewer, id: SessionId) -> Result<()> {
        let (log, which) = (&self.core.base.log, Revoke::One(id));
        let revoked = log.transaction(async |tx| self.revoke_sessions(tx, viewer.user, which).await).await?;
        if revoked.is_empty() {
            Err(Error::NotFound("No such session. `viewer.sessions` lists your sessions."))
        } else {
            Ok(())
        }
    }

    pub async fn revoke_others(&self, viewer: Viewer) -> Result<Vec<SessionId>> {
        let (log, which) = (&self.core.base.log, Revoke::AllBut(viewer.session));
        log.transaction(async |tx| self.revoke_sessions(tx, viewer.user, which).await).await
    }

    /// Revokes sessions within a transaction. The log notifies every node, and each node closes the sockets of these
    /// sessions.
    pub(in crate::domain) async fn revoke_sessions(
        &self,
        tx: &mut Transaction<'_>,
        user: UserId,
        which: Revoke,
    ) -> Result<Vec<SessionId>> {
        let revoked = sessions::revoke(tx.conn(), user, which, self.core.base.now()).await?;
        for &session in &revoked {
            tx.record(Change::SessionRevoked { user, session });
        }
        Ok(revoked)
    }

    pub(super) async fn open(&self, tx: &mut Transaction<'_>, user: &User, device: Device) -> Result<SignedIn> {
        self.open_by(tx, user, device, None).await
    }

    /// Opens a session, and stores the language of the device if the account has none. `assertion` is the token with
    /// which the user has signed in, if there is one.
    pub(super) async fn open_by(
        &self,
        tx: &mut Transaction<'_>,
        user: &User,
        device: Device,
        assertion: Option<&Assertion>,
    ) -> Result<SignedIn> {
        self.core.keep_language(tx, user, &device.language).await?;
        let now = self.core.base.now();
        let session = Session {
            id: SessionId::new(now, &self.core.base.random),
            user_id: user.id,
            device_name: device.name,
            ip_address: device.ip_address.map(|address| address.to_string()),
            created_at: now,
            last_used_at: now,
            expires_at: now + self.core.tokens.refresh_ttl,
            revoked_at: None,
            // A user who signs in has proved their identity, here or at the issuer.
            confirmed_at: assertion.map_or(now, |assertion| assertion.authenticated_at.min(now)),
            issuer: assertion.map(|assertion| assertion.issuer.clone()),
            issuer_subject: assertion.map(|assertion| assertion.subject.clone()),
            issuer_session: assertion.and_then(|assertion| assertion.session.clone()),
        };
        sessions::insert(tx.conn(), &session).await?;
        let refresh_token = refresh_tokens::token(self.core.base.random.bytes());
        self.issue(tx, session, refresh_token, now).await
    }

    /// Exchanges the refresh token for a new pair of tokens. Returns None if the token is not valid or the session has
    /// ended. The lock on the session serialises the refreshes of the session.
    async fn rotate(
        &self,
        tx: &mut Transaction<'_>,
        refresh_token: &str,
        ip_address: Option<ClientAddress>,
    ) -> Result<Option<SignedIn>> {
        let hash = refresh_tokens::hash(refresh_token);
        let Some(session) = sessions::lock_by_refresh_token(tx.conn(), &hash).await? else { return Ok(None) };
        let now = self.core.base.now();
        let Some(token) = sessions::refresh_token(tx.conn(), &hash).await? else { return Ok(None) };
        if token.expires_at <= now || session.revoked_at.is_some() {
            return Ok(None);
        }
        if let Some(spent_at) = token.spent_at {
            if now - spent_at < REPEATABLE_FOR
                && let Some(pair) = self.repeat(tx, &session, refresh_token, token).await?
            {
                return Ok(Some(pair));
            }
            self.revoke_sessions(tx, session.user_id, Revoke::One(session.id)).await?;
            return Ok(None);
        }
        let salt = self.core.base.random.bytes::<{ refresh_tokens::SECRET_BYTES }>();
        sessions::spend_refresh_token(tx.conn(), &token, &salt, now, now - REPEATABLE_FOR).await?;
        let expires_at = now + self.core.tokens.refresh_ttl;
        let ip_address = ip_address.map(|address| address.to_string());
        let session = sessions::record_use(tx.conn(), session.id, now, expires_at, ip_address.as_deref()).await?;
        self.issue(tx, session, refresh_tokens::successor(refresh_token, &salt), now).await.map(Some)
    }

    /// Derives the pair for which the spent token was exchanged. If the refresh token of that pair has also been spent,
    /// continues to the newest pair of the session, so that the caller gets an unspent token. Returns None if a pair
    /// cannot be derived.
    async fn repeat(
        &self,
        tx: &mut Transaction<'_>,
        session: &Session,
        refresh_token: &str,
        mut token: RefreshToken,
    ) -> Result<Option<SignedIn>> {
        let mut refresh_token = refresh_token.to_owned();
        while let Some(issued_at) = token.spent_at {
            let Some(salt) = &token.successor_salt else { return Ok(None) };
            refresh_token = refresh_tokens::successor(&refresh_token, salt);
            let next = sessions::refresh_token(tx.conn(), &refresh_tokens::hash(&refresh_token)).await?;
            let Some(next) = next else { return Ok(None) };
            token = next;
            if token.spent_at.is_none() {
                let expires_at = token.expires_at;
                return self.sign(session.clone(), refresh_token, expires_at, issued_at).map(Some);
            }
        }
        Ok(None)
    }

    async fn issue(
        &self,
        tx: &mut Transaction<'_>,
        session: Session,
        refresh_token: String,
        now: DateTime<Utc>,
    ) -> Result<SignedIn> {
        let row = RefreshToken {
            hash: refresh_tokens::hash(&refresh_token),
            session_id: session.id,
            expires_at: session.expires_at,
            spent_at: None,
            successor_salt: None,
        };
        sessions::insert_refresh_token(tx.conn(), &row).await?;
        self.sign(session, refresh_token, row.expires_at, now)
    }

    /// Signs an access token with `now` as the time of issue, and returns it together with the refresh token. The same
    /// arguments give the same pair.
    fn sign(
        &self,
        session: Session,
        refresh_token: String,
        refresh_token_expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<SignedIn> {
        let (access_token, expires_at) = self.core.tokens.sign(session.user_id, session.id, now)?;
        let viewer = Viewer { user: session.user_id, session: session.id, expires_at };
        Ok(SignedIn { session, viewer, access_token, refresh_token, refresh_token_expires_at, is_new_account: false })
    }
}
