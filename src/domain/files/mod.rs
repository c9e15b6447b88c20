//! Uploads, attachments and avatars.

pub mod addresses;
pub mod attachments;
pub(super) mod avatars;
pub(super) mod core;
#[expect(clippy::module_inception, reason = "the file is named after its noun, as all are")]
pub(super) mod files;
pub(super) mod objects;
pub mod parts;
pub(super) mod sweeper;
pub mod uploads;
