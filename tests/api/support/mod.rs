//! Nodes that run in the test process, and clients that call them over HTTP and WebSocket.

pub mod authenticator;
mod brokers;
mod calls;
mod client;
mod codes;
mod database;
mod factors;
mod files;
mod groups;
pub mod http;
mod issuers;
mod messages;
mod node;
mod notices;
mod parts;
pub mod push;
mod scale;
mod socket;
mod waiting;

pub use authenticator::Authenticator;
pub use brokers::{DroppingBroker, FaultyBroker, redis_url};
pub use calls::{CallEvents, call_sessions};
pub use client::{Answer, Api, User};
pub use codes::{assert_wrong_code, contact_point, receiving, wrong_code};
pub use database::{TestDatabase, unique};
pub use files::{get, picture, put};
pub use issuers::{AUDIENCE, SigningKey, TestIssuer, secret_issuer, secret_token};
pub use node::{JWT_SECRET, Node, NodeBuilder};
pub use parts::{HeldLog, NodeProcess, OwnPostgres, Redis, free_port, url_of_node};
pub use scale::{ClientScale, scale};
pub use socket::{Inbox, Socket};
pub use waiting::{eventually, eventually_some, eventually_within, within};

use std::time::Duration;

/// Maximum time that a test waits for a condition before it fails. Long enough for a machine under load.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Time that a test adds to a guaranteed maximum time, because the machine may be loaded.
pub const ALLOWANCE: Duration = Duration::from_secs(2);

pub const PASSWORD: &str = "correct horse battery staple";
