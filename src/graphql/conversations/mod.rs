//! Types and resolvers of conversations and their participants.

pub(super) mod ban;
pub(super) mod conversation;
pub(super) mod conversation_change;
pub(super) mod invite;
pub(super) mod membership;
pub(super) mod participant;
pub(super) mod room;
pub(super) mod typing;
