//! Sign-ins with a second factor: after a right password, code or token, an account with an authenticator app gets a
//! challenge instead of a session. The second factor completes the challenge.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::core::PeopleCore;
use super::factors::{FactorInput, RightFactor};
use super::sessions::{Device, Sessions, SignedIn};
use crate::address::ClientAddress;
use crate::config::{LOGIN_CHALLENGE_LIFETIME, LOGIN_CHALLENGE_TRIES, LOGIN_CHALLENGES_PER_NETWORK};
use crate::domain::client::Client;
use crate::domain::error::{Error, FactorChallenge, FactorKind, Result};
use crate::issuers::Assertion;
use crate::log::Transaction;
use crate::notices::{FactorChange, Notice};
use crate::store::people::login_challenges::{self, LoginChallenge};
use crate::store::people::sessions::Revoke;
use crate::store::people::users::{self, User};
use crate::store::people::{identities, passkeys, recovery_codes, totp_factors};

/// Prefix of the token of a challenge. Lets secret scanners recognise the token.
const PREFIX: &str = "parlance_lc_";
/// Number of random bytes in a token.
const TOKEN_BYTES: usize = 32;
/// Maximum size of a token in bytes. A longer text is not checked. Tokens of this server have 55 bytes.
const MAX_TOKEN: usize = 128;
/// Name of the input field with the second factor.
const FACTOR: &str = "factor";

pub struct FactorLogins<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// A sign-in whose first factor is right: a session, or a challenge if the account has a second factor.
pub(super) type FirstFactor = Result<SignedIn, FactorChallenge>;

/// The account and the device of a sign-in whose first factor is right.
pub(super) struct SignIn<'a> {
    pub(super) user: &'a User,
    /// Hash of the current password. None if the account has no password.
    pub(super) password_hash: Option<&'a str>,
    /// Hash of the password that the account gets. None if the sign-in resets no password.
    pub(super) new_password_hash: Option<&'a str>,
    /// The token with which the user signs in. None for another first factor.
    pub(super) assertion: Option<&'a Assertion>,
    pub(super) device: Device,
}

/// The notices that the owner of the account gets after a sign-in.
struct Told {
    user: User,
    password_reset: bool,
    change: Option<FactorChange>,
}

impl FactorLogins<'_> {
    /// Opens a session, after the password is set if the sign-in resets it. If the account has a second factor, stores
    /// a challenge instead and changes nothing else. The user must be locked against changes of the second factor.
    pub(super) async fn open(&self, tx: &mut Transaction<'_>, sign_in: SignIn<'_>) -> Result<FirstFactor> {
        if totp_factors::is_on(tx.conn(), sign_in.user.id).await? {
            return self.challenge(tx, sign_in).await.map(Err);
        }
        let SignIn { user, new_password_hash, assertion, device, .. } = sign_in;
        self.open_session(tx, user, new_password_hash, assertion, device).await.map(Ok)
    }

    /// Completes a challenge by the second factor. A try of the challenge counts only if the factor was wrong.
    /// `ip_address` is the address of the client.
    pub async fn complete(
        &self,
        token: &str,
        factor: FactorInput,
        ip_address: Option<ClientAddress>,
        client: &Client,
    ) -> Result<SignedIn> {
        let factor = factor.checked(FACTOR)?;
        let hash = hash(token).ok_or_else(no_challenge)?;
        let challenge = self.count_try(&hash).await?.ok_or_else(no_challenge)?;
        let checked = self.core.check_factor(challenge.user_id, &factor, FACTOR, client).await;
        if checked.as_ref().is_err_and(|error| !matches!(error, Error::Invalid(_))) {
            // The factor was not compared.
            self.undo_try(&hash).await;
        }
        let right = checked?;
        let device = Device { name: challenge.device_name.clone(), ip_address, language: client.language.clone() };
        let log = &self.core.base.log;
        let opened = log.transaction(async |tx| self.open_completed(tx, &challenge, &right, device).await).await;
        if opened.is_err() {
            self.undo_try(&hash).await;
        }
        let (signed_in, Told { user, password_reset, change }) = self.core.settle(&right.counted, opened).await?;
        if password_reset {
            self.core.tell_owner(&user, &Notice::PasswordReset { username: user.username.clone() }, client);
        }
        if let Some(change) = change {
            self.core.tell_of_factor_change(&user, change, client);
        }
        Ok(signed_in)
    }

    async fn count_try(&self, hash: &[u8]) -> Result<Option<LoginChallenge>> {
        let max_tries = i16::try_from(LOGIN_CHALLENGE_TRIES).unwrap_or(i16::MAX);
        let mut connection = self.core.base.connection().await?;
        Ok(login_challenges::count_try(&mut connection, hash, max_tries, self.core.base.now()).await?)
    }

    async fn undo_try(&self, hash: &[u8]) {
        let undone = async {
            let mut connection = self.core.base.connection().await?;
            Ok::<_, Error>(login_challenges::undo_try(&mut connection, hash).await?)
        };
        if let Err(error) = undone.await {
            tracing::debug!(?error, "a try of a challenge could not be undone");
        }
    }

    /// Uses up the challenge and the factor, and opens the session.
    async fn open_completed(
        &self,
        tx: &mut Transaction<'_>,
        challenge: &LoginChallenge,
        right: &RightFactor,
        device: Device,
    ) -> Result<(SignedIn, Told)> {
        let user = users::lock_row(tx.conn(), challenge.user_id).await?.ok_or_else(no_challenge)?;
        // A new password ends all sign-ins that began with the former one.
        let is_current = user.password_hash == challenge.password_hash;
        if !is_current || !login_challenges::delete(tx.conn(), &challenge.hash).await? {
            return Err(no_challenge());
        }
        let change = right.use_up(self.core, tx).await?;
        let assertion = self.assertion(tx, challenge).await?;
        let new_password_hash = challenge.new_password_hash.as_deref();
        let signed_in = self.open_session(tx, &user, new_password_hash, assertion.as_ref(), device).await?;
        Ok((signed_in, Told { user, password_reset: new_password_hash.is_some(), change }))
    }

    /// Returns the token with which the sign-in began. None if it began with another first factor. Returns an error if
    /// the identity of the token is no longer linked to the account.
    async fn assertion(&self, tx: &mut Transaction<'_>, challenge: &LoginChallenge) -> Result<Option<Assertion>> {
        let Some(json) = &challenge.assertion else { return Ok(None) };
        let mut assertion: Assertion = serde_json::from_str(json).map_err(|_| no_challenge())?;
        let (issuer, subject, now) = (&assertion.issuer, &assertion.subject, self.core.base.now());
        if !identities::record_use(tx.conn(), challenge.user_id, issuer, subject, now).await? {
            return Err(no_challenge());
        }
        // The second factor has confirmed the identity just now.
        assertion.authenticated_at = now;
        Ok(Some(assertion))
    }

    /// Opens a session. If there is a new password, first sets it, ends all sessions and deletes the live codes of the
    /// account.
    async fn open_session(
        &self,
        tx: &mut Transaction<'_>,
        user: &User,
        new_password_hash: Option<&str>,
        assertion: Option<&Assertion>,
        device: Device,
    ) -> Result<SignedIn> {
        let sessions = Sessions { core: self.core };
        if let Some(hash) = new_password_hash {
            self.core.delete_codes(tx, user).await?;
            users::set_password(tx.conn(), user.id, hash).await?;
            sessions.revoke_sessions(tx, user.id, Revoke::All).await?;
        }
        sessions.open_by(tx, user, device, assertion).await
    }

    /// Stores a challenge.
    async fn challenge(&self, tx: &mut Transaction<'_>, sign_in: SignIn<'_>) -> Result<FactorChallenge> {
        let (now, user) = (self.core.base.now(), sign_in.user.id);
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.core.base.random.bytes::<TOKEN_BYTES>()));
        let resets_password = sign_in.new_password_hash.is_some();
        let challenge = LoginChallenge {
            hash: Sha256::digest(&token).to_vec(),
            user_id: user,
            device_name: sign_in.device.name,
            network: sign_in.device.ip_address.map(|address| address.network().to_string()),
            password_hash: sign_in.password_hash.map(str::to_owned),
            new_password_hash: sign_in.new_password_hash.map(str::to_owned),
            assertion: sign_in.assertion.map(|assertion| serde_json::to_string(assertion).unwrap_or_default()),
            created_at: now,
            expires_at: now + LOGIN_CHALLENGE_LIFETIME,
        };
        login_challenges::insert(tx.conn(), &challenge, LOGIN_CHALLENGES_PER_NETWORK).await?;
        let mut factors = vec![FactorKind::Totp];
        if recovery_codes::unused(tx.conn(), user).await? > 0 {
            factors.push(FactorKind::RecoveryCode);
        }
        // A sign-in with a passkey would not reset the password.
        if !resets_password && passkeys::count(tx.conn(), user).await? > 0 {
            factors.push(FactorKind::Passkey);
        }
        Ok(FactorChallenge { token, factors })
    }
}

/// Returns the hash of the token of a challenge. None if the text cannot be a token.
fn hash(token: &str) -> Option<Vec<u8>> {
    (token.len() <= MAX_TOKEN).then(|| Sha256::digest(token).to_vec())
}

/// Returns the error for a challenge that does not work.
fn no_challenge() -> Error {
    Error::invalid(
        "challenge",
        "This challenge is unknown, expired or already used, or has too many tries. Sign in again for a new one.",
    )
}
