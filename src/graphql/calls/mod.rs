//! Types and resolvers of calls.

pub(super) mod call;
pub(super) mod call_access;
pub(super) mod call_event;
pub(super) mod call_signal;
pub(super) mod ice_server;
