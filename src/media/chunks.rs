//! Reads the chunks of WAV files: the format and the length of the sound. symphonia supports fewer codecs than players.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use super::Outline;

/// Maximum number of chunks before the sound. Files have about three.
const MAX_CHUNKS: usize = 1000;

/// Reads the duration: the number of samples in the `fact` chunk divided by their rate, or the number of bytes of the
/// sound divided by the bytes per second. Compressed sound has a `fact` chunk, and its bytes per second may be wrong.
/// Leaves out what cannot be read.
pub fn read(file: &mut File) -> io::Result<Outline> {
    let end = file.metadata()?.len();
    let (mut format, mut samples) = (None, None);
    // The first chunk follows the name and the length of the file, and the name WAVE.
    let mut at = 12;
    for _ in 0..MAX_CHUNKS {
        let mut head = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        file.take(24).read_to_end(&mut head)?;
        let (Some(kind), Some(length)) = (head.get(..4), number(&head, 4)) else { break };
        at += 8;
        if kind == b"data" {
            // The length is wrong in a recording that was interrupted or streamed.
            let length = u64::from(length).min(end.saturating_sub(at));
            let Some((rate, bytes_per_second)) = format else { break };
            let duration = samples.map_or_else(|| seconds(length, bytes_per_second), |samples| seconds(samples, rate));
            return Ok(Outline { has_sound: length > 0, duration, ..Outline::default() });
        }
        match kind {
            b"fmt " => format = number(&head, 12).zip(number(&head, 16)),
            b"fact" => samples = number(&head, 8).map(u64::from).filter(|samples| *samples > 0),
            _ => {}
        }
        // Chunks begin at even offsets.
        at += u64::from(length) + u64::from(length % 2);
    }
    Ok(Outline::default())
}

/// Reads the little-endian number of four bytes at offset `at`.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn seconds(count: u64, per_second: u32) -> Option<Duration> {
    let millis = (count * 1000).checked_div(per_second.into())?;
    Some(Duration::from_millis(millis)).filter(|duration| !duration.is_zero())
}
