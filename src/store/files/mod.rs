//! Rows of attachments.

pub mod attachment_sweep;
pub mod attachment_uses;
pub mod attachments;
