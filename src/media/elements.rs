//! Reads the elements of Matroska and WebM files (RFC 9559) that show the size of the video and the duration. symphonia
//! does not report the displayed size, and supports fewer files than browsers.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use super::{Deadline, Error, Outline, scaled};

const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_a966;
const TRACKS: u32 = 0x1654_ae6b;
const CLUSTER: u32 = 0x1f43_b675;
const TICK: u32 = 0x002a_d7b1;
const DURATION: u32 = 0x4489;
const TRACK: u32 = 0xae;
const TRACK_TYPE: u32 = 0x83;
const VIDEO: u32 = 0xe0;
const PIXEL_WIDTH: u32 = 0xb0;
const PIXEL_HEIGHT: u32 = 0xba;
const DISPLAY_WIDTH: u32 = 0x54b0;
const DISPLAY_HEIGHT: u32 = 0x54ba;
const DISPLAY_UNIT: u32 = 0x54b2;

/// Maximum number of bytes of the description of all tracks, and of the information about the file. Both have a few
/// kilobytes.
const MAX_CONTENT: u64 = 1024 * 1024;
/// Maximum number of elements before the first cluster. Files have about ten.
const MAX_ELEMENTS: usize = 1000;
/// Maximum number of bytes of the header of an element: its id and its length.
const MAX_HEADER: u64 = 12;
/// Nanoseconds of a tick in files that do not say it.
const DEFAULT_TICK: u64 = 1_000_000;

/// Reads what the elements before the first cluster tell. Leaves out what cannot be read. A file without a cluster has no
/// sound and no video.
pub fn read(file: &mut File, deadline: Deadline) -> Result<Outline, Error> {
    let mut outline = Outline::default();
    let mut at = 0;
    for _ in 0..MAX_ELEMENTS {
        deadline.check()?;
        let bytes = read_at(file, at, MAX_HEADER)?;
        let Some(Header { id, length, size }) = header(&bytes) else { break };
        at += length as u64;
        match id {
            // The elements of a segment follow its header.
            SEGMENT => continue,
            CLUSTER => return Ok(outline),
            _ => {}
        }
        let Some(size) = size else { break };
        if matches!(id, INFO | TRACKS) && size <= MAX_CONTENT {
            let content = read_at(file, at, size)?;
            if id == INFO { outline.duration = duration(&content) } else { add_tracks(&mut outline, &content) }
        }
        let Some(next) = at.checked_add(size) else { break };
        at = next;
    }
    Ok(Outline::default())
}

fn read_at(file: &mut File, at: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    // An offset that is not valid comes from the content of the file.
    if file.seek(SeekFrom::Start(at)).is_ok() {
        file.take(bytes).read_to_end(&mut content)?;
    }
    Ok(content)
}

/// The header of an element (RFC 8794, section 6).
struct Header {
    id: u32,
    /// Length of the header in bytes.
    length: usize,
    /// Length of the content in bytes. None if it is unknown, as in recordings of browsers.
    size: Option<u64>,
}

fn header(bytes: &[u8]) -> Option<Header> {
    let of_id = bytes.first()?.leading_zeros() as usize + 1;
    let id = u32::try_from(big_endian(bytes.get(..of_id)?)?).ok()?;
    let rest = &bytes[of_id..];
    // The leading zeros say how many bytes the size has. The bit after them is not a part of the size.
    let of_size = rest.first()?.leading_zeros() as usize + 1;
    let marked = big_endian(rest.get(..of_size)?)?;
    let unknown = (1 << (7 * of_size)) - 1;
    let size = marked & unknown;
    Some(Header { id, length: of_id + of_size, size: (size != unknown).then_some(size) })
}

/// Reads a number of up to eight bytes.
fn big_endian(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Iterates over the elements inside an element, as pairs of id and content. Ends before the first incomplete element.
fn children(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let Header { id, length, size } = header(bytes)?;
        let end = length.checked_add(usize::try_from(size?).ok()?)?;
        let content = bytes.get(length..end)?;
        bytes = &bytes[end..];
        Some((id, content))
    })
}

fn unsigned(bytes: &[u8], id: u32) -> Option<u64> {
    children(bytes).find(|(found, _)| *found == id).and_then(|(_, content)| big_endian(content))
}

/// Reads the duration, a floating point number of ticks.
fn duration(information: &[u8]) -> Option<Duration> {
    let (_, content) = children(information).find(|(id, _)| *id == DURATION)?;
    let ticks = match content.len() {
        4 => f32::from_be_bytes(content.try_into().ok()?).into(),
        8 => f64::from_be_bytes(content.try_into().ok()?),
        _ => return None,
    };
    let tick = Duration::from_nanos(unsigned(information, TICK).unwrap_or(DEFAULT_TICK));
    Duration::try_from_secs_f64(ticks * tick.as_secs_f64()).ok().filter(|duration| !duration.is_zero())
}

fn add_tracks(outline: &mut Outline, tracks: &[u8]) {
    for (_, track) in children(tracks).filter(|(id, _)| *id == TRACK) {
        match unsigned(track, TRACK_TYPE) {
            Some(1) => {
                outline.has_video = true;
                let video = children(track).find(|(id, _)| *id == VIDEO);
                outline.video = outline.video.or_else(|| displayed_size(video?.1));
            }
            Some(2) => outline.has_sound = true,
            _ => {}
        }
    }
}

/// Reads the displayed width and height in pixels. The display size of a file only says the ratio of the sides, because
/// its unit may also be a centimeter or an inch.
fn displayed_size(video: &[u8]) -> Option<(u32, u32)> {
    let side = |id| unsigned(video, id).and_then(|side| u32::try_from(side).ok()).filter(|side| *side > 0);
    let stored = (side(PIXEL_WIDTH)?, side(PIXEL_HEIGHT)?);
    let unit = unsigned(video, DISPLAY_UNIT).unwrap_or_default();
    let displayed = (side(DISPLAY_WIDTH).unwrap_or(stored.0), side(DISPLAY_HEIGHT).unwrap_or(stored.1));
    // 3 is the ratio of the sides, and 4 an unknown unit.
    if unit > 3 {
        return Some(stored);
    }
    let product = |one: u32, other: u32| u64::from(one) * u64::from(other);
    Some(scaled(stored, (product(stored.1, displayed.0), product(stored.0, displayed.1))))
}
