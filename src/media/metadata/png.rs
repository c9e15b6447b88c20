//! Copies the chunks of a PNG file that are needed to show the picture (W3C PNG, third edition).

use image::metadata::Orientation;

use super::{Reader, Stripped, exif};
use crate::media::number;

const SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

/// Chunks that are needed to show the picture: pixels, colours and animations.
const KEPT_CHUNKS: [&[u8; 4]; 19] = [
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV",
    b"cLLI", b"bKGD", b"hIST", b"pHYs", b"acTL", b"fcTL", b"fdAT",
];

pub fn strip(bytes: &[u8], orientation: Orientation) -> Option<Stripped> {
    let mut reader = Reader(bytes);
    let mut stripped = Stripped { cleaned: Vec::with_capacity(bytes.len()), ..Stripped::default() };
    (reader.bytes(8)? == SIGNATURE).then(|| stripped.cleaned.extend(SIGNATURE))?;
    let mut exif = exif(orientation);
    let mut canvas = None;
    loop {
        let whole = reader.0;
        let length = u32::from_be_bytes(reader.array()?) as usize;
        let kind: [u8; 4] = reader.array()?;
        let content = reader.bytes(length)?;
        reader.bytes(4)?;
        if &kind == b"IDAT"
            && let Some(exif) = exif.take()
        {
            chunk(&mut stripped.cleaned, *b"eXIf", &exif)?;
        }
        if &kind == b"IHDR" {
            canvas = Some((number(content, 0)?, number(content, 4)?));
        }
        if &kind == b"fcTL" {
            let (width, height) = (number(content, 4)?, number(content, 8)?);
            // A frame must not be larger than the picture. `picture::open` checks the size of the picture.
            canvas.filter(|canvas| width <= canvas.0 && height <= canvas.1)?;
            stripped.frames = stripped.frames.saturating_add(1);
            stripped.frame_pixels = stripped.frame_pixels.saturating_add(u64::from(width) * u64::from(height));
        }
        if KEPT_CHUNKS.contains(&&kind) {
            stripped.cleaned.extend(&whole[..whole.len() - reader.0.len()]);
        }
        if &kind == b"IEND" {
            stripped.frames = stripped.frames.max(1);
            return Some(stripped);
        }
    }
}

fn chunk(cleaned: &mut Vec<u8>, kind: [u8; 4], content: &[u8]) -> Option<()> {
    cleaned.extend(u32::try_from(content.len()).ok()?.to_be_bytes());
    cleaned.extend(kind);
    cleaned.extend(content);
    cleaned.extend(crc(&[&kind, content].concat()).to_be_bytes());
    Some(())
}

/// Computes the CRC of a chunk (annex D). Computes it bit by bit, because only one small chunk needs a new CRC.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
