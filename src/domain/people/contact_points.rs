//! The e-mail address and the phone number of an account: how they are verified, changed and removed.

use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as Diesel};

use super::code_checks::{CodeFields, EnteredCode, RightCode};
use super::code_slots::{CodePurpose, Slot};
use super::contact_point::{CONTACT_POINT, ContactPoint, ContactPointInput, Kind, masked};
use super::core::PeopleCore;
use super::sessions::ENDED;
use super::tries::Subject;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result, Violation};
use crate::domain::validate::{self, Check};
use crate::domain::viewer::Viewer;
use crate::limiter::Rate;
use crate::log::{Change, Transaction};
use crate::notices::Notice;
use crate::store::people::users::{self, User, UserChanges};
use crate::store::people::{identities, login_challenges, passkeys};

/// Error for a change of the profile that would replace a verified e-mail address or phone number.
const REPLACES_VERIFIED: &str = "The present one is verified. Call `requestCode` with VERIFY for the new one, and then \
                                 `verifyContactPoint`.";
/// Error for the removal of the last way to sign in.
const LAST_WAY: &str = "You could no longer sign in. Set a password by `changePassword` first.";

pub struct ContactPoints<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// A removal of verified e-mail addresses and phone numbers from an account.
pub(super) struct Removal {
    /// The user before the removal.
    before: User,
    kinds: Vec<Kind>,
}

impl ContactPoints<'_> {
    /// Sets the viewer's e-mail address or phone number to the one to which the code was sent, and marks it as
    /// verified. Needs a confirmed identity, because the owner of the address can then reset the password. Sends a
    /// notice to the addresses and numbers that were verified before.
    pub async fn verify(
        &self,
        viewer: Viewer,
        contact_point: ContactPointInput,
        code: &EnteredCode,
        client: &Client,
    ) -> Result<User> {
        let mut check = Check::default();
        let contact_point = contact_point.checked(&mut check, CONTACT_POINT);
        let code = code.checked(&mut check, CodeFields::TOP);
        check.done()?;
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let slot = Slot { purpose: CodePurpose::Verify, target: &contact_point.value, user: Some(viewer.user) };
        let subject = Subject::Verification(viewer.user, &contact_point.value);
        let right = self.core.check_code(subject, &[slot], &code, client).await?;
        let log = &self.core.base.log;
        let changed = log.transaction(async |tx| self.store(tx, viewer, &contact_point, &right).await).await;
        let (user, before) = self.core.settle_code(&right, changed).await?;
        if let Some(before) = before {
            self.core.tell_of_addition(&user, &before, contact_point.kind, client);
        }
        Ok(user)
    }

    /// Returns the updated user, and the user before the change. The latter is None if nothing has changed. Locks the
    /// user before the code is used up, in the same order as the deletion of an account. A replacement ends the sign-ins
    /// that wait for a second factor, because a code to the former address may have begun them.
    async fn store(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        contact_point: &ContactPoint,
        right: &RightCode,
    ) -> Result<(User, Option<User>)> {
        let user = users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
        right.use_up(tx).await?;
        if contact_point.is_verified_by(&user) {
            return Ok((user, None));
        }
        self.core.check_confirmed(tx, viewer).await?;
        let kind = contact_point.kind;
        // The unique index compares only one form of the number.
        if users::by_verified(tx.conn(), &contact_point.forms).await?.is_some() {
            return Err(taken(kind));
        }
        let (now, value) = (self.core.base.now(), contact_point.value.as_str());
        let updated = match kind {
            Kind::Email => users::set_verified_email(tx.conn(), viewer.user, value, now).await,
            Kind::Phone => users::set_verified_phone(tx.conn(), viewer.user, value, now).await,
        };
        let updated = updated.map_err(|error| match error {
            Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => taken(kind),
            error => error.into(),
        })?;
        if kind.verified(&user).is_some() {
            login_challenges::delete_all(tx.conn(), viewer.user).await?;
        }
        tx.record(Change::UserUpdated { user: viewer.user });
        Ok((updated, Some(user)))
    }
}

impl PeopleCore {
    /// Checks the changes of e-mail address and phone number in a change of the profile, and locks the user. A verified
    /// one cannot be replaced, and its removal needs a confirmed identity. Returns the changes to store, and the
    /// removal of verified ones if there is one.
    pub(super) async fn check_contact_points(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        mut changes: UserChanges,
    ) -> Result<(UserChanges, Option<Removal>)> {
        if changes.email.is_none() && changes.phone.is_none() {
            return Ok((changes, None));
        }
        let user = users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
        let (mut check, mut removed) = (Check::default(), Vec::new());
        for kind in Kind::ALL {
            let new = match kind {
                Kind::Email => &mut changes.email,
                Kind::Phone => &mut changes.phone,
            };
            let (Some(new), Some(verified)) = (new, kind.verified(&user)) else { continue };
            match new {
                None => removed.push(kind),
                // An older server may have stored the number in another form, which stays.
                Some(new) if validate::identifier(verified) == *new => verified.clone_into(new),
                Some(_) => check.fail(kind.field(), REPLACES_VERIFIED),
            }
        }
        check.done()?;
        if removed.is_empty() {
            return Ok((changes, None));
        }
        if !self.can_sign_in(tx, &user, &removed).await? {
            return Err(Error::Invalid(removed.iter().map(|kind| Violation::new(kind.field(), LAST_WAY)).collect()));
        }
        self.check_confirmed(tx, viewer).await?;
        login_challenges::delete_all(tx.conn(), viewer.user).await?;
        Ok((changes, Some(Removal { before: user, kinds: removed })))
    }

    /// Tells the owner that the account has a new verified address or number. `before` is the user before the change.
    fn tell_of_addition(&self, user: &User, before: &User, kind: Kind, client: &Client) {
        let Some(now) = kind.verified(user).map(|now| masked(kind, now)) else { return };
        let (username, contact) = (user.username.clone(), kind.in_notices());
        let notice = if kind.verified(before).is_some() {
            Notice::ContactPointChanged { username, kind: contact, now: Some(now) }
        } else {
            Notice::ContactPointAdded { username, kind: contact, now }
        };
        self.tell_owner(before, &notice, client);
    }

    /// Tells the owner which verified addresses and numbers the account no longer has.
    pub(super) fn tell_of_removal(&self, user: &User, removal: &Removal, client: &Client) {
        for kind in &removal.kinds {
            let (username, kind) = (user.username.clone(), kind.in_notices());
            let notice = Notice::ContactPointChanged { username, kind, now: None };
            self.tell_owner(&removal.before, &notice, client);
        }
    }

    /// Whether the owner can still sign in without these addresses and numbers: by a password, by another address or
    /// number that the server can reach, by an identity at an issuer that the server accepts, or by a passkey.
    async fn can_sign_in(&self, tx: &mut Transaction<'_>, user: &User, removed: &[Kind]) -> Result<bool> {
        let reaches = |kind: Kind| kind.verified(user).is_some_and(|address| self.obstacle(kind, address).is_none());
        let keeps_one = Kind::ALL.iter().any(|kind| !removed.contains(kind) && reaches(*kind));
        let identities = identities::of_user(tx.conn(), user.id).await?;
        Ok(user.password_hash.is_some()
            || keeps_one
            || identities.iter().any(|identity| self.issuers.by_url(&identity.issuer).is_some())
            || passkeys::count(tx.conn(), user.id).await? > 0)
    }

    /// Returns BAD_USER_INPUT at `path` if the owner can no longer sign in, after a passkey or an identity was removed.
    pub(super) async fn check_can_sign_in(&self, tx: &mut Transaction<'_>, user: &User, path: &str) -> Result<()> {
        if self.can_sign_in(tx, user, &[]).await? { Ok(()) } else { Err(Error::invalid(path, LAST_WAY)) }
    }
}

/// Returns the error if another account has verified the address or number. Only a user who has received the code
/// gets this error.
fn taken(kind: Kind) -> Error {
    let what = match kind {
        Kind::Email => "e-mail address",
        Kind::Phone => "phone number",
    };
    let message =
        format!("Another account has this {what}. Sign in to it by `loginWithCode`, and remove it there first.");
    Error::Conflict(Violation::new(CONTACT_POINT, message))
}
