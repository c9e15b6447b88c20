//! Verification codes: six digits that the server sends to an e-mail address or a phone number. Whoever enters the code
//! controls the address or number.
//!
//! The database has hashes by HMAC-SHA256, with a key that is not in the database. A reader of the database can
//! therefore neither find a code by trying all million of them, nor learn for which addresses codes were requested.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};

use super::code_slots::{CodePurpose, Slot};
use super::contact_point::{CONTACT_POINT, ContactPoint, ContactPointInput, Kind};
use super::core::PeopleCore;
use super::tries::{contact_point_key, contact_point_key_from, name_key};
use crate::config::{CODE_LIFETIME, CODES_PER_SLOT};
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::validate::{CHALLENGE_BYTES, CODE_DIGITS, Check};
use crate::domain::viewer::Viewer;
use crate::ids::UserId;
use crate::limiter::{Key, Rate};
use crate::notices::{Channel, Notice};
use crate::random::Random;
use crate::store::people::users;
use crate::store::people::verification_codes::{self, VerificationCode};

/// Number of different codes: 10 to the power of `CODE_DIGITS`.
const CODES: u32 = 1_000_000;

pub struct Codes<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// The answer to a request for a code.
pub struct RequestedCode {
    /// Random text that names the code. Only the client of the request gets it.
    pub challenge: String,
    pub expires_at: DateTime<Utc>,
}

impl fmt::Debug for RequestedCode {
    /// Omits the challenge, so that it does not get into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RequestedCode").field("expires_at", &self.expires_at).finish_non_exhaustive()
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

    /// Sends a code to an e-mail address or a phone number. `viewer` is None if the purpose needs no signed-in user.
    /// Neither the response nor the statements depend on whether an account has the address or number. The only
    /// difference is whether a notice is queued, which takes microseconds.
    pub async fn request(
        &self,
        viewer: Option<Viewer>,
        contact_point: ContactPointInput,
        purpose: CodePurpose,
        client: &Client,
    ) -> Result<RequestedCode> {
        let mut check = Check::default();
        let contact_point = contact_point.checked(&mut check, CONTACT_POINT);
        check.done()?;
        self.core.check_channel(&contact_point, CONTACT_POINT)?;
        if purpose == CodePurpose::Confirm {
            // The address is checked before the request is counted. Otherwise a user could use up the requests for the
            // address of another user.
            self.check_own(&contact_point, viewer).await?;
        }
        self.count_request(purpose, viewer, &contact_point, client)?;

        let random = &self.core.base.random;
        let (code, challenge) = (new_code(random), new_challenge(random));
        let user = viewer.map(|viewer| viewer.user);
        let slot = Slot { purpose, target: &contact_point.value, user };
        let owner = if purpose.needs_viewer() { user } else { self.owner(&contact_point).await? };
        let expires_at = self.store(slot, &code, &challenge).await?;
        if self.is_sent(purpose, owner, contact_point.kind) {
            self.send(&contact_point, purpose, code, client);
        }
        Ok(RequestedCode { challenge, expires_at })
    }

    /// Returns BAD_USER_INPUT unless the viewer has verified the address or number.
    async fn check_own(&self, contact_point: &ContactPoint, viewer: Option<Viewer>) -> Result<()> {
        let owner = self.owner(contact_point).await?;
        if owner.is_some() && owner == viewer.map(|viewer| viewer.user) {
            return Ok(());
        }
        let path = format!("{CONTACT_POINT}.{}", contact_point.kind.field());
        Err(Error::invalid(path, "This is not a verified e-mail address or phone number of your account."))
    }

    /// Counts the request for its client first, so that a client with too many requests does not use up those for the
    /// address or number.
    ///
    /// CONFIRM has a daily limit for each user, because strangers can use up the limit for an address or number.
    fn count_request(
        &self,
        purpose: CodePurpose,
        viewer: Option<Viewer>,
        contact_point: &ContactPoint,
        client: &Client,
    ) -> Result<()> {
        let (base, target) = (&self.core.base, contact_point.value.as_str());
        match (viewer, client.network) {
            (Some(viewer), _) => base.check_rate(Rate::CodesPerUser, viewer, 1)?,
            (None, Some(network)) => {
                base.check_rate_for(Rate::CodesPerAddress, Key::Network(network), 1)?;
                base.check_rate_for(Rate::CodesPerTarget, contact_point_key_from(target, network), 1)?;
            }
            (None, None) => {}
        }
        let day = match (purpose, viewer) {
            (CodePurpose::Confirm, Some(viewer)) => name_key("confirm", &[&viewer.user.to_string()]),
            _ => contact_point_key(target),
        };
        base.check_rate_for(Rate::CodesPerTargetDay, day, 1)
    }

    /// Returns the user who has verified the address or number.
    async fn owner(&self, contact_point: &ContactPoint) -> Result<Option<UserId>> {
        let found = users::by_verified(&mut *self.core.base.connection().await?, &contact_point.forms).await?;
        Ok(found.map(|user| user.id))
    }

    /// Stores the code, whether it is sent or not. Returns when the code expires.
    async fn store(&self, slot: Slot<'_>, code: &str, challenge: &str) -> Result<DateTime<Utc>> {
        let key = &self.core.tokens.code_key;
        let now = self.core.base.now();
        let row = VerificationCode {
            id: slot.challenge_id(key, challenge),
            slot: slot.id(key),
            code_hash: slot.hash(key, code),
            user_id: slot.user,
            created_at: now,
            expires_at: now + CODE_LIFETIME,
        };
        verification_codes::insert(&mut *self.core.base.connection().await?, &row, CODES_PER_SLOT).await?;
        Ok(row.expires_at)
    }

    /// Whether the code is of use to its recipient, and within RATE_SMS if it is sent by SMS.
    fn is_sent(&self, purpose: CodePurpose, owner: Option<UserId>, kind: Kind) -> bool {
        let is_useful = match purpose {
            // A code also makes a new account.
            CodePurpose::Login => owner.is_some() || self.core.registration.allows_codes(),
            CodePurpose::ResetPassword => owner.is_some(),
            CodePurpose::Verify | CodePurpose::Confirm => true,
        };
        if !is_useful || kind == Kind::Email {
            return is_useful;
        }
        let is_owner = purpose != CodePurpose::Verify && owner.is_some();
        let has_room = self.core.has_room_for_sms(is_owner);
        if !has_room {
            tracing::warn!("a code was not sent, because of RATE_SMS");
        }
        has_room
    }

    /// Queues the notice. A notice for which the queue has no place is dropped. The client gets the same answer then,
    /// because another one would reveal whether a notice was sent, and so whether an account exists.
    fn send(&self, contact_point: &ContactPoint, purpose: CodePurpose, code: String, client: &Client) {
        let minutes = u32::try_from(CODE_LIFETIME.as_secs() / 60).unwrap_or(u32::MAX);
        let notice = Notice::Code { code, usage: purpose.usage(), minutes };
        self.core.tell(contact_point.recipient(), notice, client);
    }
}

fn new_code(random: &Random) -> String {
    format!("{:0width$}", random.below(CODES), width = CODE_DIGITS)
}

fn new_challenge(random: &Random) -> String {
    URL_SAFE_NO_PAD.encode(random.bytes::<CHALLENGE_BYTES>())
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
    fn a_challenge_is_random_and_passes_the_check() {
        let random = Random::system();
        let (one, other) = (new_challenge(&random), new_challenge(&random));
        assert_ne!(one, other);
        let mut check = Check::default();
        assert_eq!(check.challenge("challenge", &one), one);
        check.done().unwrap();
        for wrong in [String::new(), one[1..].to_owned(), format!("{one}A"), "=".repeat(24), "ä".repeat(12)] {
            let mut check = Check::default();
            check.challenge("challenge", &wrong);
            assert!(check.done().is_err(), "{wrong}");
        }
    }
}
