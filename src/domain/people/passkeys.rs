//! Passkeys: keys of devices, with which users sign in without a password. The authenticator verifies its user by a PIN
//! or a fingerprint, so a passkey counts as both factors.

use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as Diesel};
use sha2::{Digest as _, Sha256};

use super::core::PeopleCore;
use super::sessions::{Device, ENDED, Sessions, SignedIn};
use super::webauthn::{self, Assertion, PasskeyUse, Refusal, Registration, UserEntity};
use crate::config::{MAX_PASSKEYS, PASSKEY_CHALLENGE_LIFETIME};
use crate::domain::client::Client;
use crate::domain::error::{Error, Result, Violation};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::ids::{PasskeyId, UserId};
use crate::limiter::{Key, Rate};
use crate::log::{Change, Transaction};
use crate::notices::FactorChange;
use crate::store::people::passkey_challenges::{self, PasskeyChallenge};
use crate::store::people::passkeys::{self, Passkey};
use crate::store::people::users::{self, User};

/// Number of random bytes in a challenge. The specification requires 16 or more.
const CHALLENGE_BYTES: usize = 32;
/// Name of the input field with the answer of a passkey.
const CREDENTIAL: &str = "credential";
/// Error for a passkey that the viewer does not have.
const NO_PASSKEY: Error = Error::NotFound("No such passkey. `viewer.passkeys` lists yours.");

pub struct Passkeys<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// A passkey that has answered a challenge correctly. Its use still has to be recorded, in the transaction that it
/// allows.
pub(super) struct RightPasskey {
    passkey: Passkey,
    used: PasskeyUse,
    refused: fn(Refusal) -> Error,
}

impl Passkeys<'_> {
    /// Reads the passkeys of the viewer, oldest first.
    pub async fn list(&self, viewer: Viewer) -> Result<Vec<Passkey>> {
        Ok(passkeys::of_user(&mut *self.core.base.connection().await?, viewer.user).await?)
    }

    /// Returns the options for creating a passkey, as JSON text, with a new challenge. Needs a confirmed identity.
    pub async fn creation_options(&self, viewer: Viewer, client: &Client) -> Result<String> {
        let challenge = self.new_challenge(client)?;
        let log = &self.core.base.log;
        let (user, existing) = log
            .transaction(async |tx| {
                let user = users::by_id(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
                self.core.check_confirmed(tx, viewer).await?;
                let existing = passkeys::of_user(tx.conn(), viewer.user).await?;
                check_number(existing.len())?;
                passkey_challenges::insert(tx.conn(), &self.row(&challenge, Some(viewer.user))).await?;
                Ok::<_, Error>((user, existing))
            })
            .await?;
        let existing: Vec<_> = existing.into_iter().map(|passkey| passkey.credential_id).collect();
        let entity =
            UserEntity { handle: user.id.0.as_bytes(), username: &user.username, display_name: &user.display_name };
        let (settings, app_name) = (&self.core.webauthn, &self.core.app_name);
        Ok(webauthn::creation_options(settings, app_name, &entity, &challenge, &existing).to_string())
    }

    /// Stores a passkey that was created with these options. Needs a confirmed identity.
    pub async fn add(&self, viewer: Viewer, credential: &str, name: &str, client: &Client) -> Result<Passkey> {
        let mut check = Check::default();
        let name = check.passkey_name(name);
        check.done()?;
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let registration = Registration::parse(credential).map_err(invalid)?;
        self.take_challenge(registration.challenge(), Some(viewer.user), invalid).await?;
        let new = registration.verify(&self.core.webauthn).map_err(invalid)?;
        let now = self.core.base.now();
        let passkey = Passkey {
            id: PasskeyId::new(now, &self.core.base.random),
            user_id: viewer.user,
            credential_id: new.id,
            public_key: new.public_key,
            name,
            sign_count: new.sign_count.into(),
            backed_up: new.backed_up,
            created_at: now,
            last_used_at: None,
        };
        let log = &self.core.base.log;
        let user = log.transaction(async |tx| self.store(tx, viewer, &passkey).await).await?;
        let change = FactorChange::PasskeyAdded { name: passkey.name.clone() };
        self.core.tell_of_factor_change(&user, change, client);
        Ok(passkey)
    }

    /// Stores the passkey. A guest becomes a regular account by it. The lock on the user serialises additions, so that
    /// their number stays within its limit.
    async fn store(&self, tx: &mut Transaction<'_>, viewer: Viewer, passkey: &Passkey) -> Result<User> {
        let user = users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
        self.core.check_confirmed(tx, viewer).await?;
        let existing = passkeys::count(tx.conn(), viewer.user).await?;
        check_number(usize::try_from(existing).unwrap_or(usize::MAX))?;
        passkeys::insert(tx.conn(), passkey).await.map_err(|error| match error {
            Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => {
                Error::Conflict(Violation::new(CREDENTIAL, "This passkey is registered already. Use it to sign in."))
            }
            error => error.into(),
        })?;
        if users::end_guest(tx.conn(), user.id).await? {
            tx.record(Change::UserUpdated { user: user.id });
        }
        Ok(user)
    }

    /// Returns the options for the use of a passkey, as JSON text, with a new challenge.
    pub async fn request_options(&self, client: &Client) -> Result<String> {
        let challenge = self.new_challenge(client)?;
        passkey_challenges::insert(&mut *self.core.base.connection().await?, &self.row(&challenge, None)).await?;
        Ok(webauthn::request_options(&self.core.webauthn, &challenge).to_string())
    }

    /// Signs in the user of the passkey.
    pub async fn login(&self, credential: &str, device: Device) -> Result<SignedIn> {
        let mut check = Check::default();
        let device = device.checked(&mut check);
        check.done()?;
        let right = self.check(credential, refused_login).await?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let locked = users::lock_row(tx.conn(), right.passkey.user_id).await?;
            let user = locked.ok_or_else(|| refused_login(Refusal::Forged))?;
            right.use_up(self.core, tx).await?;
            Sessions { core: self.core }.open(tx, &user, device).await
        })
        .await
    }

    pub async fn rename(&self, viewer: Viewer, id: PasskeyId, name: &str) -> Result<Passkey> {
        let mut check = Check::default();
        let name = check.passkey_name(name);
        check.done()?;
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let renamed = passkeys::rename(&mut *self.core.base.connection().await?, viewer.user, id, &name).await?;
        renamed.ok_or(NO_PASSKEY)
    }

    /// Removes a passkey of the viewer, unless it is the only way to sign in. Needs a confirmed identity. Sessions that
    /// were opened with it stay.
    pub async fn remove(&self, viewer: Viewer, id: PasskeyId, client: &Client) -> Result<()> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        let removed = log.transaction(async |tx| {
            let user = users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
            self.core.check_confirmed(tx, viewer).await?;
            let passkey = passkeys::delete(tx.conn(), viewer.user, id).await?.ok_or(NO_PASSKEY)?;
            self.core.check_can_sign_in(tx, &user, "passkeyId").await?;
            Ok::<_, Error>((user, passkey.name))
        });
        let (user, name) = removed.await?;
        self.core.tell_of_factor_change(&user, FactorChange::PasskeyRemoved { name }, client);
        Ok(())
    }

    /// Checks the answer of a passkey of the viewer. An answer that is refused gets BAD_USER_INPUT at `passkey`.
    pub(super) async fn check_of(&self, viewer: Viewer, credential: &str) -> Result<RightPasskey> {
        let right = self.check(credential, refused_confirmation).await?;
        if right.passkey.user_id == viewer.user { Ok(right) } else { Err(refused_confirmation(Refusal::Forged)) }
    }

    async fn check(&self, credential: &str, refused: fn(Refusal) -> Error) -> Result<RightPasskey> {
        let assertion = Assertion::parse(credential).map_err(refused)?;
        self.take_challenge(assertion.challenge(), None, refused).await?;
        let mut connection = self.core.base.connection().await?;
        // Step 7 of section 7.2: the public key of the credential.
        let found = passkeys::by_credential_id(&mut connection, &assertion.credential_id).await?;
        let passkey = found.ok_or_else(|| refused(Refusal::Forged))?;
        let owner = passkey.user_id.0.as_bytes();
        let used = assertion.verify(&self.core.webauthn, owner, &passkey.public_key).map_err(refused)?;
        Ok(RightPasskey { passkey, used, refused })
    }

    fn new_challenge(&self, client: &Client) -> Result<[u8; CHALLENGE_BYTES]> {
        if let Some(network) = client.network {
            self.core.base.check_rate_for(Rate::PasskeyChallenges, Key::Network(network), 1)?;
        }
        Ok(self.core.base.random.bytes())
    }

    fn row(&self, challenge: &[u8], user_id: Option<UserId>) -> PasskeyChallenge {
        let expires_at = self.core.base.now() + PASSKEY_CHALLENGE_LIFETIME;
        PasskeyChallenge { hash: hash(challenge), user_id, expires_at }
    }

    /// Uses up the challenge that was made for this user, or for no user.
    async fn take_challenge(
        &self,
        challenge: &[u8],
        user: Option<UserId>,
        refused: fn(Refusal) -> Error,
    ) -> Result<()> {
        let (mut connection, now) = (self.core.base.connection().await?, self.core.base.now());
        let taken = passkey_challenges::take(&mut connection, &hash(challenge), user, now).await?;
        if taken { Ok(()) } else { Err(refused(Refusal::Challenge)) }
    }
}

impl RightPasskey {
    /// Records the use. Step 21 of section 7.2: the counter of an authenticator that counts must grow, because a
    /// smaller one is a sign of a copied key. Returns an error if it did not, or if the passkey was removed meanwhile.
    pub(super) async fn use_up(&self, core: &PeopleCore, tx: &mut Transaction<'_>) -> Result<()> {
        let Self { passkey, used, refused } = self;
        let (sign_count, now) = (i64::from(used.sign_count), core.base.now());
        let recorded = passkeys::record_use(tx.conn(), passkey.id, sign_count, used.backed_up, now).await?;
        if recorded { Ok(()) } else { Err(refused(Refusal::Forged)) }
    }
}

fn hash(challenge: &[u8]) -> Vec<u8> {
    Sha256::digest(challenge).to_vec()
}

fn check_number(existing: usize) -> Result<()> {
    if existing < MAX_PASSKEYS {
        return Ok(());
    }
    let message = format!("An account can have at most {MAX_PASSKEYS} passkeys. Remove one by `removePasskey` first.");
    Err(Error::invalid("input", message))
}

fn invalid(refusal: Refusal) -> Error {
    Error::invalid(CREDENTIAL, refusal.message())
}

fn refused_confirmation(refusal: Refusal) -> Error {
    Error::invalid("passkey", refusal.message())
}

/// Returns the error of a sign-in. As with passwords, clients do not learn whether the passkey exists.
fn refused_login(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Forged => Error::Unauthenticated(refusal.message()),
        refusal => invalid(refusal),
    }
}
