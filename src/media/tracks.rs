//! Reads the tracks of MP4 and QuickTime files (ISO/IEC 14496-12): the size of the video, and the duration.

use std::time::Duration;

use super::nested::{all, child, children};
use super::{Outline, number, scaled};

/// Number of the first sample entry's bytes that precede its boxes (section 12.1.3).
const VISUAL_ENTRY: usize = 78;
/// Maximum number of tracks whose durations are read. Movies have a few.
const MAX_TRACKS: usize = 256;

/// Width and height in pixels.
type Sides = (u32, u32);
/// Width and height of a pixel, in any unit.
type Ratio = (u64, u64);

/// The tracks of a movie.
pub struct Tracks {
    described: Vec<Track>,
    count: usize,
    /// The duration in the header of the movie.
    duration: Option<Duration>,
    /// Whether the header allows fragments: it contains an `mvex` box.
    pub in_fragments: bool,
}

struct Track {
    id: u32,
    handler: [u8; 4],
    size: Option<(u32, u32)>,
    /// Number of ticks in a second.
    timescale: u32,
    /// Ticks in the header of the track, and in the fragments.
    ticks: u64,
    /// Duration of the presentation by the edit list.
    edited: Option<Duration>,
    /// Ticks of a sample in a fragment that does not say it.
    ticks_of_sample: u32,
}

impl Tracks {
    /// Reads the content of a `moov` box.
    pub fn of(movie: &[u8]) -> Self {
        let header = child(movie, *b"mvhd").and_then(duration_field);
        let (timescale, ticks) = header.unwrap_or_default();
        let extends = child(movie, *b"mvex");
        let mut described: Vec<_> =
            all(movie, *b"trak").take(MAX_TRACKS).filter_map(|track| Track::of(track, timescale)).collect();
        for defaults in all(extends.unwrap_or_default(), *b"trex") {
            let id = number(defaults, 4);
            if let Some(track) = described.iter_mut().find(|track| Some(track.id) == id) {
                track.ticks_of_sample = number(defaults, 12).unwrap_or_default();
            }
        }
        let count = all(movie, *b"trak").count();
        Self { described, count, duration: seconds(ticks, timescale), in_fragments: extends.is_some() }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds the durations of the samples in the content of a `moof` box.
    pub fn add_fragment(&mut self, fragment: &[u8]) {
        for part in all(fragment, *b"traf") {
            let Some(header) = child(part, *b"tfhd") else { continue };
            let id = number(header, 4);
            let Some(track) = self.described.iter_mut().find(|track| Some(track.id) == id) else { continue };
            let of_sample = default_ticks(header).unwrap_or(track.ticks_of_sample);
            let runs = all(part, *b"trun").filter_map(|run| ticks_of_run(run, of_sample));
            track.ticks = runs.fold(track.ticks, u64::saturating_add);
        }
    }

    /// Returns what the tracks tell. The header of a movie with fragments contains no duration.
    pub fn outline(&self, fragmented: bool) -> Outline {
        let of = |handler: [u8; 4]| self.described.iter().filter(move |track| track.handler == handler);
        let longest = || self.described.iter().filter_map(|track| track.duration(fragmented)).max();
        Outline {
            video: of(*b"vide").find_map(|track| track.size),
            has_video: of(*b"vide").next().is_some(),
            has_sound: of(*b"soun").next().is_some(),
            duration: if fragmented { longest() } else { self.duration.or_else(longest) },
        }
    }
}

impl Track {
    /// Reads the content of a `trak` box. `movie_timescale` is the number of ticks in a second of the edit list.
    fn of(track: &[u8], movie_timescale: u32) -> Option<Self> {
        let media = child(track, *b"mdia")?;
        let (timescale, ticks) = duration_field(child(media, *b"mdhd")?)?;
        // The type of the handler follows the version, the flags and an unused field (section 8.4.3).
        let handler = child(media, *b"hdlr")?.get(8..12)?.try_into().ok()?;
        let header = child(track, *b"tkhd")?;
        let id = number(header, if *header.first()? == 0 { 12 } else { 20 })?;
        let table = child(media, *b"minf").and_then(|information| child(information, *b"stbl"));
        let descriptions = table.and_then(|table| child(table, *b"stsd"))?;
        let size = if &handler == b"vide" { display_size(header, descriptions) } else { None };
        let edits = child(track, *b"edts").and_then(|edits| child(edits, *b"elst"));
        let edited = edits.and_then(|edits| seconds(ticks_of_edits(edits), movie_timescale));
        Some(Self { id, handler, size, timescale, ticks, edited, ticks_of_sample: 0 })
    }

    fn duration(&self, fragmented: bool) -> Option<Duration> {
        let of_media = seconds(self.ticks, self.timescale);
        if fragmented { of_media } else { self.edited.or(of_media) }
    }
}

/// Converts ticks to a duration. None for 0 ticks, and if the duration is unknown.
fn seconds(ticks: u64, timescale: u32) -> Option<Duration> {
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(timescale).max(1);
    let duration = u64::try_from(nanos).ok().map(Duration::from_nanos)?;
    (timescale > 0 && !duration.is_zero()).then_some(duration)
}

/// Reads a number of four bytes, or of eight bytes if `wide`.
fn wide_number(bytes: &[u8], at: usize, wide: bool) -> Option<u64> {
    if wide {
        Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    } else {
        Some(number(bytes, at)?.into())
    }
}

/// Reads the ticks per second and the ticks from the header of a movie or of its media (sections 8.2.2 and 8.4.2). They
/// follow two times. A duration with all bits set is unknown, and results in 0 ticks.
fn duration_field(header: &[u8]) -> Option<(u32, u64)> {
    let wide = *header.first()? == 1;
    let at = if wide { 20 } else { 12 };
    let ticks = wide_number(header, at + 4, wide)?;
    let is_unknown = ticks == if wide { u64::MAX } else { u32::MAX.into() };
    Some((number(header, at)?, if is_unknown { 0 } else { ticks }))
}

/// Adds up the durations in an edit list (section 8.6.6), in ticks of the movie.
fn ticks_of_edits(list: &[u8]) -> u64 {
    let wide = list.first() == Some(&1);
    let entries = list.get(8..).unwrap_or_default().chunks_exact(if wide { 20 } else { 12 });
    entries.filter_map(|entry| wide_number(entry, 0, wide)).fold(0, u64::saturating_add)
}

/// Reads the ticks of a sample from the header of a track in a fragment (section 8.8.7). None if the header does not
/// contain them.
fn default_ticks(header: &[u8]) -> Option<u32> {
    let flags = number(header, 0)?;
    (flags & 8 != 0).then_some(())?;
    let before = [(1, 8), (2, 4)].iter().filter(|(flag, _)| flags & flag != 0).map(|(_, bytes)| bytes).sum::<usize>();
    number(header, 8 + before)
}

/// Adds up the ticks of the samples in a run (section 8.8.8). `of_sample` is used for samples without a duration.
fn ticks_of_run(run: &[u8], of_sample: u32) -> Option<u64> {
    let flags = number(run, 0)?;
    let samples = number(run, 4)?;
    if flags & 0x100 == 0 {
        return Some(u64::from(samples) * u64::from(of_sample));
    }
    let fields = |flags: u32| 4 * flags.count_ones() as usize;
    let entries = run.get(8 + fields(flags & 5)..)?.chunks_exact(fields(flags & 0xf00));
    Some(entries.take(samples as usize).filter_map(|entry| number(entry, 0)).map(u64::from).sum())
}

/// Reads the displayed width and height. The description of the samples (section 12.1.3) contains the number of stored
/// pixels and their aspect ratio. Without a ratio the header of the track (section 8.3.2) decides, which contains the
/// size in 16.16 fixed point, and a matrix that rotates the video. Phones store upright videos with a rotation by a
/// quarter turn.
fn display_size(header: &[u8], descriptions: &[u8]) -> Option<(u32, u32)> {
    let matrix = match header.first()? {
        0 => 40,
        1 => 52,
        _ => return None,
    };
    let field = |at: usize| number(header, matrix + at);
    let (a, b, c, d) = (field(0)?, field(4)?, field(12)?, field(16)?);
    let (width, height) = (field(36)?, field(40)?);
    let size = match stored_size(descriptions.get(8..)?) {
        Some((stored, Some(ratio))) => Some(scaled(stored, ratio)),
        Some((stored, None)) if width > 0 && height > 0 => {
            // The ratio with which the stored pixels fill the size in the header.
            let ratio = (u64::from(stored.1) * u64::from(width), u64::from(stored.0) * u64::from(height));
            Some(scaled(stored, ratio))
        }
        Some((stored, None)) => Some(stored),
        None => Some((width >> 16, height >> 16)).filter(|size| size.0 > 0 && size.1 > 0),
    };
    let quarter_turn = a == 0 && d == 0 && b != 0 && c != 0;
    size.map(|(width, height)| if quarter_turn { (height, width) } else { (width, height) })
}

/// Reads the number of stored pixels, and the ratio of the width of a pixel to its height, from the first sample entry.
fn stored_size(entries: &[u8]) -> Option<(Sides, Option<Ratio>)> {
    let (_, entry) = children(entries).next()?;
    let side = |at: usize| Some(u32::from(u16::from_be_bytes(entry.get(at..at + 2)?.try_into().ok()?)));
    let pixels = (side(24)?, side(26)?);
    let ratio = entry.get(VISUAL_ENTRY..).and_then(|boxes| child(boxes, *b"pasp"));
    let ratio = ratio.and_then(|ratio| Some((number(ratio, 0)?.into(), number(ratio, 4)?.into())));
    (pixels.0 > 0 && pixels.1 > 0).then_some((pixels, ratio.filter(|ratio| ratio.0 > 0 && ratio.1 > 0)))
}
