//! A node in this process, and clients that call it as any client would.

mod brokers;
mod client;
mod database;
mod node;
mod scale;
mod socket;

pub use brokers::{DroppingBroker, redis_url};
pub use client::{Answer, User};
pub use database::TestDatabase;
pub use node::Node;
pub use scale::scale;
pub use socket::Socket;

use std::time::Duration;

/// Long enough for a loaded machine; whoever waits for it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const PASSWORD: &str = "correct horse battery staple";
