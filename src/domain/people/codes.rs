//! Verification codes: six digits that the server sends to an e-mail address or a phone number. Whoever enters the code
//! controls the address or number.
//!
//! A code works once, for 10 minutes, and for five tries. The database has hashes by HMAC-SHA256, with a key that is
//! not in the database. A reader of the database can therefore neither find a code by trying all million of them, nor
//! learn for which addresses codes were requested.

use std::sync::Arc;

use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};

use super::contact_point::{ContactPoint, ContactPointInput, Kind};
use super::core::PeopleCore;
use super::tries::{Subject, contact_point_key};
use crate::config::{CODE_LIFETIME, CODE_TRIES};
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::validate::{self, CODE_DIGITS, Check};
use crate::domain::viewer::Viewer;
use crate::ids::UserId;
use crate::limiter::{Key, Rate};
use crate::log::Transaction;
use crate::notices::{Channel, CodeUse, Notice};
use crate::random::Random;
use crate::store::people::users;
use crate::store::people::verification_codes::{self, VerificationCode};

/// Number of different codes: 10 to the power of `CODE_DIGITS`.
const CODES: u32 = 1_000_000;
/// Name of the input field with an e-mail address or a phone number.
pub(super) const CONTACT_POINT: &str = "contactPoint";

pub struct Codes<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// The action that a code allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodePurpose {
    Login,
    Verify,
    ResetPassword,
    Confirm,
}

/// Identifies a code: each value has at most one live code.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) purpose: CodePurpose,
    /// The e-mail address or phone number to which the code is sent.
    pub(super) target: &'a str,
    /// The signed-in user who requests the code. None if the purpose needs no signed-in user. With the user, one user's
    /// request cannot replace the code of another user.
    pub(super) user: Option<UserId>,
}

/// A code that a client has entered correctly. It still has to be used, in the transaction of the change.
pub(in crate::domain) struct RightCode {
    id: Vec<u8>,
    hash: Vec<u8>,
    /// Field of the input that holds the code.
    path: &'static str,
}

impl CodePurpose {
    /// Whether only a signed-in user can request a code for this purpose.
    pub const fn needs_viewer(self) -> bool {
        matches!(self, Self::Verify | Self::Confirm)
    }

    const fn usage(self) -> CodeUse {
        match self {
            Self::Login => CodeUse::Login,
            Self::Verify => CodeUse::Verify,
            Self::ResetPassword => CodeUse::ResetPassword,
            Self::Confirm => CodeUse::Confirm,
        }
    }

    /// Returns the name that enters the hashes. It must not change while codes are live.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Verify => "verify",
            Self::ResetPassword => "reset password",
            Self::Confirm => "confirm",
        }
    }
}

impl Slot<'_> {
    /// Returns the id of the row of the code.
    fn id(&self, key: &hmac::Key) -> Vec<u8> {
        self.tag(key, "id", "").as_ref().to_vec()
    }

    /// Returns the hash of a code in this slot.
    fn hash(&self, key: &hmac::Key, code: &str) -> Vec<u8> {
        self.tag(key, "code", code).as_ref().to_vec()
    }

    fn tag(&self, key: &hmac::Key, kind: &str, code: &str) -> hmac::Tag {
        hmac::sign(key, &self.message(kind, code))
    }

    /// Returns the input of the HMAC. No part contains the separator.
    fn message(&self, kind: &str, code: &str) -> Vec<u8> {
        let user = self.user.map(|user| user.to_string()).unwrap_or_default();
        [kind, self.purpose.as_str(), self.target, &user, code].join("\0").into_bytes()
    }

    /// Compares the code with the hash of the right code, in constant time.
    fn matches(&self, key: &hmac::Key, code: &str, hash: &[u8]) -> bool {
        hmac::verify(key, &self.message("code", code), hash).is_ok()
    }
}

impl Codes<'_> {
    /// Whether the server can send codes by e-mail.
    pub fn are_sent_by_email(&self) -> bool {
        self.core.notices.email() != Channel::Unavailable
    }

    /// Whether the server can send codes by SMS.
    pub fn are_sent_by_phone(&self) -> bool {
        self.core.notices.phone() != Channel::Unavailable
    }

    /// Sends a code to an e-mail address or a phone number. Returns the time at which the code expires. `viewer` is
    /// None if the purpose needs no signed-in user. Neither the response nor the statements depend on whether an
    /// account has the address or number. The only difference is whether a notice is queued, which takes microseconds.
    pub async fn request(
        &self,
        viewer: Option<Viewer>,
        contact_point: ContactPointInput,
        purpose: CodePurpose,
        client: &Client,
    ) -> Result<DateTime<Utc>> {
        let mut check = Check::default();
        let contact_point = contact_point.checked(&mut check, CONTACT_POINT);
        check.done()?;
        self.core.check_channel(contact_point.kind, CONTACT_POINT)?;
        if let Some(network) = client.network {
            self.core.base.check_rate_for(Rate::CodesPerAddress, Key::Network(network), 1)?;
        }
        self.core.base.check_rate_for(Rate::CodesPerTarget, contact_point_key(&contact_point.value), 1)?;

        let code = new_code(&self.core.base.random);
        let user = viewer.map(|viewer| viewer.user);
        let slot = Slot { purpose, target: &contact_point.value, user };
        let owner = self.owner(&contact_point).await?;
        if purpose == CodePurpose::Confirm && (owner.is_none() || owner != user) {
            let path = format!("{CONTACT_POINT}.{}", contact_point.kind.field());
            return Err(Error::invalid(path, "This is not a verified e-mail address or phone number of your account."));
        }
        let expires_at = self.store(slot, &code).await?;
        if self.is_sent(purpose, owner) {
            self.send(&contact_point, purpose, code, client)?;
        }
        Ok(expires_at)
    }

    /// Returns the user who has verified the address or number.
    async fn owner(&self, contact_point: &ContactPoint) -> Result<Option<UserId>> {
        let found = users::by_verified(&mut *self.core.base.connection().await?, &contact_point.forms).await?;
        Ok(found.map(|user| user.id))
    }

    /// Stores the code, whether it is sent or not. Returns when the code expires.
    async fn store(&self, slot: Slot<'_>, code: &str) -> Result<DateTime<Utc>> {
        let key = &self.core.tokens.code_key;
        let now = self.core.base.now();
        let row = VerificationCode {
            id: slot.id(key),
            code_hash: slot.hash(key, code),
            user_id: slot.user,
            created_at: now,
            expires_at: now + CODE_LIFETIME,
        };
        verification_codes::replace(&mut *self.core.base.connection().await?, &row).await?;
        Ok(row.expires_at)
    }

    /// Whether the code is of use to its recipient.
    fn is_sent(&self, purpose: CodePurpose, owner: Option<UserId>) -> bool {
        match purpose {
            // A code also makes a new account.
            CodePurpose::Login => owner.is_some() || self.core.registration.allows_codes(),
            CodePurpose::ResetPassword => owner.is_some(),
            CodePurpose::Verify | CodePurpose::Confirm => true,
        }
    }

    /// Queues the notice. Returns UNAVAILABLE if the queue is full and only a signed-in user can have caused the
    /// notice. Otherwise the error would reveal that the account exists.
    fn send(&self, contact_point: &ContactPoint, purpose: CodePurpose, code: String, client: &Client) -> Result<()> {
        let minutes = u32::try_from(CODE_LIFETIME.as_secs() / 60).unwrap_or(u32::MAX);
        let notice = Notice::Code { code, usage: purpose.usage(), minutes };
        match self.core.tell(contact_point.recipient(), notice, client) {
            Err(_) if purpose.needs_viewer() => {
                Err(Error::Overloaded("Too many codes wait to be sent. Try again in a moment."))
            }
            Err(_) => {
                tracing::warn!("a code was dropped, because too many notices wait to be sent");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

impl PeopleCore {
    /// Compares a code that a client has entered with the live codes of the slots, which belong to one subject. Counts
    /// the attempt for each of these codes, for the subject and for the network. A code that is wrong, used, expired or
    /// was never requested, and one with too many tries, get the same BAD_USER_INPUT at `path`.
    pub(super) async fn check_code(
        &self,
        subject: Subject<'_>,
        slots: &[Slot<'_>],
        code: &str,
        path: &'static str,
        client: &Client,
    ) -> Result<RightCode> {
        let counted = self.count_try(subject, client.network).await?;
        let compared = self.compare_code(slots, code, path).await;
        match &compared {
            Ok(Some(_)) => self.record_success(counted).await,
            Ok(None) => {}
            Err(_) => self.undo_try(counted).await,
        }
        compared?.ok_or_else(|| wrong_code(path))
    }

    async fn compare_code(&self, slots: &[Slot<'_>], code: &str, path: &'static str) -> Result<Option<RightCode>> {
        let key = &self.tokens.code_key;
        let ids: Vec<_> = slots.iter().map(|slot| slot.id(key)).collect();
        let max_tries = i16::try_from(CODE_TRIES).unwrap_or(i16::MAX);
        let mut connection = self.base.connection().await?;
        let live = verification_codes::count_try(&mut connection, &ids, max_tries, self.base.now()).await?;
        let right = live.into_iter().find(|(id, hash)| {
            let slot = ids.iter().position(|own| own == id).and_then(|place| slots.get(place));
            slot.is_some_and(|slot| slot.matches(key, code, hash))
        });
        Ok(right.map(|(id, hash)| RightCode { id, hash, path }))
    }

    /// Returns `outcome`, the result of the transaction that uses the code. If it failed, the code is still there, and
    /// the try does not count: the client can correct the rest of the input and send the code again.
    pub(in crate::domain) async fn keep_code<T>(&self, code: &RightCode, outcome: Result<T>) -> Result<T> {
        if outcome.is_err()
            && let Err(error) = self.undo_code_try(code).await
        {
            tracing::debug!(?error, "a try of a code could not be taken back");
        }
        outcome
    }

    async fn undo_code_try(&self, code: &RightCode) -> Result<()> {
        let mut connection = self.base.connection().await?;
        Ok(verification_codes::undo_try(&mut connection, &code.id, &code.hash).await?)
    }

    /// Compares a CONFIRM code with those that were sent to these addresses and numbers of the viewer.
    pub(super) async fn check_confirmation(
        &self,
        viewer: Viewer,
        targets: &[String],
        code: &str,
        path: &'static str,
        client: &Client,
    ) -> Result<RightCode> {
        let (purpose, user) = (CodePurpose::Confirm, Some(viewer.user));
        let slots: Vec<_> = targets.iter().map(|target| Slot { purpose, target, user }).collect();
        self.check_code(Subject::User(viewer.user), &slots, code, path, client).await
    }

    /// Compares a CONFIRM code with those that were sent to any of the viewer's verified addresses and numbers.
    pub(in crate::domain) async fn check_any_confirmation(
        &self,
        viewer: Viewer,
        code: &str,
        client: &Client,
    ) -> Result<RightCode> {
        const PATH: &str = "code";
        let mut check = Check::default();
        let code = check.code(PATH, code);
        check.done()?;
        let user = users::by_id(&mut *self.base.connection().await?, viewer.user).await?;
        let user = user.ok_or_else(|| wrong_code(PATH))?;
        let verified = Kind::ALL.iter().filter_map(|kind| kind.verified(&user));
        // An older server may have stored a number in another form than the one to which the code was sent.
        let targets: Vec<_> = verified.map(validate::identifier).collect();
        self.check_confirmation(viewer, &targets, &code, PATH, client).await
    }
}

impl RightCode {
    /// Uses up the code. Returns BAD_USER_INPUT if another request has used or replaced it meanwhile.
    pub(in crate::domain) async fn use_up(&self, tx: &mut Transaction<'_>) -> Result<()> {
        if verification_codes::delete(tx.conn(), &self.id, &self.hash).await? {
            Ok(())
        } else {
            Err(wrong_code(self.path))
        }
    }
}

/// Returns the error for every code that does not work.
pub(super) fn wrong_code(path: &str) -> Error {
    Error::invalid(path, "This code is wrong, expired or already used. Call `requestCode` for a new one.")
}

fn new_code(random: &Random) -> String {
    format!("{:0width$}", random.below(CODES), width = CODE_DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_six_digits() {
        let random = Random::system();
        let mut starts_with_zero = false;
        for _ in 0..1000 {
            let code = new_code(&random);
            assert!(code.len() == CODE_DIGITS && code.bytes().all(|digit| digit.is_ascii_digit()), "{code}");
            starts_with_zero |= code.starts_with('0');
        }
        assert!(starts_with_zero);
    }

    #[test]
    fn a_hash_depends_on_the_purpose_the_target_the_user_and_the_key() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let slot = Slot { purpose: CodePurpose::Verify, target: "ada@example.org", user: None };
        let hash = slot.hash(&key, "012345");
        assert!(slot.matches(&key, "012345", &hash));
        assert!(!slot.matches(&key, "012346", &hash));
        assert!(!slot.matches(&hmac::Key::new(hmac::HMAC_SHA256, &[2; 32]), "012345", &hash));
        let user = UserId("018f3f5e-0000-7000-8000-000000000000".parse().unwrap());
        for other in [
            Slot { purpose: CodePurpose::Login, ..slot },
            Slot { target: "bob@example.org", ..slot },
            Slot { user: Some(user), ..slot },
        ] {
            assert!(!other.matches(&key, "012345", &hash));
            assert_ne!(other.id(&key), slot.id(&key));
        }
    }
}
