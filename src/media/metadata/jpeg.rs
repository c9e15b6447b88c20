//! Copies the segments of a JPEG file that are needed to show the picture (ITU-T T.81, annex B).

use std::borrow::Cow;

use image::metadata::Orientation;

use super::{Reader, Stripped, exif};

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
const JFIF: u8 = 0xe0;
/// Number of bytes of a JFIF segment before the size of its thumbnail: name, version and density.
const JFIF_HEAD: usize = 12;

pub fn strip(bytes: &[u8], orientation: Orientation) -> Option<Stripped> {
    let mut reader = Reader(bytes);
    let mut cleaned = Vec::with_capacity(bytes.len());
    (reader.array()? == [0xff, START]).then(|| cleaned.extend([0xff, START]))?;
    let mut exif = exif(orientation);
    while let Some(marker) = marker(&mut reader) {
        if marker == END {
            break;
        }
        let length = usize::from(u16::from_be_bytes(reader.array()?));
        let content = reader.bytes(length.checked_sub(2)?)?;
        let stripped = strip_segment(marker, content);
        // The Exif segment is written after the JFIF segment, which must be the first segment.
        if marker != JFIF
            && let Some(exif) = exif.take()
        {
            segment(&mut cleaned, 0xe1, &[b"Exif\0\0", exif.as_slice()].concat())?;
        }
        if let Some(content) = stripped {
            segment(&mut cleaned, marker, &content)?;
        }
        if marker == SCAN {
            cleaned.extend(scan(&mut reader));
        }
    }
    cleaned.extend([0xff, END]);
    Some(Stripped { cleaned, frames: 1, frame_pixels: 0 })
}

/// Reads the next marker, before which the byte 0xff may be repeated. None at the end of a truncated file.
fn marker(reader: &mut Reader<'_>) -> Option<u8> {
    loop {
        while reader.byte()? != 0xff {}
        let mut marker = reader.byte()?;
        while marker == 0xff {
            marker = reader.byte()?;
        }
        // Markers without a length are skipped, except for `END`.
        if !matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8) {
            return Some(marker);
        }
    }
}

fn segment(cleaned: &mut Vec<u8>, marker: u8, content: &[u8]) -> Option<()> {
    cleaned.extend([0xff, marker]);
    cleaned.extend(u16::try_from(content.len() + 2).ok()?.to_be_bytes());
    cleaned.extend(content);
    Some(())
}

/// Returns the part of a segment that is needed to show the picture: tables, frames, colours, and the density in JFIF.
/// None if the segment is not needed.
fn strip_segment(marker: u8, content: &[u8]) -> Option<Cow<'_, [u8]>> {
    let is_needed = match marker {
        0xc0..=0xcf | 0xda..=0xdf => true,
        // The thumbnail may show what was cropped from the picture, so a thumbnail of 0 by 0 pixels replaces it.
        JFIF if content.starts_with(b"JFIF\0") => {
            return Some([content.get(..JFIF_HEAD)?, &[0, 0]].concat().into());
        }
        0xe2 => content.starts_with(b"ICC_PROFILE\0"),
        0xee => content.starts_with(b"Adobe"),
        _ => false,
    };
    is_needed.then_some(content.into())
}

/// Reads the compressed pixels after the header of a scan, up to the next marker that is not a restart marker.
fn scan<'a>(reader: &mut Reader<'a>) -> &'a [u8] {
    let bytes = reader.0;
    let end = bytes
        .windows(2)
        .position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xd0..=0xd7 | 0xff))
        .unwrap_or(bytes.len());
    let (pixels, rest) = bytes.split_at(end);
    reader.0 = rest;
    pixels
}
