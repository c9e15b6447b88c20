//! Tests of users, accounts and sessions.

mod account_life;
mod accounts;
mod blocks;
mod challenges;
mod code_limits;
mod codes;
mod confirmations;
mod contact_points;
mod contacts;
mod password_attacks;
mod password_forms;
mod password_resets;
mod privacy;
mod refreshes;
mod registration;
mod sessions;
mod users;
mod verification;
