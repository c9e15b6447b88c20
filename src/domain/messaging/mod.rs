//! Messages: how they are sent and changed, and their reactions, pins, receipts and mentions.

pub(super) mod batch;
pub(super) mod core;
pub(super) mod expiry;
pub(super) mod locked_message;
pub mod mentions;
pub mod messages;
pub mod new_message;
pub mod pins;
pub mod reactions;
pub mod receipts;
pub mod scheduled_messages;
pub(super) mod scheduler;
pub mod search;
pub mod search_indexer;
pub(super) mod system;
pub(super) mod writer;
