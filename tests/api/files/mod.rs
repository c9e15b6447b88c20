//! Tests of uploads, attachments and avatars, and of the inspection, storage and removal of files.

mod attachments;
mod avatars;
mod blobs;
mod media;
mod scanner;
mod sweeper;
mod uploads;
