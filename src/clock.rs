//! The clock, which is passed as a parameter to all code that needs the time.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

/// A clock with the resolution of Postgres: one microsecond.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset: TimeDelta,
}

impl Clock {
    /// Returns the clock of the machine.
    pub const fn system() -> Self {
        Self { offset: TimeDelta::zero() }
    }

    /// Returns a clock that differs from the machine's clock by `offset`, to simulate a machine whose clock is wrong.
    pub const fn off_by(offset: TimeDelta) -> Self {
        Self { offset }
    }

    #[expect(clippy::disallowed_methods, reason = "all other code takes the time from a Clock")]
    pub fn now(&self) -> DateTime<Utc> {
        (Utc::now() + self.offset).trunc_subsecs(6)
    }
}
