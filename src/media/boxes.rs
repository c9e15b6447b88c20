//! The boxes of MP4 and QuickTime (ISO/IEC 14496-12): whether the file is whole, and how its video is turned, which
//! symphonia does not tell.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use super::{Deadline, Error, Rejection};

/// Bytes of a `moov` box. Hours of video need one megabyte.
const MAX_MOVIE: u64 = 16 * 1024 * 1024;

/// What is found in the boxes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Movie {
    /// Width and height as shown, of the first track of video.
    pub video: Option<(u32, u32)>,
    /// Written piece by piece, as browsers record it; then the header knows no duration.
    pub fragmented: bool,
}

/// Reads the boxes. All have to be whole, but the last fragment of a recording that broke off.
pub fn read(file: &mut File, deadline: Deadline) -> Result<Movie, Error> {
    let end = file.metadata()?.len();
    let (mut at, mut movie, mut seen) = (0, Movie::default(), false);
    while at < end {
        deadline.check()?;
        let Some((kind, header, size)) = header(file, at, end)? else { break };
        let whole = size >= header && at.checked_add(size).is_some_and(|next| next <= end);
        match &kind {
            b"moof" => movie.fragmented = true,
            b"moov" if whole && size - header <= MAX_MOVIE => {
                seen = true;
                let mut bytes = Vec::new();
                file.take(size - header).read_to_end(&mut bytes)?;
                movie.video = video(&bytes);
            }
            b"moov" => return Err(Rejection::Unreadable.into()),
            _ => {}
        }
        if !whole {
            if movie.fragmented && size >= header {
                break;
            }
            return Err(Rejection::Unreadable.into());
        }
        at += size;
    }
    if seen { Ok(movie) } else { Err(Rejection::Unreadable.into()) }
}

/// The kind of the box at this place, the size of its header and its whole size. The file stands behind the header.
fn header(file: &mut File, at: u64, end: u64) -> Result<Option<([u8; 4], u64, u64)>, Error> {
    if end - at < 8 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(at))?;
    let (mut size, mut kind) = ([0; 4], [0; 4]);
    file.read_exact(&mut size)?;
    file.read_exact(&mut kind)?;
    match u32::from_be_bytes(size) {
        // To the end of the file.
        0 => Ok(Some((kind, 8, end - at))),
        1 if end - at < 16 => Ok(None),
        1 => {
            let mut large = [0; 8];
            file.read_exact(&mut large)?;
            Ok(Some((kind, 16, u64::from_be_bytes(large))))
        }
        size => Ok(Some((kind, 8, u64::from(size)))),
    }
}

/// The boxes within one, up to the first that is not whole.
fn children(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let size = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let (kind, content) = (bytes.get(4..8)?, bytes.get(8..size)?);
        bytes = bytes.get(size..)?;
        Some((kind, content))
    })
}

fn child(bytes: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    children(bytes).find(|(found, _)| *found == kind).map(|(_, content)| content)
}

fn video(movie: &[u8]) -> Option<(u32, u32)> {
    children(movie).filter(|(kind, _)| kind == b"trak").find_map(|(_, track)| {
        // Section 8.4.3: the handler's type comes after version, flags and a field that is not used.
        let handler = child(child(track, *b"mdia")?, *b"hdlr")?;
        (handler.get(8..12)? == b"vide").then_some(())?;
        shown(child(track, *b"tkhd")?)
    })
}

/// Section 8.3.2: the size in 16.16 fixed point, turned as the matrix says. Phones film upright by a quarter turn.
fn shown(header: &[u8]) -> Option<(u32, u32)> {
    let matrix = match header.first()? {
        0 => 40,
        1 => 52,
        _ => return None,
    };
    let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let (a, b, c, d) = (number(matrix)?, number(matrix + 4)?, number(matrix + 12)?, number(matrix + 16)?);
    let (width, height) = (number(matrix + 36)? >> 16, number(matrix + 40)? >> 16);
    if width == 0 || height == 0 {
        return None;
    }
    let quarter_turn = a == 0 && d == 0 && b != 0 && c != 0;
    Some(if quarter_turn { (height, width) } else { (width, height) })
}
