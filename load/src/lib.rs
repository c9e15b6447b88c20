//! Puts Parlance servers under load, over the API that every client has, and checks what they promise.
//!
//! The programs share the processors with the servers they measure, so that the clients here do no more than they
//! must: HTTP/1.1 and WebSocket written by hand, events read by looking for the fields that count, and one shared
//! ledger of what was said and heard.

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
