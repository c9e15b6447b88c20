//! The slots of verification codes, and the HMACs by which the database knows slots, challenges and codes.

use aws_lc_rs::hmac;

use crate::ids::UserId;
use crate::notices::CodeUse;

/// The action that a code allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodePurpose {
    Login,
    Verify,
    ResetPassword,
    Confirm,
}

/// The codes that allow the same action: up to `CODES_PER_SLOT` are live at the same time.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) purpose: CodePurpose,
    /// The e-mail address or phone number to which the code is sent.
    pub(super) target: &'a str,
    /// The signed-in user who requests the code. None if the purpose needs no signed-in user. With the user, one user's
    /// request cannot replace the code of another user.
    pub(super) user: Option<UserId>,
}

impl CodePurpose {
    /// Whether only a signed-in user can request a code for this purpose.
    pub const fn needs_viewer(self) -> bool {
        matches!(self, Self::Verify | Self::Confirm)
    }

    pub(super) const fn usage(self) -> CodeUse {
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

impl<'a> Slot<'a> {
    /// Returns the slots of all codes that give the user access to the account by this e-mail address or phone number.
    pub(super) const fn all_of(target: &'a str, user: UserId) -> [Self; 4] {
        [
            Self { purpose: CodePurpose::Login, target, user: None },
            Self { purpose: CodePurpose::ResetPassword, target, user: None },
            Self { purpose: CodePurpose::Verify, target, user: Some(user) },
            Self { purpose: CodePurpose::Confirm, target, user: Some(user) },
        ]
    }

    /// Returns the id of the slot.
    pub(super) fn id(&self, key: &hmac::Key) -> Vec<u8> {
        self.tag(key, "slot", "")
    }

    /// Returns the id of the code with this challenge.
    pub(super) fn challenge_id(&self, key: &hmac::Key, challenge: &str) -> Vec<u8> {
        self.tag(key, "challenge", challenge)
    }

    /// Returns the hash of a code in this slot.
    pub(super) fn hash(&self, key: &hmac::Key, code: &str) -> Vec<u8> {
        self.tag(key, "code", code)
    }

    /// Compares the code with the hash of the right code, in constant time.
    pub(super) fn matches(&self, key: &hmac::Key, code: &str, hash: &[u8]) -> bool {
        hmac::verify(key, &self.message("code", code), hash).is_ok()
    }

    fn tag(&self, key: &hmac::Key, kind: &str, secret: &str) -> Vec<u8> {
        hmac::sign(key, &self.message(kind, secret)).as_ref().to_vec()
    }

    /// Returns the input of the HMAC. No part contains the separator, except possibly the last one.
    fn message(&self, kind: &str, secret: &str) -> Vec<u8> {
        let user = self.user.map(|user| user.to_string()).unwrap_or_default();
        [kind, self.purpose.as_str(), self.target, &user, secret].join("\0").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn user() -> UserId {
        UserId("018f3f5e-0000-7000-8000-000000000000".parse().unwrap())
    }

    #[test]
    fn a_hash_depends_on_the_purpose_the_target_the_user_and_the_key() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let slot = Slot { purpose: CodePurpose::Verify, target: "ada@example.org", user: None };
        let hash = slot.hash(&key, "012345");
        assert!(slot.matches(&key, "012345", &hash));
        assert!(!slot.matches(&key, "012346", &hash));
        assert!(!slot.matches(&hmac::Key::new(hmac::HMAC_SHA256, &[2; 32]), "012345", &hash));
        for other in [
            Slot { purpose: CodePurpose::Login, ..slot },
            Slot { target: "bob@example.org", ..slot },
            Slot { user: Some(user()), ..slot },
        ] {
            assert!(!other.matches(&key, "012345", &hash));
            assert_ne!(other.id(&key), slot.id(&key));
            assert_ne!(other.challenge_id(&key, "challenge"), slot.challenge_id(&key, "challenge"));
        }
        assert_ne!(slot.challenge_id(&key, "one"), slot.challenge_id(&key, "other"));
        assert_ne!(slot.challenge_id(&key, "012345"), hash);
    }

    #[test]
    fn all_slots_of_a_target_are_different() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let ids: BTreeSet<_> = Slot::all_of("ada@example.org", user()).iter().map(|slot| slot.id(&key)).collect();
        assert_eq!(ids.len(), 4);
    }
}
