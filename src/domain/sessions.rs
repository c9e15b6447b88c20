//! Sessions: a signed-in device, its access token and its refresh tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::error::{Error, Result};
use super::validate::Check;
use super::{App, Viewer};
use crate::ids::{SessionId, UserId};
use crate::log::{Change, Transaction};
use crate::store::sessions::{self, RefreshToken, Revoke, Session};

/// So that secret scanners know one when they see it.
const REFRESH_TOKEN_PREFIX: &str = "parlance_rt_";
/// Bytes of what may be a refresh token; the server's own have 55.
const MAX_REFRESH_TOKEN: usize = 128;
const ENDED: Error = Error::Unauthenticated("The session has ended. Sign in again.");

pub struct Sessions<'a> {
    pub(super) app: &'a App,
}

/// What is known of the device that signs in.
#[derive(Clone, Debug, Default)]
pub struct Device {
    pub name: Option<String>,
    pub ip_address: Option<String>,
}

impl Device {
    pub(super) fn checked(mut self, check: &mut Check) -> Self {
        self.name = self.name.map(|name| check.device_name(&name));
        self
    }
}

/// A session and a fresh pair of tokens for it.
#[derive(Debug)]
pub struct SignedIn {
    pub session: Session,
    pub viewer: Viewer,
    pub access_token: String,
    pub refresh_token: String,
    pub refresh_token_expires_at: DateTime<Utc>,
}

impl Sessions<'_> {
    /// Who an access token speaks for, where its session has not ended.
    pub async fn authenticate(&self, access_token: &str) -> Result<Viewer> {
        let viewer = self.read_token(access_token)?;
        self.check(viewer).await?;
        Ok(viewer)
    }

    /// Who an access token was made for, whatever has become of the session.
    pub fn read_token(&self, access_token: &str) -> Result<Viewer> {
        let viewer = self.app.tokens().verify(access_token, self.app.now());
        viewer.ok_or(Error::Unauthenticated("The access token is wrong or has expired."))
    }

    /// Fails where the viewer's session has ended. Postgres is asked once; from then on the log tells of the end, on
    /// every node as soon as its tail hears of it.
    pub async fn check(&self, viewer: Viewer) -> Result<()> {
        let log = self.app.log();
        if log.is_live(viewer.session) {
            return Ok(());
        }
        let watch = log.watch_session(viewer.session);
        let live = sessions::is_live(&mut *self.app.connection().await?, viewer.session, self.app.now()).await?;
        if !live {
            return Err(ENDED);
        }
        watch.confirm();
        Ok(())
    }

    /// Spends the refresh token for a new pair. One that was spent before ends its session: somebody else has it.
    pub async fn refresh(&self, refresh_token: &str, ip_address: Option<&str>) -> Result<SignedIn> {
        // A hash takes time for each byte.
        if refresh_token.len() > MAX_REFRESH_TOKEN {
            return Err(ENDED);
        }
        let hash = Sha256::digest(refresh_token);
        let mut tx = self.app.log().begin().await?;
        let done = self.rotate(&mut tx, &hash, ip_address).await;
        // A session that ended is committed as such, and only then told to the caller.
        tx.finish(done).await?.ok_or(ENDED)
    }

    /// The viewer's own sessions, last used first.
    pub async fn list(&self, viewer: Viewer) -> Result<Vec<Session>> {
        Ok(sessions::live_of(&mut *self.app.connection().await?, viewer.user, self.app.now()).await?)
    }

    pub async fn revoke(&self, viewer: Viewer, id: SessionId) -> Result<()> {
        match self.revoke_now(viewer.user, Revoke::One(id)).await?.as_slice() {
            [] => Err(Error::NotFound("No such session.")),
            _ => Ok(()),
        }
    }

    pub async fn revoke_others(&self, viewer: Viewer) -> Result<Vec<SessionId>> {
        self.revoke_now(viewer.user, Revoke::AllBut(viewer.session)).await
    }

    async fn revoke_now(&self, user: UserId, which: Revoke) -> Result<Vec<SessionId>> {
        let mut tx = self.app.log().begin().await?;
        let done = self.revoke_in(&mut tx, user, which).await;
        tx.finish(done).await
    }

    /// Revokes within a transaction; the log tells every node, which closes the session's sockets.
    pub(super) async fn revoke_in(
        &self,
        tx: &mut Transaction<'_>,
        user: UserId,
        which: Revoke,
    ) -> Result<Vec<SessionId>> {
        let revoked = sessions::revoke(tx.conn(), user, which, self.app.now()).await?;
        for &session in &revoked {
            tx.record(Change::SessionRevoked { user, session });
        }
        Ok(revoked)
    }

    pub(super) async fn open(&self, tx: &mut Transaction<'_>, user: UserId, device: Device) -> Result<SignedIn> {
        let now = self.app.now();
        let session = Session {
            id: SessionId::new(now, &self.app.parts.random),
            user_id: user,
            device_name: device.name,
            ip_address: device.ip_address,
            created_at: now,
            last_used_at: now,
            expires_at: now + self.app.tokens().refresh_ttl,
            revoked_at: None,
        };
        sessions::insert(tx.conn(), &session).await?;
        self.issue(tx, session, now).await
    }

    /// None where the session is at its end.
    async fn rotate(
        &self,
        tx: &mut Transaction<'_>,
        hash: &[u8],
        ip_address: Option<&str>,
    ) -> Result<Option<SignedIn>> {
        let now = self.app.now();
        let Some(token) = sessions::lock_refresh_token(tx.conn(), hash).await? else { return Ok(None) };
        let Some(session) = sessions::by_id(tx.conn(), token.session_id).await? else { return Ok(None) };
        if token.expires_at <= now || session.revoked_at.is_some() {
            return Ok(None);
        }
        if token.spent_at.is_some() {
            self.revoke_in(tx, session.user_id, Revoke::One(session.id)).await?;
            return Ok(None);
        }
        sessions::spend_refresh_token(tx.conn(), &token, now).await?;
        let expires_at = now + self.app.tokens().refresh_ttl;
        let session = sessions::touch(tx.conn(), session.id, now, expires_at, ip_address).await?;
        self.issue(tx, session, now).await.map(Some)
    }

    async fn issue(&self, tx: &mut Transaction<'_>, session: Session, now: DateTime<Utc>) -> Result<SignedIn> {
        let secret = URL_SAFE_NO_PAD.encode(self.app.parts.random.bytes::<32>());
        let refresh_token = format!("{REFRESH_TOKEN_PREFIX}{secret}");
        let row = RefreshToken {
            hash: Sha256::digest(&refresh_token).to_vec(),
            session_id: session.id,
            expires_at: session.expires_at,
            spent_at: None,
        };
        sessions::insert_refresh_token(tx.conn(), &row).await?;
        let (access_token, expires_at) = self.app.tokens().sign(session.user_id, session.id, now)?;
        let viewer = Viewer { user: session.user_id, session: session.id, expires_at };
        Ok(SignedIn { viewer, access_token, refresh_token, refresh_token_expires_at: session.expires_at, session })
    }
}
