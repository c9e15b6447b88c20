//! Parlance: a chat backend, which stores all events in one totally ordered log and has a GraphQL API.
//!
//! Modules import each other in one direction only: from `http` through `graphql` and `domain` to `log` and `store`.
//! See docs/ARCHITECTURE.md.

/// Makes Cargo compile this crate again when another checkout is built in the same target directory, even if no file of
/// that checkout is newer than the last build.
const _: Option<&str> = option_env!("PARLANCE_CHECKOUT");

pub mod address;
pub mod blobs;
pub mod clock;
pub mod config;
pub mod domain;
pub mod embedded;
pub mod error;
pub mod fair;
pub mod graphql;
pub mod http;
pub mod ids;
pub mod issuers;
pub mod limiter;
pub mod live;
pub mod log;
pub mod media;
pub mod metrics;
pub mod notices;
pub mod outbound;
pub mod push;
pub mod random;
pub mod redis;
pub mod scanner;
pub mod secret_file;
pub mod store;
pub mod task;
mod text;
pub mod tls;
pub mod watchdog;
