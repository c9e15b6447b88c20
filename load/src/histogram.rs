//! A histogram of latencies that many tasks share. The width of a bucket is at most 1 % of its latency.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::numbers::float;

const UNIT_NANOS: u64 = 100;
/// Number of buckets for each power of two. Latencies below 256 units have one bucket for each unit.
const PER_POWER: u64 = 128;
const POWERS: u64 = 34;

#[derive(Debug)]
pub struct Histogram {
    counts: Vec<AtomicU64>,
    max_nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = (0..PER_POWER * (POWERS + 1)).map(|_| AtomicU64::new(0)).collect();
        Self { counts, max_nanos: AtomicU64::new(0) }
    }
}

impl Histogram {
    pub fn record(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bucket(nanos / UNIT_NANOS);
        if let Some(count) = self.counts.get(bucket).or(self.counts.last()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // A load is cheaper than a write, and most latencies are not a new maximum.
        if nanos > self.max_nanos.load(Ordering::Relaxed) {
            self.max_nanos.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    pub fn add(&self, other: &Self) {
        for (count, more) in self.counts.iter().zip(&other.counts) {
            count.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.max_nanos.fetch_max(other.max_nanos.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The longest latency in milliseconds. NaN, which JSON shows as null, if the histogram is empty.
    pub fn max(&self) -> f64 {
        if self.count() == 0 {
            return f64::NAN;
        }
        float(self.max_nanos.load(Ordering::Relaxed)) / 1e6
    }

    /// The latency in milliseconds that `thousandths` thousandths of all latencies do not exceed. NaN if the histogram
    /// is empty.
    pub fn quantile(&self, thousandths: u64) -> f64 {
        let rank = (self.count() * thousandths).div_ceil(1000).max(1);
        let mut passed = 0;
        for (bucket, count) in (0..).zip(&self.counts) {
            passed += count.load(Ordering::Relaxed);
            if passed >= rank {
                // The middle of the last bucket can be above the maximum.
                return middle(bucket).min(self.max());
            }
        }
        f64::NAN
    }
}

fn bucket(units: u64) -> usize {
    let power = units.max(1).ilog2().saturating_sub(PER_POWER.ilog2());
    let index = u64::from(power) * PER_POWER + (units >> power);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The middle of a bucket in milliseconds.
fn middle(bucket: u64) -> f64 {
    let power = (bucket / PER_POWER).saturating_sub(1);
    let low = (bucket - power * PER_POWER) << power;
    (float(low) + float(1 << power) / 2.0) * float(UNIT_NANOS) / 1e6
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
        assert!((histogram.max() - 100.0).abs() < f64::EPSILON);
        assert_eq!(histogram.count(), 100_000);
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
        part.record(Duration::from_millis(3));
        all.add(&part);
        all.add(&part);
        assert_eq!(all.count(), 2);
        assert!((all.max() - 3.0).abs() < f64::EPSILON);
    }
}
