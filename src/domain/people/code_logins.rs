//! Signing in by a code: without a password, or to set a new one.

use std::fmt;
use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as Diesel};

use super::accounts::{account_changed, check_connected};
use super::code_checks::{CheckedCode, CodeFields, EnteredCode, RightCode};
use super::code_slots::{CodePurpose, Slot};
use super::contact_point::{CONTACT_POINT, ContactPoint, ContactPointInput, Kind};
use super::core::PeopleCore;
use super::factor_logins::{FactorLogins, FirstFactor, SignIn};
use super::passwords::NewPassword;
use super::registration_invites::{self, Admission};
use super::sessions::{Device, Sessions, SignedIn};
use super::tries::Subject;
use super::usernames::{USER, generated};
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::validate::Check;
use crate::limiter::{Key, Rate};
use crate::log::Transaction;
use crate::notices::{Language, Notice};
use crate::store::people::users::{self, User};

/// Number of times that a login is tried. A second time is necessary if a concurrent request makes or deletes an
/// account with the same address or number.
const LOGIN_TRIES: usize = 3;

pub struct CodeLogins<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// A login with a code, which makes a new account if none has the address or number.
pub struct CodeLogin {
    pub contact_point: ContactPointInput,
    pub code: EnteredCode,
    /// Name of a new account. Defaults to its username.
    pub display_name: Option<String>,
    /// Code of a registration invite. A new account needs it with `REGISTRATION=invite`.
    pub invite: Option<String>,
}

impl fmt::Debug for CodeLogin {
    /// Omits the code and the invite, so that they do not get into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CodeLogin").finish_non_exhaustive()
    }
}

/// A new password for the account that has verified the address or number.
pub struct PasswordReset {
    pub contact_point: ContactPointInput,
    pub code: EnteredCode,
    pub new_password: String,
}

impl fmt::Debug for PasswordReset {
    /// Omits the password, so that it does not get into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PasswordReset").finish_non_exhaustive()
    }
}

impl CodeLogins<'_> {
    /// Signs in the user who has verified the address or number. If no user has verified it, makes a new account, as
    /// the registration mode allows. An account that has the address without having verified it is not signed in,
    /// because another person could have registered it.
    pub async fn login(&self, login: CodeLogin, device: Device, client: &Client) -> Result<SignedIn> {
        check_connected(client)?;
        let mut check = Check::default();
        let contact_point = login.contact_point.checked(&mut check, CONTACT_POINT);
        let code = login.code.checked(&mut check, CodeFields::TOP);
        let display_name = login.display_name.map(|name| check.display_name(&name));
        let device = device.checked(&mut check);
        check.done()?;
        let right = self.check_code(CodePurpose::Login, &contact_point, &code, client).await?;
        let new = NewAccount { contact_point: &contact_point, display_name, invite: login.invite };
        let signed_in = self.sign_in(&new, &right, &device, client).await;
        self.core.settle_code(&right, signed_in).await?.map_err(Error::FactorRequired)
    }

    /// Sets a new password, ends all sessions of the account and opens a new one. Deletes the live codes of the
    /// account, because a thief might have requested some. If the account has a second factor, all this happens when
    /// the client sends it.
    pub async fn reset_password(&self, reset: PasswordReset, device: Device, client: &Client) -> Result<SignedIn> {
        check_connected(client)?;
        let mut check = Check::default();
        let contact_point = reset.contact_point.checked(&mut check, CONTACT_POINT);
        let code = reset.code.checked(&mut check, CodeFields::TOP);
        let password = check.password("newPassword", &reset.new_password);
        let device = device.checked(&mut check);
        check.done()?;
        let right = self.check_code(CodePurpose::ResetPassword, &contact_point, &code, client).await?;
        let done = self.replace_password(&contact_point, password, &right, device, client).await;
        let (outcome, user) = self.core.settle_code(&right, done).await?;
        let signed_in = outcome.map_err(Error::FactorRequired)?;
        self.core.tell_owner(&user, &Notice::PasswordReset { username: user.username.clone() }, client);
        Ok(signed_in)
    }

    async fn check_code(
        &self,
        purpose: CodePurpose,
        contact_point: &ContactPoint,
        code: &CheckedCode,
        client: &Client,
    ) -> Result<RightCode> {
        let slot = Slot { purpose, target: &contact_point.value, user: None };
        self.core.check_code(Subject::ContactPoint(slot.target), &[slot], code, client).await
    }

    async fn sign_in(
        &self,
        new: &NewAccount<'_>,
        right: &RightCode,
        device: &Device,
        client: &Client,
    ) -> Result<FirstFactor> {
        let (log, forms) = (&self.core.base.log, &new.contact_point.forms);
        let mut admission = None;
        let mut tries = 1;
        loop {
            let found = users::by_verified(&mut *self.core.base.connection().await?, forms).await?;
            if found.is_none() && admission.is_none() {
                admission = Some(self.admit(new, client).await?);
            }
            let admission = admission.as_ref();
            let opened = log.transaction(async |tx| self.open(tx, new, right, admission, device.clone()).await).await;
            match opened {
                Err(Error::Conflict(_)) if tries < LOGIN_TRIES => tries += 1,
                opened => return opened,
            }
        }
    }

    /// Checks whether a new account may be made.
    async fn admit(&self, new: &NewAccount<'_>, client: &Client) -> Result<Admission> {
        let admission = registration_invites::admit(self.core, new.invite.as_deref()).await?;
        if let Some(network) = client.network {
            self.core.base.check_rate_for(Rate::Registrations, Key::Network(network), 1)?;
        }
        Ok(admission)
    }

    /// Uses up the code and opens a session, of a new account if no account has the address or number, or makes a
    /// challenge if the account has a second factor. Returns CONFLICT if a concurrent request has made or deleted the
    /// account meanwhile. An existing user is locked before the code is used up, in the same order as by a reset of the
    /// password, which deletes the codes of the user.
    async fn open(
        &self,
        tx: &mut Transaction<'_>,
        new: &NewAccount<'_>,
        right: &RightCode,
        admission: Option<&Admission>,
        device: Device,
    ) -> Result<FirstFactor> {
        let existing = users::lock_by_verified(tx.conn(), &new.contact_point.forms).await?;
        right.use_up(tx).await?;
        if let Some(user) = existing {
            let password_hash = user.password_hash.as_deref();
            let sign_in = SignIn { user: &user, password_hash, new_password_hash: None, assertion: None, device };
            return self.open_existing(tx, sign_in).await;
        }
        admission.ok_or_else(account_changed)?.count_use(self.core, tx).await?;
        let user = self.new_user(new, &device.language);
        users::insert(tx.conn(), &user).await.map_err(|error| match error {
            // The generated username is taken, or another account has verified the address meanwhile.
            Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => account_changed(),
            error => error.into(),
        })?;
        let signed_in = Sessions { core: self.core }.open(tx, &user, device).await?;
        Ok(Ok(SignedIn { is_new_account: true, ..signed_in }))
    }

    /// Opens a session of an account that exists, or makes a challenge. The client has a code, so it reads what the
    /// server sends to the owner. The account therefore gets the language of the client.
    async fn open_existing(&self, tx: &mut Transaction<'_>, sign_in: SignIn<'_>) -> Result<FirstFactor> {
        let (user, language) = (sign_in.user, sign_in.device.language.clone());
        let outcome = FactorLogins { core: self.core }.open(tx, sign_in).await?;
        if outcome.is_ok() {
            self.core.replace_language(tx, user, &language).await?;
        }
        Ok(outcome)
    }

    /// Makes the row of a new account, with its verified address or number and without a password.
    fn new_user(&self, new: &NewAccount<'_>, language: &Language) -> User {
        let username = generated(USER, &self.core.base.random);
        let user = self.core.new_user(username, new.display_name.clone(), language);
        let only = |kind: Kind| (new.contact_point.kind == kind).then(|| new.contact_point.value.clone());
        let (email, phone) = (only(Kind::Email), only(Kind::Phone));
        User {
            email_verified_at: email.as_ref().map(|_| user.created_at),
            phone_verified_at: phone.as_ref().map(|_| user.created_at),
            email,
            phone,
            ..user
        }
    }

    async fn replace_password(
        &self,
        contact_point: &ContactPoint,
        password: String,
        right: &RightCode,
        device: Device,
        client: &Client,
    ) -> Result<(FirstFactor, User)> {
        let found = users::by_verified(&mut *self.core.base.connection().await?, &contact_point.forms).await?;
        let user = found.ok_or_else(|| right.wrong())?;
        let known_words = vec![user.username.clone(), user.display_name.clone(), contact_point.value.clone()];
        let new_password = NewPassword { password, path: "newPassword", known_words };
        let hash = self.core.passwords.hash_new(new_password, client).await?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            // The user is locked before the sessions are revoked, so that no concurrent login with the former password
            // opens a session afterwards.
            let locked = users::lock_row(tx.conn(), user.id).await?;
            let user = locked.filter(|user| contact_point.is_verified_by(user)).ok_or_else(|| right.wrong())?;
            right.use_up(tx).await?;
            let password_hash = user.password_hash.as_deref();
            let sign_in =
                SignIn { user: &user, password_hash, new_password_hash: Some(&hash), assertion: None, device };
            let outcome = self.open_existing(tx, sign_in).await?;
            Ok((outcome, user))
        })
        .await
    }
}

/// The values of a new account.
struct NewAccount<'a> {
    contact_point: &'a ContactPoint,
    display_name: Option<String>,
    invite: Option<String>,
}
