//! Accounts: registering, signing in, and the profile.

use diesel::result::{DatabaseErrorKind, Error as Diesel};

use super::error::{Error, Result, Violation};
use super::registration_invites::{self, Admission};
use super::sessions::{Device, SignedIn};
use super::validate::{self, Check};
use super::{App, Viewer, avatars};
use crate::ids::{AttachmentId, UserId};
use crate::log::{Change, Transaction};
use crate::store::privacy::Privacy;
use crate::store::sessions::Revoke;
use crate::store::users::{self, User, UserChanges};
use crate::store::{participants, scheduled_messages};

/// The same words for an unknown account and a wrong password.
const WRONG_CREDENTIALS: Error = Error::Unauthenticated("The name or the password is wrong.");

pub struct Accounts<'a> {
    pub(super) app: &'a App,
}

#[derive(Debug)]
pub struct Registration {
    pub username: String,
    pub password: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    /// Code of a registration invite. Needed with `REGISTRATION=invite`.
    pub invite: Option<String>,
    /// The username where there is none.
    pub display_name: Option<String>,
}

/// What to change of a profile; None leaves it as it is, `Some(None)` empties it.
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
    pub async fn register(&self, registration: Registration, device: Device) -> Result<SignedIn> {
        let admission = registration_invites::admit(self.app, registration.invite.as_deref()).await?;
        let mut check = Check::default();
        let username = check.username(&registration.username);
        let email = registration.email.map(|text| check.email(&text));
        let phone = registration.phone.map(|text| check.phone(&text));
        let display_name = registration.display_name.map_or_else(|| username.clone(), |text| check.display_name(&text));
        let device = device.checked(&mut check);
        let known = [username.as_str(), &display_name, email.as_deref().unwrap_or_default()];
        check.password("password", &registration.password, &known);
        check.done()?;

        let now = self.app.now();
        let user = User {
            id: UserId::new(now, &self.app.parts.random),
            username,
            display_name,
            about: None,
            email,
            phone,
            password_hash: self.app.parts.passwords.hash(registration.password).await?,
            created_at: now,
            last_seen_at: None,
            avatar_id: None,
            email_verified_at: None,
            phone_verified_at: None,
            privacy: Privacy::default(),
        };
        let mut tx = self.app.log().begin().await?;
        let done = self.insert(&mut tx, &admission, &user, device).await;
        tx.finish(done).await
    }

    /// By username, verified e-mail or verified phone. Tells nothing of whether the account exists, in words or in time.
    pub async fn login(&self, identifier: &str, password: String, device: Device) -> Result<SignedIn> {
        let mut check = Check::default();
        let device = device.checked(&mut check);
        check.done()?;
        let identifier = validate::identifier(identifier);
        let user = if identifier.contains('\0') {
            None
        } else {
            users::by_identifier(&mut *self.app.connection().await?, &identifier).await?
        };
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let matches = self.app.parts.passwords.verify(password, hash).await?;
        match user {
            Some(user) if matches => {
                let mut tx = self.app.log().begin().await?;
                let done = self.open_session(&mut tx, &user, device).await;
                tx.finish(done).await
            }
            _ => Err(WRONG_CREDENTIALS),
        }
    }

    /// Every other session ends: who changes a password may fear that somebody else knows it.
    pub async fn change_password(&self, viewer: Viewer, current: String, new: String) -> Result<User> {
        let user = self.app.users().get(viewer.user).await?.ok_or(WRONG_CREDENTIALS)?;
        let mut check = Check::default();
        check.password("newPassword", &new, &[&user.username, &user.display_name]);
        check.done()?;
        if !self.app.parts.passwords.verify(current, Some(user.password_hash.clone())).await? {
            return Err(wrong_password("currentPassword"));
        }
        let hash = self.app.parts.passwords.hash(new).await?;
        let mut tx = self.app.log().begin().await?;
        let done = self.replace_password(&mut tx, viewer, &user, &hash).await;
        tx.finish(done).await
    }

    pub async fn update_profile(&self, viewer: Viewer, changes: ProfileChanges) -> Result<User> {
        let mut check = Check::default();
        let changes = UserChanges {
            username: changes.username.map(|text| check.username(&text)),
            display_name: changes.display_name.map(|text| check.display_name(&text)),
            about: changes.about.map(|text| text.map(|text| check.about(&text)).filter(|text| !text.is_empty())),
            email: changes.email.map(|text| text.map(|text| check.email(&text))),
            phone: changes.phone.map(|text| text.map(|text| check.phone(&text))),
            avatar_id: changes.avatar,
        };
        check.done()?;
        if changes == UserChanges::default() {
            return self.app.users().get(viewer.user).await?.ok_or(Error::NotFound("No such user."));
        }
        if let Some(Some(avatar)) = changes.avatar_id {
            avatars::prepare(self.app, viewer, avatar).await?;
        }
        let mut tx = self.app.log().begin().await?;
        let updated = update_in(&mut tx, viewer, &changes).await;
        tx.finish(updated).await
    }

    /// What is personal goes; what was written stays, and names nobody. Groups are left, every session ends.
    pub async fn delete(&self, viewer: Viewer, password: String) -> Result<()> {
        let user = self.app.users().get(viewer.user).await?.ok_or(WRONG_CREDENTIALS)?;
        if !self.app.parts.passwords.verify(password, Some(user.password_hash.clone())).await? {
            return Err(wrong_password("password"));
        }
        let mut tx = self.app.log().begin().await?;
        let done = self.delete_in(&mut tx, &user).await;
        tx.finish(done).await
    }

    /// The conversations first, as everybody locks them. From the lock on the user nobody can add them to another one
    /// or sign them in.
    async fn delete_in(&self, tx: &mut Transaction<'_>, user: &User) -> Result<()> {
        tx.record(Change::UserUpdated { user: user.id });
        // Before the conversations, as the scheduler has it.
        scheduled_messages::delete_of(tx.conn(), user.id).await?;
        self.app.participants().leave_all_in(tx, user.id).await?;
        let locked = users::lock_for_deletion(tx.conn(), user.id, &user.password_hash).await?;
        locked.ok_or_else(|| wrong_password("password"))?;
        if !participants::all_of_user(tx.conn(), user.id).await?.is_empty() {
            return Err(Error::Conflict(Violation::new("input", "The account changed meanwhile. Try again.")));
        }
        self.app.sessions().revoke_in(tx, user.id, Revoke::All).await?;
        Ok(users::delete(tx.conn(), user.id).await?)
    }

    /// The password first: a login with the old one is then either seen by the revocation or refused.
    async fn replace_password(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        user: &User,
        hash: &str,
    ) -> Result<User> {
        let updated = users::replace_password(tx.conn(), user.id, &user.password_hash, hash).await?;
        let updated = updated.ok_or_else(|| wrong_password("currentPassword"))?;
        self.app.sessions().revoke_in(tx, user.id, Revoke::AllBut(viewer.session)).await?;
        Ok(updated)
    }

    /// Unless the password was changed since it was verified.
    async fn open_session(&self, tx: &mut Transaction<'_>, user: &User, device: Device) -> Result<SignedIn> {
        if users::lock_password(tx.conn(), user.id).await?.as_ref() != Some(&user.password_hash) {
            return Err(WRONG_CREDENTIALS);
        }
        self.app.sessions().open(tx, user.id, device).await
    }

    /// Takes the use of the invite first, so that a client without a valid code does not learn which usernames exist.
    async fn insert(
        &self,
        tx: &mut Transaction<'_>,
        admission: &Admission,
        user: &User,
        device: Device,
    ) -> Result<SignedIn> {
        admission.take(self.app, tx).await?;
        users::insert(tx.conn(), user).await.map_err(taken)?;
        self.app.sessions().open(tx, user.id, device).await
    }
}

async fn update_in(tx: &mut Transaction<'_>, viewer: Viewer, changes: &UserChanges) -> Result<User> {
    if let Some(Some(avatar)) = changes.avatar_id {
        avatars::hold(tx, viewer, avatar).await?;
    }
    tx.record(Change::UserUpdated { user: viewer.user });
    let updated = users::update(tx.conn(), viewer.user, changes).await.map_err(taken)?;
    if let Some(Some(avatar)) = changes.avatar_id {
        avatars::show_square(tx, avatar).await?;
    }
    Ok(updated)
}

fn wrong_password(path: &str) -> Error {
    Error::invalid(path, "This is not the present password.")
}

/// Maps a taken username to CONFLICT: usernames are public. E-mail addresses and phone numbers are unverified here and
/// not unique, so they never fail.
fn taken(error: Diesel) -> Error {
    match &error {
        Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, details)
            if details.constraint_name() == Some("users_username_key") =>
        {
            Error::Conflict(Violation::new("username", "This username is taken."))
        }
        _ => error.into(),
    }
}
