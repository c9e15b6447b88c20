//! Tests of users, accounts and sessions.

mod account_life;
mod accounts;
mod blocks;
mod browser_logins;
mod codes;
mod confirmations;
mod contact_points;
mod contacts;
mod guests;
mod identities;
mod issuers;
mod password_attacks;
mod password_forms;
mod password_resets;
mod privacy;
mod refreshes;
mod registration;
mod sessions;
mod users;
mod verification;
