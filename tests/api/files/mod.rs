//! Tests of uploads, attachments and avatars, and of what inspects, stores and removes files.

mod attachments;
mod avatars;
mod blobs;
mod media;
mod scanner;
mod sweeper;
mod uploads;
