//! Rows of users, and rows that belong to users.

pub mod blocks;
pub mod contacts;
pub mod privacy;
pub mod privacy_settings;
pub mod registration_invites;
pub mod sessions;
pub mod users;
pub mod verification_codes;
