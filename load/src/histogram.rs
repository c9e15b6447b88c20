//! A histogram of latencies that many tasks share. The width of a bucket is at most 1 % of its latency.

use std::time::Duration;

use hdrhistogram::Histogram as Counts;
use parking_lot::Mutex;

use crate::numbers::float;

/// Shortest and longest latency that the histogram distinguishes, in nanoseconds: 100 ns and one hour.
const SHORTEST: u64 = 100;
const LONGEST: u64 = 3_600_000_000_000;
/// Number of significant digits of a latency.
const DIGITS: u8 = 2;

pub struct Histogram(Mutex<Recorded>);

struct Recorded {
    counts: Counts<u64>,
    /// The longest latency in nanoseconds, because the buckets are not exact.
    max: u64,
}

impl Default for Histogram {
    #[expect(clippy::expect_used, reason = "the bounds are constants")]
    fn default() -> Self {
        let counts = Counts::new_with_bounds(SHORTEST, LONGEST, DIGITS).expect("the bounds are valid");
        Self(Mutex::new(Recorded { counts, max: 0 }))
    }
}

impl Histogram {
    pub fn record(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let mut recorded = self.0.lock();
        recorded.counts.saturating_record(nanos);
        recorded.max = recorded.max.max(nanos);
    }

    pub fn add(&self, other: &Self) {
        let (mut recorded, other) = (self.0.lock(), other.0.lock());
        // Adding does not fail, because all histograms have the same bounds.
        let _ = recorded.counts.add(&other.counts);
        recorded.max = recorded.max.max(other.max);
    }

    /// Returns the longest latency in milliseconds. NaN if the histogram is empty; JSON shows NaN as null.
    pub fn max(&self) -> f64 {
        let recorded = self.0.lock();
        if recorded.counts.is_empty() { f64::NAN } else { float(recorded.max) / 1e6 }
    }

    /// Returns a quantile of the latencies in milliseconds. For the 99th percentile, `thousandths` is 990. NaN if the
    /// histogram is empty.
    pub fn quantile(&self, thousandths: u64) -> f64 {
        let counts = &self.0.lock().counts;
        if counts.is_empty() {
            return f64::NAN;
        }
        float(counts.value_at_quantile(float(thousandths) / 1000.0)) / 1e6
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Histogram;

    #[test]
    fn quantiles_are_within_a_hundredth() {
        let histogram = Histogram::default();
        for micros in 1..=100_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (thousandths, millis) in [(1, 0.1), (10, 1.0), (500, 50.0), (990, 99.0), (1000, 100.0)] {
            let quantile = histogram.quantile(thousandths);
            assert!((quantile / millis - 1.0).abs() < 0.01, "{thousandths}: {quantile}, and not {millis}");
        }
        assert!((histogram.max() / 100.0 - 1.0).abs() < 0.01);
    }

    #[test]
    fn the_shortest_and_the_longest_duration_are_recorded() {
        let histogram = Histogram::default();
        assert!(histogram.quantile(500).is_nan() && histogram.max().is_nan());
        histogram.record(Duration::ZERO);
        assert!(histogram.quantile(500) < 0.001);
        histogram.record(Duration::MAX);
        assert!(histogram.quantile(1000) > 1e6);
    }

    #[test]
    fn histograms_are_added() {
        let (all, part) = (Histogram::default(), Histogram::default());
        all.record(Duration::from_millis(1));
        part.record(Duration::from_millis(3));
        part.record(Duration::from_millis(3));
        all.add(&part);
        assert!((all.quantile(333) - 1.0).abs() < 0.01 && (all.quantile(500) / 3.0 - 1.0).abs() < 0.01);
    }
}
