//! Reads the first pages of Ogg files (RFC 3533), which describe the streams. symphonia ignores streams of Theora and
//! Speex, and fails if a file has no other streams.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};

use super::{Outline, number, scaled};

/// Maximum number of bytes of the first pages. Each stream has one, with about 100 bytes.
const MAX_PAGES: u64 = 4096;
/// Number of bytes of the header of a page, without the lengths of its segments.
const HEADER: usize = 27;
/// Flag of the first page of a stream.
const FIRST: u8 = 2;

/// Reads whether a file has streams of Theora and Speex, and the size of the video. Leaves out other streams.
pub fn read(file: &mut File) -> io::Result<Outline> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MAX_PAGES).read_to_end(&mut bytes)?;
    let mut outline = Outline::default();
    for content in first_pages(&bytes) {
        if content.starts_with(b"\x80theora") {
            outline.has_video = true;
            outline.video = outline.video.or_else(|| displayed_size(content));
        }
        outline.has_sound |= content.starts_with(b"Speex   ");
    }
    Ok(outline)
}

/// Iterates over the contents of the pages with which the streams begin (section 6). They precede all other pages.
fn first_pages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        (header.starts_with(b"OggS") && header[5] & FIRST != 0).then_some(())?;
        let (segments, rest) = bytes.get(HEADER..)?.split_at_checked(header[26].into())?;
        let length: usize = segments.iter().map(|length| usize::from(*length)).sum();
        let (content, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        Some(content)
    })
}

/// Reads the displayed width and height from the header of Theora (Theora specification, section 6.2). A ratio of 0
/// means that the pixels are square.
fn displayed_size(header: &[u8]) -> Option<(u32, u32)> {
    // The fields have three bytes.
    let field = |at: usize| number(header, at).map(|number| number >> 8);
    let (size, ratio) = ((field(14)?, field(17)?), (field(30)?, field(33)?));
    let is_square = ratio.0 == 0 || ratio.1 == 0;
    let displayed = if is_square { size } else { scaled(size, (ratio.0.into(), ratio.1.into())) };
    (size.0 > 0 && size.1 > 0).then_some(displayed)
}
