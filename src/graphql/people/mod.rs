//! Types and resolvers of users, accounts and sessions.

pub(super) mod account;
pub(super) mod block;
pub(super) mod code;
pub(super) mod contact;
pub(super) mod guest;
pub(super) mod identity;
pub(super) mod passkey;
pub(super) mod presence;
pub(super) mod privacy;
pub(super) mod second_factor;
pub(super) mod session;
pub(super) mod user;
pub(super) mod viewer;
