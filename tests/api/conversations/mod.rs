//! Tests of conversations and their participants.

mod bans;
#[expect(clippy::module_inception, reason = "the file is named after its noun, as all are")]
mod conversations;
mod groups;
mod history;
mod invites;
mod memberships;
mod participants;
mod permissions;
