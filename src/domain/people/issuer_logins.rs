//! Signing in with a token of an issuer. The first sign-in makes an account, or links the identity to an account with
//! the same verified e-mail address, as the settings of the issuer allow.

use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as Diesel};

use super::accounts::{account_changed, check_connected};
use super::core::PeopleCore;
use super::factor_logins::{FactorLogins, FirstFactor, SignIn};
use super::sessions::{Device, Sessions, SignedIn};
use super::usernames::{USER, converted, generated, with_suffix};
use crate::config::MAX_IDENTITIES;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::validate::Check;
use crate::issuers::{Assertion, Issuer};
use crate::limiter::{Key, Rate};
use crate::log::Transaction;
use crate::notices::Language;
use crate::store::Connection;
use crate::store::people::users::{self, User};
use crate::store::people::{identities, totp_factors};

/// Number of times that a sign-in is tried. A further time is necessary if the username is taken, or if a concurrent
/// request makes, links or deletes the account.
const TRIES: usize = 5;

pub struct IssuerLogins<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// A verified token, and what it allows.
struct Login<'a> {
    assertion: &'a Assertion,
    /// The verified e-mail address in the form in which it is stored.
    email: Option<String>,
    /// Whether the identity may be linked to an account that has verified the same e-mail address.
    links: bool,
}

impl IssuerLogins<'_> {
    /// Signs in the user to whose account the identity of the token is linked. If it is linked to none, makes an
    /// account without a password, as the issuer and the registration mode allow. Sends a notice if the identity is
    /// linked to an account that exists.
    pub async fn sign_in(&self, token: &str, device: Device, client: &Client) -> Result<SignedIn> {
        check_connected(client)?;
        let mut check = Check::default();
        let device = device.checked(&mut check);
        check.done()?;
        let assertion = self.core.prove(token, client).await?;
        // The operator may have removed the issuer since the sign-in code was made.
        let issuer = self.core.issuers.by_url(&assertion.issuer);
        let issuer = issuer.ok_or_else(|| Error::invalid("token", "The server no longer accepts this issuer."))?;
        let email = assertion.verified_email.as_deref().and_then(stored_email);
        let login = Login { assertion: &assertion, email, links: issuer.links_by_verified_email() };
        let (log, mut is_admitted) = (&self.core.base.log, false);
        for attempt in 0..TRIES {
            if !is_admitted && !self.is_known(&login).await? {
                self.admit(issuer, client)?;
                is_admitted = true;
            }
            let opened = log.transaction(async |tx| self.open(tx, &login, is_admitted, attempt, device.clone()).await);
            let (outcome, linked) = match opened.await {
                Err(Error::Conflict(_)) => continue,
                opened => opened?,
            };
            if let Some(user) = linked {
                self.core.tell_of_link(&user, issuer.url(), client);
            }
            return outcome.map_err(Error::FactorRequired);
        }
        Err(account_changed())
    }

    /// Whether the sign-in needs no new account.
    async fn is_known(&self, login: &Login<'_>) -> Result<bool> {
        let mut connection = self.core.base.connection().await?;
        let Assertion { issuer, subject, .. } = login.assertion;
        Ok(identities::owner(&mut connection, issuer, subject).await?.is_some()
            || linkable(&mut connection, login).await?.is_some())
    }

    /// Checks whether a new account may be made.
    fn admit(&self, issuer: &Issuer, client: &Client) -> Result<()> {
        if !issuer.allows_registration() || !self.core.registration.allows_issuers() {
            return Err(Error::Forbidden(
                "No account is linked to this identity, and the server makes none. Sign in to your account in another \
                 way and call `linkIdentity`, or ask the operator of the server for an account.",
            ));
        }
        if let Some(network) = client.network {
            self.core.base.check_rate_for(Rate::Registrations, Key::Network(network), 1)?;
        }
        Ok(())
    }

    /// Opens a session of the account of the identity, of an account to which the identity can be linked, or of a new
    /// one. Makes a challenge instead if the account of the identity has a second factor. Also returns the user to
    /// whose account the identity was linked. Returns CONFLICT if the username is taken, or if a concurrent request has
    /// changed the account meanwhile.
    async fn open(
        &self,
        tx: &mut Transaction<'_>,
        login: &Login<'_>,
        is_admitted: bool,
        attempt: usize,
        device: Device,
    ) -> Result<(FirstFactor, Option<User>)> {
        let assertion = login.assertion;
        let (issuer, subject) = (assertion.issuer.as_str(), assertion.subject.as_str());
        if let Some(owner) = identities::owner(tx.conn(), issuer, subject).await? {
            // The user is locked before the identity, in the same order as by the deletion of the account.
            let user = users::lock_row(tx.conn(), owner).await?.ok_or_else(account_changed)?;
            if !identities::record_use(tx.conn(), owner, issuer, subject, self.core.base.now()).await? {
                return Err(account_changed());
            }
            let password_hash = user.password_hash.as_deref();
            let sign_in =
                SignIn { user: &user, password_hash, new_password_hash: None, assertion: Some(assertion), device };
            let outcome = FactorLogins { core: self.core }.open(tx, sign_in).await?;
            return Ok((outcome, None));
        }
        let linked = match linkable(tx.conn(), login).await? {
            Some(user) => Some(lock_for_link(tx, &user).await?),
            None => None,
        };
        let user = match &linked {
            Some(user) => user.clone(),
            None if is_admitted => self.insert_user(tx, login, attempt, &device.language).await?,
            None => return Err(account_changed()),
        };
        identities::insert(tx.conn(), &self.core.new_identity(user.id, assertion)).await.map_err(conflict)?;
        let signed_in = Sessions { core: self.core }.open_by(tx, &user, device, Some(assertion)).await?;
        Ok((Ok(SignedIn { is_new_account: linked.is_none(), ..signed_in }), linked))
    }

    /// Inserts a new account. The e-mail address is left out if another account has verified it.
    async fn insert_user(
        &self,
        tx: &mut Transaction<'_>,
        login: &Login<'_>,
        attempt: usize,
        language: &Language,
    ) -> Result<User> {
        let mut email = login.email.clone();
        if let Some(address) = &email
            && users::by_verified(tx.conn(), std::slice::from_ref(address)).await?.is_some()
        {
            email = None;
        }
        let random = &self.core.base.random;
        let wanted = login.assertion.username.as_deref().and_then(converted);
        let username = match wanted {
            Some(username) if attempt == 0 => username,
            Some(username) if attempt + 1 < TRIES => with_suffix(&username, random),
            _ => generated(USER, random),
        };
        let display_name = login.assertion.name.as_deref().and_then(display_name);
        let user = self.core.new_user(username, display_name, language);
        let user = User { email_verified_at: email.as_ref().map(|_| user.created_at), email, ..user };
        users::insert(tx.conn(), &user).await.map_err(conflict)?;
        Ok(user)
    }
}

/// Returns the account that has verified the e-mail address of the token, if the issuer links such accounts.
async fn linkable(conn: &mut Connection, login: &Login<'_>) -> Result<Option<User>> {
    match &login.email {
        Some(email) if login.links => Ok(users::by_verified(conn, std::slice::from_ref(email)).await?),
        _ => Ok(None),
    }
}

/// Locks the account to which an identity will be linked, so that concurrent sign-ins cannot exceed MAX_IDENTITIES.
/// Returns CONFLICT if the account has another e-mail address meanwhile. Returns FORBIDDEN if the account has a second
/// factor, or if it has too many identities. With a second factor, the operator of the issuer could otherwise link an
/// identity to the account without that factor.
async fn lock_for_link(tx: &mut Transaction<'_>, found: &User) -> Result<User> {
    let locked = users::lock_row(tx.conn(), found.id).await?;
    let is_current = |user: &User| user.email == found.email && user.email_verified_at.is_some();
    let user = locked.filter(is_current).ok_or_else(account_changed)?;
    if totp_factors::is_on(tx.conn(), user.id).await? {
        return Err(Error::Forbidden(
            "The account with this e-mail address has a second factor. Sign in to it in another way, and call \
             `linkIdentity`.",
        ));
    }
    let count = identities::count(tx.conn(), user.id).await?;
    if usize::try_from(count).is_ok_and(|count| count >= MAX_IDENTITIES) {
        return Err(Error::Forbidden(
            "The account with this e-mail address has too many identities. Sign in to it in another way, and call \
             `unlinkIdentity`.",
        ));
    }
    Ok(user)
}

/// Returns an issuer's e-mail address in the form in which it is stored. None if it is no address.
fn stored_email(email: &str) -> Option<String> {
    let mut check = Check::default();
    let email = check.email("token", email);
    check.done().is_ok().then_some(email)
}

/// Returns an issuer's name of a user as a display name. None if it breaks the rules of display names.
fn display_name(name: &str) -> Option<String> {
    let mut check = Check::default();
    let name = check.display_name(name);
    check.done().is_ok().then_some(name)
}

/// Maps a violation of a unique index to CONFLICT: the username, the e-mail address or the identity is taken.
fn conflict(error: Diesel) -> Error {
    match error {
        Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => account_changed(),
        error => error.into(),
    }
}
