//! The rules of the chat: validation, permissions and transactions. This code does not depend on GraphQL, HTTP or
//! Redis.

mod account_deletion;
mod app;
mod base;
pub mod blocks;
pub mod calls;
pub mod client;
pub mod conversations;
mod error;
pub mod files;
mod housekeeping;
pub mod inbox;
mod limits;
pub mod messaging;
pub mod people;
pub mod permissions;
mod phone;
pub mod push;
pub mod seed;
mod tasks;
mod text;
mod validate;
mod viewer;

pub use app::{App, Cluster, OpenError};
pub use error::{CallConflict, Error, FactorChallenge, FactorKind, Result, Violation};
pub use people::tokens::Tokens;
pub use viewer::{Reader, Viewer};
