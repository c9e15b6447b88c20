//! Conversations and their participants: groups, roles, invites, bans, and live state such as typing.

pub mod bans;
#[expect(clippy::module_inception, reason = "the file is named after its noun, as all are")]
pub mod conversations;
pub(super) mod core;
pub(super) mod groups;
pub mod invites;
pub mod memberships;
pub mod participants;
pub mod rooms;
pub mod typing;
pub(super) mod watch;
