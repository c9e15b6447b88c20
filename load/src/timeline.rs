//! Counts and latencies of a load, for each slot of the measured window.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::histogram::Histogram;
use crate::numbers::{float, length};
use crate::report::Latency;
use crate::stopwatch::Window;

/// Maximum number of slots of one run: as many points as a plot can show.
const MAX_SLOTS: u32 = 120;

pub struct Timeline {
    window: Window,
    slot: Duration,
    slots: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    sends: AtomicU64,
    deliveries: AtomicU64,
    due: AtomicU64,
    bytes: AtomicU64,
    acknowledgement: Histogram,
    receipt: Histogram,
}

/// Results of one slot, or of the whole window.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Span {
    /// Start of the slot in seconds, from the start of the window.
    pub seconds: f64,
    pub sends_per_second: f64,
    pub deliveries_per_second: f64,
    /// Deliveries per second that the acknowledged messages require: one delivery to each listener of the message's
    /// room.
    pub due_per_second: f64,
    /// Latency from the start of a request to its response.
    pub acknowledgement: Latency,
    /// Latency from the start of a request to the event at a listener.
    pub receipt: Latency,
    /// Mean size of an event in bytes.
    pub event_bytes: f64,
}

impl Timeline {
    pub fn new(window: Window) -> Self {
        let slot = Duration::from_secs(1).max(window.length() / MAX_SLOTS);
        let count = window.length().as_nanos().div_ceil(slot.as_nanos()).max(1);
        Self { window, slot, slots: (0..count).map(|_| Slot::default()).collect() }
    }

    pub fn window(&self) -> Window {
        self.window
    }

    /// Records the acknowledgement of a message that `listeners` listeners must receive.
    pub fn sent(&self, begun: Duration, acknowledged: Duration, listeners: u32) {
        if let Some(slot) = self.slot(acknowledged) {
            slot.sends.fetch_add(1, Ordering::Relaxed);
            slot.due.fetch_add(listeners.into(), Ordering::Relaxed);
        }
        if let Some(slot) = self.slot(begun) {
            slot.acknowledgement.record(acknowledged.saturating_sub(begun));
        }
    }

    pub fn received(&self, begun: Duration, at: Duration, bytes: usize) {
        if let Some(slot) = self.slot(at) {
            slot.deliveries.fetch_add(1, Ordering::Relaxed);
            slot.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        if let Some(slot) = self.slot(begun) {
            slot.receipt.record(at.saturating_sub(begun));
        }
    }

    /// Returns the results of the whole window.
    pub fn total(&self) -> Span {
        let all = Slot::default();
        for slot in &self.slots {
            all.add(slot);
        }
        all.span(0.0, self.window.length())
    }

    pub fn spans(&self) -> Vec<Span> {
        let places = self.slots.iter().enumerate();
        places
            .map(|(index, slot)| {
                let begin = self.slot * u32::try_from(index).unwrap_or_default();
                let rest = self.window.length().saturating_sub(begin);
                slot.span(length(index) * self.slot.as_secs_f64(), self.slot.min(rest))
            })
            .collect()
    }

    fn slot(&self, time: Duration) -> Option<&Slot> {
        if !self.window.contains(time) {
            return None;
        }
        let index = time.saturating_sub(self.window.start).as_nanos() / self.slot.as_nanos();
        self.slots.get(usize::try_from(index).ok()?)
    }
}

impl Slot {
    fn add(&self, other: &Self) {
        let counts = [
            (&self.sends, &other.sends),
            (&self.deliveries, &other.deliveries),
            (&self.due, &other.due),
            (&self.bytes, &other.bytes),
        ];
        for (count, more) in counts {
            count.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.acknowledgement.add(&other.acknowledgement);
        self.receipt.add(&other.receipt);
    }

    fn span(&self, seconds: f64, length: Duration) -> Span {
        let count = |count: &AtomicU64| float(count.load(Ordering::Relaxed));
        let rate = |counted: &AtomicU64| count(counted) / length.as_secs_f64();
        Span {
            seconds,
            sends_per_second: rate(&self.sends),
            deliveries_per_second: rate(&self.deliveries),
            due_per_second: rate(&self.due),
            acknowledgement: Latency::of(&self.acknowledgement),
            receipt: Latency::of(&self.receipt),
            event_bytes: count(&self.bytes) / count(&self.deliveries),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Timeline;
    use crate::stopwatch::Window;

    #[test]
    fn only_events_within_the_window_count() {
        let seconds = Duration::from_secs;
        let timeline = Timeline::new(Window { start: seconds(10), end: seconds(14) });
        // This message began before the window, so its latency does not count.
        timeline.sent(seconds(9), seconds(10), 3);
        timeline.sent(seconds(11), seconds(13), 3);
        timeline.sent(seconds(13), seconds(14), 3);
        timeline.received(seconds(12), seconds(15), 100);
        timeline.received(seconds(12), seconds(13), 300);
        let total = timeline.total();
        let near = |value: f64, expected: f64| assert!((value / expected - 1.0).abs() < 0.01, "{value}");
        near(total.sends_per_second, 0.5);
        near(total.due_per_second, 1.5);
        near(total.deliveries_per_second, 0.25);
        near(total.event_bytes, 300.0);
        near(total.acknowledgement.max, 2000.0);
        near(total.receipt.p50, 1000.0);
        near(total.receipt.max, 3000.0);
        let spans = timeline.spans();
        assert_eq!(spans.len(), 4);
        near(spans[3].sends_per_second, 1.0);
        near(spans[3].seconds, 3.0);
        assert!(spans[1].receipt.p50.is_nan());
    }
}
