//! The parts of a large upload.

use crate::blobs::Part;

/// Size in bytes of each part except the last. S3 requires at least 5 MiB.
pub const PART_BYTES: usize = 16 * 1024 * 1024;

/// Returns the number and the size in bytes of each part of an upload.
pub(super) fn part_sizes(byte_size: i64) -> Vec<(i32, i64)> {
    let whole = (0..byte_size).step_by(PART_BYTES);
    let part = i64::try_from(PART_BYTES).unwrap_or(i64::MAX);
    whole.zip(1..).map(|(from, number)| (number, part.min(byte_size - from))).collect()
}

pub(super) fn is_stored(parts: &[Part], number: i32, size: i64) -> bool {
    parts.iter().any(|part| part.number == number && part.byte_size == size.unsigned_abs())
}
