//! Limits the log lines about events that may happen thousands of times a second.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one of many equal events be logged, and counts the others.
#[derive(Default)]
pub(super) struct LogThrottle {
    next: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// The number of events since the last line, this one included. None if it is too early for another line.
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
