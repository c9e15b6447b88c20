//! Types and resolvers of uploads and attachments.

pub(super) mod attachment;
pub(super) mod upload;
