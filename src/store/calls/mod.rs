//! Rows of calls.

pub mod call_participants;
pub mod call_signals;
#[expect(clippy::module_inception, reason = "the file is named after its noun, as all are")]
pub mod calls;
