//! Users: accounts, sessions, contacts, privacy and presence.

pub mod accounts;
pub mod browser_logins;
pub mod code_logins;
pub mod codes;
mod common_passwords;
pub mod confirmations;
pub mod contact_point;
pub mod contact_points;
pub mod contacts;
pub(super) mod core;
pub mod export;
pub mod guests;
pub mod identities;
pub mod issuer_logins;
pub(super) mod last_seen;
pub(super) mod password_tries;
pub(super) mod passwords;
pub mod presence;
pub mod privacy;
pub(super) mod refresh_tokens;
pub mod registration_invites;
pub mod sessions;
mod sign_in_codes;
pub(super) mod tokens;
mod tries;
mod usernames;
pub mod users;
