//! Puts Parlance servers under load over the public API, and checks that every acknowledged message is delivered.
//!
//! The programs share the processors with the servers that they measure, so the clients here do little work: they write
//! HTTP/1.1 and WebSocket frames by hand, search events for the few fields that they need, and share one ledger of the
//! messages that were sent and delivered.

pub mod client;
pub mod histogram;
pub mod label;
pub mod ledger;
pub mod listener;
pub mod load;
pub mod numbers;
pub mod plot;
pub mod process;
pub mod report;
pub mod scan;
pub mod sender;
pub mod server;
pub mod socket;
pub mod stopwatch;
pub mod timeline;
pub mod transfer;
