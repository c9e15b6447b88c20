//! The e-mail address and the phone number of an account: how they are verified, changed and removed.

use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as Diesel};

use super::codes::{CONTACT_POINT, CodePurpose, RightCode, Slot};
use super::contact_point::{ContactPoint, ContactPointInput, Kind, masked};
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
use crate::store::people::identities;
use crate::store::people::users::{self, User, UserChanges};

/// Error for a change of the profile that would replace a verified e-mail address or phone number.
const REPLACES_VERIFIED: &str = "The present one is verified. Call `requestCode` with VERIFY for the new one, and then \
                                 `verifyContactPoint`.";

pub struct ContactPoints<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// A verified e-mail address or phone number that the account no longer has.
#[derive(Debug)]
pub(super) struct Former {
    kind: Kind,
    address: String,
}

impl ContactPoints<'_> {
    /// Sets the viewer's e-mail address or phone number to the one to which the code was sent, and marks it as
    /// verified. Needs a confirmed identity, because the owner of the address can then reset the password. Sends a
    /// notice of the change to the former address or number.
    pub async fn verify(
        &self,
        viewer: Viewer,
        contact_point: ContactPointInput,
        code: &str,
        client: &Client,
    ) -> Result<User> {
        const PATH: &str = "code";
        let mut check = Check::default();
        let contact_point = contact_point.checked(&mut check, CONTACT_POINT);
        let code = check.code(PATH, code);
        check.done()?;
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let slot = Slot { purpose: CodePurpose::Verify, target: &contact_point.value, user: Some(viewer.user) };
        let right = self.core.check_code(Subject::User(viewer.user), &[slot], &code, PATH, client).await?;
        let log = &self.core.base.log;
        let changed = log.transaction(async |tx| self.store(tx, viewer, &contact_point, &right).await).await;
        let (user, former) = self.core.keep_code(&right, changed).await?;
        if let Some(former) = former {
            self.core.tell_former(&user, former, client);
        }
        Ok(user)
    }

    /// Locks the user before the code is used up, in the same order as the deletion of an account.
    async fn store(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        contact_point: &ContactPoint,
        right: &RightCode,
    ) -> Result<(User, Option<Former>)> {
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
        tx.record(Change::UserUpdated { user: viewer.user });
        let former = kind.verified(&user).map(|address| Former { kind, address: address.to_owned() });
        Ok((updated, former))
    }
}

impl PeopleCore {
    /// Checks the changes of e-mail address and phone number in a change of the profile, and locks the user. A verified
    /// one cannot be replaced, and its removal needs a confirmed identity. Returns the changes to store, and the
    /// verified addresses and numbers that they remove.
    pub(super) async fn check_contact_points(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        mut changes: UserChanges,
    ) -> Result<(UserChanges, Vec<Former>)> {
        if changes.email.is_none() && changes.phone.is_none() {
            return Ok((changes, Vec::new()));
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
                None => removed.push(Former { kind, address: verified.to_owned() }),
                // An older server may have stored the number in another form, which stays.
                Some(new) if validate::identifier(verified) == *new => verified.clone_into(new),
                Some(_) => check.fail(kind.field(), REPLACES_VERIFIED),
            }
        }
        check.done()?;
        if !removed.is_empty() {
            if identities::count(tx.conn(), viewer.user).await? == 0 {
                check_still_signs_in(&user, &removed)?;
            }
            self.check_confirmed(tx, viewer).await?;
        }
        Ok((changes, removed))
    }

    /// Tells a former address or number which one the account has now.
    pub(super) fn tell_former(&self, user: &User, former: Former, client: &Client) {
        let Former { kind, address } = former;
        let now = kind.verified(user).map(|now| masked(kind, now));
        let notice = Notice::ContactPointChanged { username: user.username.clone(), now };
        self.tell_of_change(kind.recipient(&address), notice, client);
    }
}

/// Returns BAD_USER_INPUT if the owner, who has no identity at an issuer, could no longer sign in without these
/// addresses and numbers.
fn check_still_signs_in(user: &User, removed: &[Former]) -> Result<()> {
    let keeps_one = Kind::ALL.iter().any(|kind| {
        let is_removed = removed.iter().any(|former| former.kind == *kind);
        kind.verified(user).is_some() && !is_removed
    });
    if user.password_hash.is_some() || keeps_one {
        return Ok(());
    }
    let message = "You could no longer sign in. Set a password by `changePassword` first.";
    Err(Error::Invalid(removed.iter().map(|former| Violation::new(former.kind.field(), message)).collect()))
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
