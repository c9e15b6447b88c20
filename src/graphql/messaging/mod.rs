//! Types and resolvers of messages.

pub(super) mod message;
pub(super) mod message_change;
pub(super) mod pin;
pub(super) mod reaction;
pub(super) mod scheduled_message;
pub(super) mod search;
