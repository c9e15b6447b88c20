//! Conversions from counts to floating-point numbers, for rates and ratios.

/// Converts a count. The result is exact up to 2^53, and all counts of these programs are far smaller.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn float(count: u64) -> f64 {
    count as f64
}

pub fn length(count: usize) -> f64 {
    float(u64::try_from(count).unwrap_or(u64::MAX))
}
