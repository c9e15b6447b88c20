//! Tests of calls.

mod call_access;
mod call_departures;
mod call_events;
mod call_groups;
mod call_races;
mod call_signals;
mod call_states;
mod call_timeouts;
#[expect(clippy::module_inception, reason = "the file is named after its noun, as all are")]
mod calls;
mod ice_servers;
