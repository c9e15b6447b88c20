//! Users: accounts, sessions, contacts, privacy and presence.

pub mod accounts;
pub mod code_checks;
pub mod code_logins;
pub mod code_slots;
pub mod codes;
mod common_passwords;
pub mod confirmations;
pub mod contact_point;
pub mod contact_points;
pub mod contacts;
pub(super) mod core;
pub mod export;
pub(super) mod last_seen;
pub(super) mod password_tries;
pub(super) mod passwords;
pub mod presence;
pub mod privacy;
pub(super) mod refresh_tokens;
pub mod registration_invites;
pub mod sessions;
pub(super) mod tokens;
pub(super) mod tries;
pub mod users;
