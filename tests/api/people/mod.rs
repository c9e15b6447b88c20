//! Tests of users, accounts and sessions.

mod account_life;
mod accounts;
mod blocks;
mod contact_points;
mod contacts;
mod password_attacks;
mod password_forms;
mod privacy;
mod refreshes;
mod registration;
mod sessions;
mod users;
