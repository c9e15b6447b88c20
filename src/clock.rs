//! The time, handed to whoever needs it.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

/// A clock, to the microsecond as Postgres keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset: TimeDelta,
}

impl Clock {
    /// The machine's own.
    pub const fn system() -> Self {
        Self { offset: TimeDelta::zero() }
    }

    /// One that is wrong by `offset`, as some machine's always is.
    pub const fn off_by(offset: TimeDelta) -> Self {
        Self { offset }
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the time comes in")]
    pub fn now(&self) -> DateTime<Utc> {
        (Utc::now() + self.offset).trunc_subsecs(6)
    }
}
