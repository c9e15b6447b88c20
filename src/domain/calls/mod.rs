//! Calls: starting, answering and leaving calls, and the signals between devices.

pub mod call_access;
pub mod call_events;
pub mod call_signals;
pub(super) mod call_state;
pub(super) mod call_timeouts;
#[expect(clippy::module_inception, reason = "the file is named after its noun, as all are")]
pub mod calls;
pub(super) mod core;
pub mod ice_servers;
