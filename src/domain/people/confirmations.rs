//! Confirmation of the identity. Changes with which a thief could take over an account need a session whose user has
//! proved their identity in the last minutes: by signing in, by the password, by a code, by a token of an issuer, by a
//! second factor or by a passkey. If the account has a second factor, the password, a code or a token is not enough.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::accounts::check_connected;
use super::code_checks::{CodeFields, EnteredCode};
use super::contact_point::ContactPointInput;
use super::core::PeopleCore;
use super::factors::FactorInput;
use super::passkeys::Passkeys;
use super::password_tries::Account;
use super::sessions::ENDED;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::log::Transaction;
use crate::store::people::{sessions, totp_factors, users};

/// Time for which a confirmation is valid. Long enough for a few changes, and too short for a thief who
/// finds an unlocked device later.
pub(super) const CONFIRMED_FOR: TimeDelta = TimeDelta::minutes(10);

pub struct Confirmations<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// Proof of the identity of the viewer.
pub enum Proof {
    Password(String),
    /// A CONFIRM code and the e-mail address or phone number to which it was sent.
    Code(ContactPointInput, EnteredCode),
    /// A token of an issuer, or a sign-in code of a login in the browser.
    Token(String),
    Factor(FactorInput),
    /// The JSON text of a credential: the answer of a passkey to a challenge.
    Passkey(String),
}

impl fmt::Debug for Proof {
    /// Omits the secrets, so that they do not get into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Password(_) => "Password",
            Self::Code(..) => "Code",
            Self::Token(_) => "Token",
            Self::Factor(_) => "Factor",
            Self::Passkey(_) => "Passkey",
        })
    }
}

impl Confirmations<'_> {
    /// Confirms the identity of the viewer in this session. Returns when the confirmation expires.
    pub async fn confirm(&self, viewer: Viewer, proof: Proof, client: &Client) -> Result<DateTime<Utc>> {
        match proof {
            Proof::Password(password) => self.confirm_by_password(viewer, password, client).await,
            Proof::Code(contact_point, code) => self.confirm_by_code(viewer, contact_point, &code, client).await,
            Proof::Token(token) => self.confirm_by_token(viewer, &token, client).await,
            Proof::Factor(factor) => self.confirm_by_factor(viewer, factor, client).await,
            Proof::Passkey(credential) => self.confirm_by_passkey(viewer, &credential).await,
        }
    }

    async fn confirm_by_password(&self, viewer: Viewer, password: String, client: &Client) -> Result<DateTime<Utc>> {
        check_connected(client)?;
        self.check_one_factor(viewer, "password").await?;
        let user = users::by_id(&mut *self.core.base.connection().await?, viewer.user).await?.ok_or(ENDED)?;
        let Some(right) = self.core.check_password(Account::Own(&user), password, client).await? else {
            let message = "This is not the password of the account. An account without a password needs a code, a token or a \
                           passkey.";
            return Err(Error::invalid("password", message));
        };
        let log = &self.core.base.log;
        let confirmed = log.transaction(async |tx| self.record_one_factor(tx, viewer, "password").await).await;
        self.core.settle(&right.counted, confirmed).await
    }

    async fn confirm_by_code(
        &self,
        viewer: Viewer,
        contact_point: ContactPointInput,
        code: &EnteredCode,
        client: &Client,
    ) -> Result<DateTime<Utc>> {
        let mut check = Check::default();
        let contact_point = contact_point.checked(&mut check, "code.contactPoint");
        let code = code.checked(&mut check, CodeFields::NESTED);
        check.done()?;
        self.check_one_factor(viewer, CodeFields::NESTED.code).await?;
        let targets = [contact_point.value.clone()];
        let right = self.core.check_confirmation(viewer, &targets, &code, client).await?;
        let log = &self.core.base.log;
        let confirmed = log.transaction(async |tx| {
            let user = users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
            // The account may have another address or number since the code was sent.
            if !contact_point.is_verified_by(&user) {
                return Err(right.wrong());
            }
            right.use_up(tx).await?;
            self.record_one_factor(tx, viewer, CodeFields::NESTED.code).await
        });
        let confirmed = confirmed.await;
        self.core.settle_code(&right, confirmed).await
    }

    async fn confirm_by_factor(&self, viewer: Viewer, factor: FactorInput, client: &Client) -> Result<DateTime<Utc>> {
        let path = match factor {
            FactorInput::Totp(_) => "totp",
            FactorInput::RecoveryCode(_) => "recoveryCode",
        };
        let factor = factor.checked(path)?;
        let right = self.core.check_factor(viewer.user, &factor, path, client).await?;
        let log = &self.core.base.log;
        let confirmed = log.transaction(async |tx| {
            let user = users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
            let change = right.use_up(self.core, tx).await?;
            let until = self.record(tx, viewer).await?;
            Ok::<_, Error>((user, change, until))
        });
        let confirmed = confirmed.await;
        let (user, change, until) = self.core.settle(&right.counted, confirmed).await?;
        if let Some(change) = change {
            self.core.tell_of_factor_change(&user, change, client);
        }
        Ok(until)
    }

    async fn confirm_by_passkey(&self, viewer: Viewer, credential: &str) -> Result<DateTime<Utc>> {
        let passkeys = Passkeys { core: self.core };
        let right = passkeys.check_of(viewer, credential).await?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
            right.use_up(self.core, tx).await?;
            self.record(tx, viewer).await
        })
        .await
    }

    /// Returns BAD_USER_INPUT at `path` if the account has a second factor, because another kind of proof is needed.
    /// Call this before the proof is compared, so that no attempt counts.
    async fn check_one_factor(&self, viewer: Viewer, path: &str) -> Result<()> {
        let is_on = totp_factors::is_on(&mut *self.core.base.connection().await?, viewer.user).await?;
        if is_on { Err(needs_factor(path)) } else { Ok(()) }
    }

    async fn confirm_by_token(&self, viewer: Viewer, token: &str, client: &Client) -> Result<DateTime<Utc>> {
        self.check_one_factor(viewer, "token").await?;
        self.core.check_token_of_viewer(viewer, token, client).await?;
        let log = &self.core.base.log;
        log.transaction(async |tx| self.record_one_factor(tx, viewer, "token").await).await
    }

    /// Records a confirmation by a proof that is not enough for an account with a second factor. A concurrent request
    /// may have put the second factor in use since the proof was compared. The lock on the user makes this check and
    /// `confirm_totp` run one after the other.
    async fn record_one_factor(&self, tx: &mut Transaction<'_>, viewer: Viewer, path: &str) -> Result<DateTime<Utc>> {
        users::lock(tx.conn(), viewer.user).await?;
        if totp_factors::is_on(tx.conn(), viewer.user).await? {
            return Err(needs_factor(path));
        }
        self.record(tx, viewer).await
    }

    async fn record(&self, tx: &mut Transaction<'_>, viewer: Viewer) -> Result<DateTime<Utc>> {
        let now = self.core.base.now();
        if sessions::confirm(tx.conn(), viewer.session, now).await? { Ok(now + CONFIRMED_FOR) } else { Err(ENDED) }
    }
}

impl PeopleCore {
    /// Returns `ConfirmationRequired` unless the viewer has confirmed their identity in the last minutes. A guest has
    /// nothing to confirm it with, so the session is enough. Call this in the transaction of the change.
    pub(in crate::domain) async fn check_confirmed(&self, tx: &mut Transaction<'_>, viewer: Viewer) -> Result<()> {
        let (confirmed_at, is_guest) = sessions::confirmed_at(tx.conn(), viewer.session).await?.ok_or(ENDED)?;
        let is_confirmed = is_guest || self.base.now() < confirmed_at + CONFIRMED_FOR;
        if is_confirmed { Ok(()) } else { Err(Error::ConfirmationRequired) }
    }

    /// Same as `check_confirmed` if the account has a second factor, and otherwise Ok. For changes that ask for the
    /// password, a code or a token themselves. Locks the user, so that no concurrent `confirm_totp` is missed.
    pub(in crate::domain) async fn check_second_factor(&self, tx: &mut Transaction<'_>, viewer: Viewer) -> Result<()> {
        users::lock(tx.conn(), viewer.user).await?;
        if totp_factors::is_on(tx.conn(), viewer.user).await? { self.check_confirmed(tx, viewer).await } else { Ok(()) }
    }

    /// Ends the confirmations of the other sessions of the viewer.
    pub(super) async fn end_other_confirmations(&self, tx: &mut Transaction<'_>, viewer: Viewer) -> Result<()> {
        let expired = self.base.now() - CONFIRMED_FOR;
        Ok(sessions::end_confirmations(tx.conn(), viewer.user, viewer.session, expired).await?)
    }
}

/// Returns the error for a proof that is not enough for an account with a second factor.
fn needs_factor(path: &str) -> Error {
    Error::invalid(path, "This account has a second factor. Send `totp`, `recoveryCode` or `passkey` instead.")
}
