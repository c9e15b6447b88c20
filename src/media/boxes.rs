//! Reads the boxes of MP4 and QuickTime files (ISO/IEC 14496-12). The boxes show whether the file is complete, how its
//! video is rotated, and how much memory the crate symphonia would use for the file. symphonia does not report the
//! rotation and does not bound the memory.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use super::{Deadline, Error, Rejection, number};

/// Maximum number of tracks of a movie. Each track costs memory in each fragment.
const MAX_TRACKS: usize = 16;
/// Maximum number of bytes of a `moov` box. Hours of video need one megabyte.
const MAX_MOVIE: u64 = 16 * 1024 * 1024;
/// Maximum number of bytes that symphonia may keep in memory for the fragments of a file. A fragment with one second of
/// video takes 2 KiB, so this maximum is enough for hours of video.
const MAX_FRAGMENT_MEMORY: u64 = 64 * 1024 * 1024;
/// Estimated memory in bytes that symphonia uses for each fragment, in addition to the content of the fragment.
const FRAGMENT_COST: u64 = 200;
/// Estimated memory in bytes that symphonia uses in each fragment for each track of the file.
const TRACK_COST: u64 = 40;
/// Estimated memory in bytes that symphonia uses for each box in a fragment, in addition to the content of the box.
const BOX_COST: u64 = 120;
/// Maximum number of samples in all fragments together. symphonia visits each sample, even if the file contains no data
/// about the sample.
const MAX_SAMPLES: u64 = 100_000_000;

/// The properties of a movie that its boxes contain.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Movie {
    /// Displayed width and height of the first video track whose size can be read.
    pub video: Option<(u32, u32)>,
    /// Whether the movie consists of fragments, as in recordings of browsers. Its header then contains no duration.
    pub fragmented: bool,
}

/// Reads the boxes of a file. All boxes must be complete, except for the last box of a movie with fragments, whose
/// recording may have been interrupted.
pub fn read(file: &mut File, deadline: Deadline) -> Result<Movie, Error> {
    let end = file.metadata()?.len();
    let (mut at, mut movie, mut has_type, mut tracks) = (0, Movie::default(), false, None);
    let mut fragments = Fragments::default();
    while at < end {
        deadline.check()?;
        let Some(Header { kind, length, size }) = header(file, at, end)? else { break };
        // symphonia continues to read inside a box without a size. Therefore only the media data (`mdat`) of a movie
        // without fragments may lack a size.
        let may_lack_size = kind == *b"mdat" && has_type && matches!(tracks, Some(Tracks { in_fragments: false, .. }));
        if size.is_none() && !may_lack_size {
            return Err(Rejection::Unreadable.into());
        }
        let size = size.unwrap_or(end - at);
        let whole = size >= length && at.checked_add(size).is_some_and(|next| next <= end);
        let mut content = |max_bytes| read_all(file, size.saturating_sub(length), max_bytes);
        match &kind {
            b"ftyp" => has_type = true,
            b"moof" if whole => fragments.add(&content(MAX_FRAGMENT_MEMORY)?)?,
            b"moov" if whole => {
                let bytes = content(MAX_MOVIE)?;
                movie.video = video(&bytes);
                tracks = Some(Tracks::of(&bytes)?);
            }
            b"moov" => return Err(Rejection::Unreadable.into()),
            _ => {}
        }
        movie.fragmented |= kind == *b"moof";
        fragments.check(tracks)?;
        if !whole {
            if movie.fragmented && size >= length {
                break;
            }
            return Err(Rejection::Unreadable.into());
        }
        at += size;
    }
    if tracks.is_some() { Ok(movie) } else { Err(Rejection::Unreadable.into()) }
}

/// The header of a box.
struct Header {
    kind: [u8; 4],
    /// Length of the header in bytes.
    length: u64,
    /// Length of the whole box in bytes, including the header. None if the box extends to the end of the file.
    size: Option<u64>,
}

/// Reads the header of the box at offset `at`, and leaves the file positioned after the header. None if the header is
/// incomplete.
fn header(file: &mut File, at: u64, end: u64) -> Result<Option<Header>, Error> {
    if end - at < 8 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(at))?;
    let (mut size, mut kind) = ([0; 4], [0; 4]);
    file.read_exact(&mut size)?;
    file.read_exact(&mut kind)?;
    match u32::from_be_bytes(size) {
        0 => Ok(Some(Header { kind, length: 8, size: None })),
        1 if end - at < 16 => Ok(None),
        1 => {
            let mut large = [0; 8];
            file.read_exact(&mut large)?;
            Ok(Some(Header { kind, length: 16, size: Some(u64::from_be_bytes(large)) }))
        }
        size => Ok(Some(Header { kind, length: 8, size: Some(size.into()) })),
    }
}

fn read_all(file: &mut File, bytes: u64, max_bytes: u64) -> Result<Vec<u8>, Error> {
    if bytes > max_bytes {
        return Err(Rejection::Unreadable.into());
    }
    let mut content = Vec::new();
    file.take(bytes).read_to_end(&mut content)?;
    Ok(content)
}

/// Counts the memory that symphonia needs for the fragments of a file, and the samples in them.
#[derive(Default)]
struct Fragments {
    count: u64,
    samples: u64,
    /// Estimated memory in bytes, without the `TRACK_COST` of each track.
    bytes_kept: u64,
}

impl Fragments {
    fn add(&mut self, fragment: &[u8]) -> Result<(), Rejection> {
        self.count += 1;
        self.bytes_kept += FRAGMENT_COST + fragment.len() as u64;
        for (kind, content) in children(fragment) {
            self.bytes_kept += BOX_COST;
            let of_track = if kind == b"traf" { content } else { &[] };
            for (kind, content) in children(of_track) {
                self.bytes_kept += BOX_COST;
                if kind == b"trun" {
                    // The number of samples follows the version and the flags of the box (section 8.8.8).
                    self.samples += u64::from(number(content, 4).ok_or(Rejection::Unreadable)?);
                }
            }
        }
        Ok(())
    }

    fn check(&self, tracks: Option<Tracks>) -> Result<(), Rejection> {
        let tracks = tracks.map_or(0, |tracks| tracks.count as u64);
        let bytes_kept = self.bytes_kept + self.count * tracks * TRACK_COST;
        if bytes_kept > MAX_FRAGMENT_MEMORY || self.samples > MAX_SAMPLES { Err(Rejection::Unreadable) } else { Ok(()) }
    }
}

/// The tracks in the header of a movie.
#[derive(Clone, Copy)]
struct Tracks {
    count: usize,
    /// Whether the header allows fragments: it contains an `mvex` box.
    in_fragments: bool,
}

impl Tracks {
    fn of(movie: &[u8]) -> Result<Self, Rejection> {
        let count = all(movie, *b"trak").count();
        if count > MAX_TRACKS {
            return Err(Rejection::Unreadable);
        }
        Ok(Self { count, in_fragments: child(movie, *b"mvex").is_some() })
    }
}

/// Iterates over the boxes inside a box, as pairs of kind and content. Ends before the first incomplete box.
fn children(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (header, size) = match number(bytes, 0)? {
            1 => (16, usize::try_from(u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?)).ok()?),
            size => (8, size as usize),
        };
        let (kind, content) = (bytes.get(4..8)?, bytes.get(header..size)?);
        bytes = bytes.get(size..)?;
        Some((kind, content))
    })
}

/// Iterates over the contents of the boxes of one kind inside a box.
fn all(bytes: &[u8], kind: [u8; 4]) -> impl Iterator<Item = &[u8]> {
    children(bytes).filter(move |(found, _)| *found == kind).map(|(_, content)| content)
}

fn child(bytes: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    all(bytes, kind).next()
}

fn video(movie: &[u8]) -> Option<(u32, u32)> {
    all(movie, *b"trak").find_map(|track| {
        // The type of the handler follows the version, the flags and an unused field (section 8.4.3).
        let handler = child(child(track, *b"mdia")?, *b"hdlr")?;
        (handler.get(8..12)? == b"vide").then_some(())?;
        display_size(child(track, *b"tkhd")?)
    })
}

/// Reads the displayed width and height from the header of a track (section 8.3.2). The header contains the size in
/// 16.16 fixed point, and a matrix that rotates the video. Phones store upright videos with a rotation by a quarter
/// turn.
fn display_size(header: &[u8]) -> Option<(u32, u32)> {
    let matrix = match header.first()? {
        0 => 40,
        1 => 52,
        _ => return None,
    };
    let field = |at: usize| number(header, matrix + at);
    let (a, b, c, d) = (field(0)?, field(4)?, field(12)?, field(16)?);
    let (width, height) = (field(36)? >> 16, field(40)? >> 16);
    if width == 0 || height == 0 {
        return None;
    }
    let quarter_turn = a == 0 && d == 0 && b != 0 && c != 0;
    Some(if quarter_turn { (height, width) } else { (width, height) })
}
