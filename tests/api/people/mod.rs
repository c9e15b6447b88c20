//! Tests of users, accounts and sessions.

mod account_life;
mod accounts;
mod blocks;
mod browser_logins;
mod challenges;
mod code_limits;
mod codes;
mod confirmations;
mod contact_points;
mod contacts;
mod factor_changes;
mod guests;
mod identities;
mod issuers;
mod notice_languages;
mod passkeys;
mod password_attacks;
mod password_forms;
mod password_resets;
mod privacy;
mod refreshes;
mod registration;
mod second_factors;
mod sessions;
mod users;
mod verification;
