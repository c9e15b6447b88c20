//! Reads the boxes of MP4 and QuickTime files (ISO/IEC 14496-12). The boxes show whether the file is complete, what its
//! tracks are, and how much memory the crate symphonia would use for the file. symphonia does not report the rotation,
//! supports fewer codecs than browsers, and does not bound the memory.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use super::nested::children;
use super::tracks::Tracks;
use super::{Deadline, Error, Outline, Rejection, number};

/// Maximum number of tracks of a movie that symphonia reads. Each track costs memory in each fragment.
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
#[derive(Debug, Default)]
pub struct Movie {
    /// The tracks. The duration of an interrupted movie is that of its complete fragments.
    pub outline: Outline,
    /// Whether the last fragment is incomplete, because the recording was interrupted.
    pub interrupted: bool,
    /// Whether symphonia reads the file correctly and within bounded memory.
    pub is_regular: bool,
}

/// Reads the boxes of a file. The boxes of the movie must be complete, except for the last box of a movie with
/// fragments, whose recording may have been interrupted.
pub fn read(file: &mut File, deadline: Deadline) -> Result<Movie, Error> {
    let end = file.metadata()?.len();
    let (mut at, mut has_type, mut has_data) = (0, false, false);
    let (mut tracks, mut interrupted, mut is_regular) = (None::<Tracks>, false, true);
    let mut fragments = Fragments::default();
    while at < end {
        deadline.check()?;
        let Some(Header { kind, length, size }) = header(file, at, end)? else { break };
        // symphonia continues to read inside a box without a size. Therefore only the media data (`mdat`) of a movie
        // without fragments may lack a size.
        let in_fragments = tracks.as_ref().is_some_and(|tracks| tracks.in_fragments);
        let may_lack_size = kind == *b"mdat" && has_type && tracks.is_some() && !in_fragments;
        if size.is_none() && !may_lack_size {
            // Such a box may contain fragments. In another movie it follows the end of the movie.
            if in_fragments {
                return Err(Rejection::Unreadable.into());
            }
            is_regular = false;
        }
        let size = size.unwrap_or(end - at);
        let whole = size >= length && at.checked_add(size).is_some_and(|next| next <= end);
        let mut content = |max_bytes| read_all(file, size.saturating_sub(length), max_bytes);
        match &kind {
            b"ftyp" => has_type = true,
            b"moof" if whole => {
                let bytes = content(MAX_FRAGMENT_MEMORY)?;
                fragments.add(&bytes)?;
                if let Some(tracks) = &mut tracks {
                    tracks.add_fragment(&bytes);
                }
            }
            b"moov" if whole && tracks.is_none() => tracks = Some(Tracks::of(&content(MAX_MOVIE)?)),
            _ => {}
        }
        fragments.check(tracks.as_ref())?;
        has_data |= kind == *b"mdat";
        if !whole {
            let fragmented = fragments.count > 0 || kind == *b"moof";
            let is_needed = matches!(&kind, b"moov" | b"moof" | b"mdat") || !has_data;
            if is_needed && !(fragmented && size >= length) {
                return Err(Rejection::Unreadable.into());
            }
            interrupted = fragmented;
            is_regular &= fragmented;
            break;
        }
        at += size;
    }
    let tracks = tracks.ok_or(Rejection::Unreadable)?;
    is_regular &= tracks.count() <= MAX_TRACKS;
    Ok(Movie { outline: tracks.outline(fragments.count > 0), interrupted, is_regular })
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

    fn check(&self, tracks: Option<&Tracks>) -> Result<(), Rejection> {
        let tracks = tracks.map_or(0, |tracks| tracks.count() as u64);
        let bytes_kept = self.bytes_kept + self.count * tracks * TRACK_COST;
        if bytes_kept > MAX_FRAGMENT_MEMORY || self.samples > MAX_SAMPLES { Err(Rejection::Unreadable) } else { Ok(()) }
    }
}
