//! The clock that all latencies of a load use.

use std::time::{Duration, Instant};

/// Measures the time since its creation.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::new_without_default, reason = "it begins to run")]
    pub fn new() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> Duration {
        self.0.elapsed()
    }

    /// Returns the instant at which `now` returns `time`.
    pub fn at(self, time: Duration) -> tokio::time::Instant {
        (self.0 + time).into()
    }
}

/// The time span that is measured, in times of the stopwatch.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub start: Duration,
    pub end: Duration,
}

impl Window {
    pub fn contains(self, time: Duration) -> bool {
        (self.start..self.end).contains(&time)
    }

    pub fn length(self) -> Duration {
        self.end.saturating_sub(self.start)
    }
}
