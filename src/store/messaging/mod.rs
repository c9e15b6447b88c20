//! Rows of messages, and rows that belong to messages.

pub mod hidden_messages;
pub mod mentions;
pub mod message_edits;
pub mod messages;
pub mod pins;
pub mod reactions;
pub mod receipts;
pub mod scheduled_messages;
pub mod search;
pub mod search_index;
pub mod tombstones;
pub mod unread;
