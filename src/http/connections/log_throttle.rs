//! Limits the log lines about events that may happen thousands of times a second.

use std::time::Duration;

use tokio::time::Instant;

/// Minimum time between two log lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Allows a log line for some of many equal events, and counts the events in between.
#[derive(Default)]
pub(super) struct LogThrottle {
    next: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// Counts an event. Returns the number of events since the last log line, including this event. Returns None if it
    /// is too early for another log line.
    pub(super) fn due(&mut self) -> Option<u64> {
        let now = Instant::now();
        self.suppressed += 1;
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + INTERVAL);
        Some(std::mem::take(&mut self.suppressed))
    }
}
