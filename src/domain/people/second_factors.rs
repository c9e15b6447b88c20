//! The second factor of an account: an authenticator app (TOTP), and the recovery codes that replace it.

use std::sync::Arc;

use diesel::QueryResult;
use diesel_async::AsyncConnection as _;

use super::core::PeopleCore;
use super::sessions::ENDED;
use super::users::by_id_or_username;
use super::{recovery_codes, totp};
use crate::domain::client::Client;
use crate::domain::error::{Error, Result, Violation};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::error::Result as InternalResult;
use crate::ids::UserId;
use crate::limiter::Rate;
use crate::log::Transaction;
use crate::notices::FactorChange;
use crate::store::people::totp_factors::{self, TotpFactor};
use crate::store::people::users::{self, User};
use crate::store::people::{identities, passkeys, recovery_codes as codes};
use crate::store::{self, Connection};

/// Name of the input field with a code of the app.
const CODE: &str = "code";

const GUEST: Error =
    Error::Forbidden("A guest has no sign-in that a second factor could protect. Call `upgradeGuest` first.");

pub struct SecondFactors<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// The secret of an authenticator app that is being set up.
pub struct TotpSetup {
    /// The secret in Base32, to type it.
    pub secret: String,
    /// The address for a QR code.
    pub uri: String,
}

/// The second factors that `parlance account reset-factors` has removed.
#[derive(Debug)]
pub struct RemovedFactors {
    pub username: String,
    pub totp: bool,
    /// The names of the passkeys.
    pub passkeys: Vec<String>,
    /// Whether the account still has a password, a verified address or number, or an identity at an issuer.
    pub can_sign_in: bool,
}

impl SecondFactors<'_> {
    /// Whether the account of the viewer has an authenticator app in use.
    pub async fn is_totp_enabled(&self, viewer: Viewer) -> Result<bool> {
        Ok(totp_factors::is_on(&mut *self.core.base.connection().await?, viewer.user).await?)
    }

    /// Returns the number of unused recovery codes. None if the account has no authenticator app in use.
    pub async fn recovery_codes_left(&self, viewer: Viewer) -> Result<Option<usize>> {
        let mut connection = self.core.base.connection().await?;
        if !totp_factors::is_on(&mut connection, viewer.user).await? {
            return Ok(None);
        }
        let left = codes::unused(&mut connection, viewer.user).await?;
        Ok(Some(usize::try_from(left).unwrap_or_default()))
    }

    /// Makes a secret for an authenticator app. The app is not in use until `confirm_totp`. Replaces a former secret
    /// that is not in use. Returns FORBIDDEN for a guest.
    pub async fn set_up_totp(&self, viewer: Viewer) -> Result<TotpSetup> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let secret = self.core.base.random.bytes::<{ totp::SECRET_BYTES }>();
        let log = &self.core.base.log;
        let user = log.transaction(async |tx| {
            let user = self.lock_confirmed(tx, viewer).await?;
            if user.is_guest {
                return Err(GUEST);
            }
            if totp_factors::is_on(tx.conn(), user.id).await? {
                return Err(already_on());
            }
            let factor = TotpFactor {
                user_id: user.id,
                secret: secret.to_vec(),
                created_at: self.core.base.now(),
                confirmed_at: None,
                last_step: None,
            };
            totp_factors::replace_unconfirmed(tx.conn(), &factor).await?;
            Ok(user)
        });
        let username = user.await?.username;
        Ok(TotpSetup { secret: totp::text(&secret), uri: totp::uri(&secret, &self.core.app_name, &username) })
    }

    /// Puts the authenticator app in use, with a code that proves that the app has the secret. Returns new recovery
    /// codes. Ends the confirmations of the other sessions, because they were made without the second factor.
    pub async fn confirm_totp(&self, viewer: Viewer, code: &str, client: &Client) -> Result<Vec<String>> {
        let mut check = Check::default();
        let code = check.code(CODE, code);
        check.done()?;
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let new_codes = recovery_codes::new_codes(&self.core.base.random);
        let log = &self.core.base.log;
        let user = log.transaction(async |tx| {
            let user = self.lock_confirmed(tx, viewer).await?;
            let factor = totp_factors::find(tx.conn(), user.id).await?.ok_or_else(|| no_setup(CODE))?;
            if factor.confirmed_at.is_some() {
                return Err(already_on());
            }
            let now = self.core.base.now();
            let step = totp::matching_step(&factor.secret, &code, now, None).ok_or_else(wrong_code)?;
            totp_factors::confirm(tx.conn(), user.id, step, now).await?;
            store_codes(tx, &user, &new_codes).await?;
            self.core.end_other_confirmations(tx, viewer).await?;
            Ok(user)
        });
        self.core.tell_of_factor_change(&user.await?, FactorChange::TotpAdded, client);
        Ok(new_codes)
    }

    /// Removes the authenticator app and the recovery codes. Returns the user.
    pub async fn disable_totp(&self, viewer: Viewer, client: &Client) -> Result<User> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        let user = log.transaction(async |tx| {
            let user = self.lock_confirmed(tx, viewer).await?;
            if !totp_factors::delete(tx.conn(), user.id).await? {
                return Err(not_on());
            }
            codes::delete(tx.conn(), user.id).await?;
            Ok(user)
        });
        let user = user.await?;
        self.core.tell_of_factor_change(&user, FactorChange::TotpRemoved, client);
        Ok(user)
    }

    /// Replaces the recovery codes by new ones, and returns these.
    pub async fn regenerate_recovery_codes(&self, viewer: Viewer, client: &Client) -> Result<Vec<String>> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let new_codes = recovery_codes::new_codes(&self.core.base.random);
        let log = &self.core.base.log;
        let user = log.transaction(async |tx| {
            let user = self.lock_confirmed(tx, viewer).await?;
            if !totp_factors::is_on(tx.conn(), user.id).await? {
                return Err(not_on());
            }
            store_codes(tx, &user, &new_codes).await?;
            Ok(user)
        });
        self.core.tell_of_factor_change(&user.await?, FactorChange::RecoveryCodesReplaced, client);
        Ok(new_codes)
    }

    /// Locks the viewer's user, so that no concurrent sign-in misses the change, and checks that the session is
    /// confirmed.
    async fn lock_confirmed(&self, tx: &mut Transaction<'_>, viewer: Viewer) -> Result<User> {
        let user = users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
        self.core.check_confirmed(tx, viewer).await?;
        Ok(user)
    }
}

/// Removes the authenticator app, the recovery codes and the passkeys of a user who has lost all of them. `user` is an
/// id or a username. Returns None if the user does not exist. The sessions of the user stay.
pub async fn reset(url: &str, user: &str) -> InternalResult<Option<RemovedFactors>> {
    let mut connection = store::connect(url).await?;
    let Some(user) = by_id_or_username(&mut connection, user).await? else { return Ok(None) };
    Ok(connection.transaction(async |conn| remove_all(conn, user.id).await).await?)
}

/// Removes everything in a transaction. The lock on the user keeps a concurrent sign-in or change from using a part of
/// it. Returns None if the user was deleted meanwhile.
async fn remove_all(conn: &mut Connection, user: UserId) -> QueryResult<Option<RemovedFactors>> {
    let Some(user) = users::lock_row(conn, user).await? else { return Ok(None) };
    let totp = totp_factors::delete(conn, user.id).await?;
    codes::delete(conn, user.id).await?;
    let passkeys = passkeys::delete_all(conn, user.id).await?;
    let can_sign_in = user.password_hash.is_some()
        || user.email_verified_at.is_some()
        || user.phone_verified_at.is_some()
        || identities::count(conn, user.id).await? > 0;
    Ok(Some(RemovedFactors { username: user.username, totp, passkeys, can_sign_in }))
}

async fn store_codes(tx: &mut Transaction<'_>, user: &User, new_codes: &[String]) -> Result<()> {
    let hashes: Vec<_> = new_codes.iter().filter_map(|code| recovery_codes::hash(user.id, code)).collect();
    Ok(codes::replace(tx.conn(), user.id, &hashes).await?)
}

fn already_on() -> Error {
    Error::Conflict(Violation::new("input", "The account has an authenticator app already. Call `disableTotp` first."))
}

fn not_on() -> Error {
    Error::Conflict(Violation::new("input", "The account has no authenticator app. Call `setUpTotp` for one."))
}

fn wrong_code() -> Error {
    Error::invalid(CODE, "This code is wrong or too old. Enter the newest code of your authenticator app.")
}

fn no_setup(path: &str) -> Error {
    Error::invalid(path, "No authenticator app is being set up. Call `setUpTotp` first.")
}
