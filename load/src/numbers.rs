//! Counts as the numbers that rates and ratios are made of.

/// Exact up to 2^53, which no count here comes near.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn float(count: u64) -> f64 {
    count as f64
}

pub fn length(count: usize) -> f64 {
    float(u64::try_from(count).unwrap_or(u64::MAX))
}
