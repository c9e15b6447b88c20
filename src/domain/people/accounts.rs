//! Accounts: registration, login, password and profile. The module `account_deletion` deletes accounts.

use std::fmt;
use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as Diesel};

use super::contact_points::Removal;
use super::core::PeopleCore;
use super::factor_logins::{FactorLogins, FirstFactor, SignIn};
use super::password_tries::Account;
use super::passwords::NewPassword;
use super::registration_invites::{self, Admission};
use super::sessions::{Device, Sessions, SignedIn};
use super::users::Users;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result, Violation};
use crate::domain::files::avatars;
use crate::domain::validate::{self, Check};
use crate::domain::viewer::Viewer;
use crate::ids::AttachmentId;
use crate::limiter::{Key, Rate};
use crate::log::{Change, Transaction};
use crate::notices::Notice;
use crate::store::people::sessions::Revoke;
use crate::store::people::users::{self, User, UserChanges};

/// Error for both an unknown account and a wrong password, so that clients cannot find out which accounts exist.
pub(in crate::domain) const WRONG_CREDENTIALS: Error =
    Error::Unauthenticated("The name or the password is wrong. Check both, or call `register` for a new account.");

/// Number of times that a login compares the password. A second time is necessary if a concurrent login has renewed an
/// old hash.
const LOGIN_TRIES: usize = 2;

pub struct Accounts<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

pub struct Registration {
    pub username: String,
    pub password: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    /// Code of a registration invite. Required with `REGISTRATION=invite`.
    pub invite: Option<String>,
    /// Name that other users see. Defaults to the username.
    pub display_name: Option<String>,
}

impl fmt::Debug for Registration {
    /// Omits the password and the other inputs, so that they do not get into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Registration").finish_non_exhaustive()
    }
}

/// Changes of a profile. None leaves a field unchanged, and `Some(None)` clears the field.
#[derive(Debug, Default)]
pub struct ProfileChanges {
    pub username: Option<String>,
    pub display_name: Option<String>,
    pub about: Option<Option<String>>,
    pub email: Option<Option<String>>,
    pub phone: Option<Option<String>>,
    pub avatar: Option<Option<AttachmentId>>,
}

impl Accounts<'_> {
    pub async fn register(&self, registration: Registration, device: Device, client: &Client) -> Result<SignedIn> {
        check_connected(client)?;
        let admission = registration_invites::admit(self.core, registration.invite.as_deref()).await?;
        let mut check = Check::default();
        let username = check.username(&registration.username);
        let email = registration.email.map(|text| check.email("email", &text));
        let phone = registration.phone.map(|text| check.phone("phone", &text));
        let display_name = registration.display_name.map_or_else(|| username.clone(), |text| check.display_name(&text));
        let device = device.checked(&mut check);
        let password = check.password("password", &registration.password);
        check.done()?;
        if let Some(network) = client.network {
            self.core.base.check_rate_for(Rate::Registrations, Key::Network(network), 1)?;
        }
        let known_words = vec![username.clone(), display_name.clone(), email.clone().unwrap_or_default()];
        let new_password = NewPassword { password, path: "password", known_words };
        let password_hash = self.core.passwords.hash_new(new_password, client).await?;

        let user = self.core.new_user(username, Some(display_name), &device.language);
        let user = User { email, phone, password_hash: Some(password_hash), ..user };
        let log = &self.core.base.log;
        log.transaction(async |tx| self.insert(tx, &admission, &user, device).await).await
    }

    /// Signs in by username, verified e-mail address or verified phone number. Neither the response nor its duration
    /// reveals whether the account exists.
    pub async fn login(&self, identifier: &str, password: String, device: Device, client: &Client) -> Result<SignedIn> {
        check_connected(client)?;
        let mut check = Check::default();
        let device = device.checked(&mut check);
        check.done()?;
        let identifiers = validate::identifiers(identifier);
        for _ in 0..LOGIN_TRIES {
            if let Some(outcome) = self.try_login(&identifiers, password.clone(), device.clone(), client).await? {
                return outcome.map_err(Error::FactorRequired);
            }
        }
        Err(WRONG_CREDENTIALS)
    }

    /// Signs in once. Returns None if the hash of the password has changed since the password was compared with it.
    async fn try_login(
        &self,
        identifiers: &[String],
        password: String,
        device: Device,
        client: &Client,
    ) -> Result<Option<FirstFactor>> {
        let user = self.identified(identifiers).await?;
        let account = Account::Identified(&identifiers[0], user.as_ref());
        let right = self.core.check_password(account, password, client).await?;
        let (Some(user), Some(right)) = (user, right) else { return Err(WRONG_CREDENTIALS) };
        let (log, renewed) = (&self.core.base.log, right.renewed.as_deref());
        let opened = log.transaction(async |tx| self.open_session(tx, &user, renewed, device.clone()).await).await;
        if matches!(opened, Ok(None)) {
            self.core.undo_try(&right.counted).await;
            return Ok(None);
        }
        self.core.settle(&right.counted, opened).await
    }

    /// Returns the user of the first identifier that has one. Queries all identifiers in any case, so that the duration
    /// reveals nothing.
    async fn identified(&self, identifiers: &[String]) -> Result<Option<User>> {
        let mut user = None;
        for identifier in identifiers.iter().filter(|identifier| !identifier.contains('\0')) {
            let found = users::by_identifier(&mut *self.core.base.connection().await?, identifier).await?;
            user = user.or(found);
        }
        Ok(user)
    }

    /// Sets a new password and revokes all other sessions, because another person might know the old password.
    /// `current` is None for the first password of an account, which needs a confirmed identity.
    pub async fn change_password(
        &self,
        viewer: Viewer,
        current: Option<String>,
        new: String,
        client: &Client,
    ) -> Result<User> {
        check_connected(client)?;
        let mut check = Check::default();
        let new = check.password("newPassword", &new);
        check.done()?;
        let user = Users { core: self.core }.get(viewer.user).await?.ok_or(WRONG_CREDENTIALS)?;
        let is_guess = current.is_some();
        let right = match current {
            Some(current) => self.core.check_password(Account::Own(&user), current, client).await?,
            None => None,
        };
        if right.is_none() && is_guess {
            return Err(wrong_password("currentPassword"));
        }
        if right.is_none() && user.password_hash.is_some() {
            return Err(Error::invalid("currentPassword", "The account has a password. Send it as well."));
        }
        let changed = self.store_password(viewer, &user, new, client).await;
        let changed = match &right {
            Some(right) => self.core.settle(&right.counted, changed).await?,
            None => changed?,
        };
        let is_first = user.password_hash.is_none();
        let notice = Notice::PasswordChanged { username: changed.username.clone(), is_first };
        self.core.tell_owner(&changed, &notice, client);
        Ok(changed)
    }

    /// Checks the strength of the new password, and stores it.
    async fn store_password(&self, viewer: Viewer, user: &User, new: String, client: &Client) -> Result<User> {
        let known_words = vec![user.username.clone(), user.display_name.clone()];
        let new_password = NewPassword { password: new, path: "newPassword", known_words };
        let hash = self.core.passwords.hash_new(new_password, client).await?;
        let log = &self.core.base.log;
        log.transaction(async |tx| self.replace_password(tx, viewer, user, &hash).await).await
    }

    pub async fn update_profile(&self, viewer: Viewer, changes: ProfileChanges, client: &Client) -> Result<User> {
        let mut check = Check::default();
        let changes = UserChanges {
            username: changes.username.map(|text| check.username(&text)),
            display_name: changes.display_name.map(|text| check.display_name(&text)),
            about: changes.about.map(|text| text.map(|text| check.about(&text)).filter(|text| !text.is_empty())),
            email: changes.email.map(|text| text.map(|text| check.email("email", &text))),
            phone: changes.phone.map(|text| text.map(|text| check.phone("phone", &text))),
            avatar_id: changes.avatar,
        };
        check.done()?;
        if changes == UserChanges::default() {
            return Users { core: self.core }.get(viewer.user).await?.ok_or(Error::NotFound("No such user."));
        }
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        if let Some(Some(avatar)) = changes.avatar_id {
            avatars::prepare(&self.core.files, viewer, avatar, &client.gone).await?;
        }
        let log = &self.core.base.log;
        let (user, removal) = log.transaction(async |tx| self.store_profile(tx, viewer, changes).await).await?;
        if let Some(removal) = removal {
            self.core.tell_of_removal(&user, &removal, client);
        }
        Ok(user)
    }

    /// Stores the changes. Returns the updated user, and the removal of a verified e-mail address or phone number if
    /// there was one.
    async fn store_profile(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        changes: UserChanges,
    ) -> Result<(User, Option<Removal>)> {
        if let Some(Some(avatar)) = changes.avatar_id {
            avatars::lock(tx, viewer, avatar).await?;
        }
        let (changes, removal) = self.core.check_contact_points(tx, viewer, changes).await?;
        tx.record(Change::UserUpdated { user: viewer.user });
        let updated = users::update(tx.conn(), viewer.user, &changes).await.map_err(username_conflict)?;
        if let Some(Some(avatar)) = changes.avatar_id {
            avatars::show_square(tx, avatar).await?;
        }
        Ok((updated, removal))
    }

    /// Returns the number of running password jobs and the number of waiting password jobs on this node.
    pub fn password_load(&self) -> (usize, usize) {
        self.core.passwords.load()
    }

    /// Replaces the password, and then revokes all other sessions. In this order, a concurrent login with the old
    /// password either opens its session before the revocation, or fails.
    async fn replace_password(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        user: &User,
        hash: &str,
    ) -> Result<User> {
        if user.password_hash.is_none() {
            self.core.check_confirmed(tx, viewer).await?;
        }
        self.core.check_second_factor(tx, viewer).await?;
        let updated = users::replace_password(tx.conn(), user.id, user.password_hash.as_deref(), hash).await?;
        let updated = updated.ok_or_else(|| wrong_password("currentPassword"))?;
        if user.is_guest {
            tx.record(Change::UserUpdated { user: viewer.user });
        }
        Sessions { core: self.core }.revoke_sessions(tx, user.id, Revoke::AllBut(viewer.session)).await?;
        Ok(updated)
    }

    /// Opens a session, or makes a challenge if the account has a second factor. Stores the `renewed` hash if there is
    /// one. Returns None if the hash of the password has changed since the password was compared with it.
    async fn open_session(
        &self,
        tx: &mut Transaction<'_>,
        user: &User,
        renewed: Option<&str>,
        device: Device,
    ) -> Result<Option<FirstFactor>> {
        let (id, known) = (user.id, user.password_hash.as_deref());
        let is_current = match renewed {
            Some(renewed) => users::replace_password(tx.conn(), id, known, renewed).await?.is_some(),
            None => users::lock_password(tx.conn(), id, known).await?,
        };
        if !is_current {
            return Ok(None);
        }
        let password_hash = renewed.or(known);
        let sign_in = SignIn { user, password_hash, new_password_hash: None, assertion: None, device };
        FactorLogins { core: self.core }.open(tx, sign_in).await.map(Some)
    }

    /// Inserts the user and opens a session. Counts the use of the invite first, so that a client without a valid code
    /// does not learn which usernames exist.
    async fn insert(
        &self,
        tx: &mut Transaction<'_>,
        admission: &Admission,
        user: &User,
        device: Device,
    ) -> Result<SignedIn> {
        admission.count_use(self.core, tx).await?;
        users::insert(tx.conn(), user).await.map_err(username_conflict)?;
        let signed_in = Sessions { core: self.core }.open(tx, user, device).await?;
        Ok(SignedIn { is_new_account: true, ..signed_in })
    }
}

/// Returns UNAVAILABLE if the client has disconnected. Operations with a password call this before they do any work.
pub(in crate::domain) fn check_connected(client: &Client) -> Result<()> {
    if client.gone.is_gone() {
        return Err(Error::Overloaded("The client disconnected before the operation began. Try again."));
    }
    Ok(())
}

/// Error if a concurrent request has changed the account, so that the client has to try again.
pub(in crate::domain) fn account_changed() -> Error {
    Error::Conflict(Violation::new("input", "The account changed meanwhile. Try again."))
}

pub(in crate::domain) fn wrong_password(path: &str) -> Error {
    Error::invalid(path, "This is not the current password. Send the password with which you sign in.")
}

/// Maps a violation of the unique index on usernames to CONFLICT. Usernames are public, so the error may reveal that a
/// username exists. E-mail addresses and phone numbers never conflict here, because they are unverified and need not be
/// unique.
pub(super) fn username_conflict(error: Diesel) -> Error {
    match &error {
        Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, details)
            if details.constraint_name() == Some("users_username_key") =>
        {
            Error::Conflict(Violation::new(
                "username",
                "This username is taken. Choose another, or call `login` if it is yours.",
            ))
        }
        _ => error.into(),
    }
}
