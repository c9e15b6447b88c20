//! Parlance: a chat backend. One totally ordered log with a GraphQL API on top.
//!
//! Imports go one way, from `http` through `graphql` and `domain` to `log` and `store`: see docs/ARCHITECTURE.md.

/// A build of another checkout compiles this crate again, even if none of its files is newer than the last build.
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
pub mod limiter;
pub mod live;
pub mod log;
pub mod media;
pub mod metrics;
pub mod random;
pub mod redis;
pub mod scanner;
pub mod secret_file;
pub mod store;
pub mod task;
pub mod watchdog;
