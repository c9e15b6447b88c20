//! Rows of conversations and their participants.

#[expect(clippy::module_inception, reason = "the file is named after its noun, as all are")]
pub mod conversations;
pub mod invites;
pub mod participants;
pub mod removed_participants;
