//! Rows of users, and rows that belong to users.

pub mod blocks;
pub mod contacts;
mod expired;
pub mod guests;
pub mod identities;
pub mod login_challenges;
pub mod passkey_challenges;
pub mod passkeys;
pub mod privacy;
pub mod privacy_settings;
pub mod recovery_codes;
pub mod registration_invites;
pub mod sessions;
pub mod sign_in_codes;
pub mod totp_factors;
pub mod users;
pub mod verification_codes;
