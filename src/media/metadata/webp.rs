//! Copies the chunks of a WebP file that are needed to show the picture (RFC 9649).

use image::metadata::Orientation;

use super::{Reader, Stripped, exif};

/// Chunks that are needed to show the picture.
const KEPT_CHUNKS: [&[u8; 4]; 7] = [b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"ICCP"];
/// Flag in the VP8X chunk: the file contains Exif.
const EXIF: u8 = 0x08;
/// Flag in the VP8X chunk: the file contains XMP.
const XMP: u8 = 0x04;

pub fn strip(bytes: &[u8], orientation: Orientation) -> Option<Stripped> {
    let mut reader = Reader(bytes);
    let mut stripped = Stripped::default();
    (reader.array()? == *b"RIFF").then_some(())?;
    let length = u32::from_le_bytes(reader.array()?) as usize;
    // Bytes after this length do not belong to the picture.
    let mut reader = Reader(reader.0.get(..length).unwrap_or(reader.0));
    (reader.array()? == *b"WEBP").then_some(())?;
    let exif = exif(orientation);
    let mut body = b"WEBP".to_vec();
    while let Some(kind) = reader.array::<4>() {
        let length = u32::from_le_bytes(reader.array()?) as usize;
        let content = reader.bytes(length)?;
        // Skips the padding to an even length, which the last chunk may lack.
        reader.bytes(length % 2);
        if &kind == b"ANMF" {
            let size = |at: usize| {
                Some(
                    u64::from(u32::from_le_bytes([*content.get(at)?, *content.get(at + 1)?, *content.get(at + 2)?, 0]))
                        + 1,
                )
            };
            stripped.frames = stripped.frames.saturating_add(1);
            stripped.frame_pixels = stripped.frame_pixels.saturating_add(size(6)? * size(9)?);
        }
        if &kind == b"VP8X" {
            let mut header = content.to_vec();
            let flags = header.first_mut()?;
            *flags &= !(EXIF | XMP);
            if exif.is_some() {
                *flags |= EXIF;
            }
            chunk(&mut body, kind, &header)?;
        } else if KEPT_CHUNKS.contains(&&kind) {
            chunk(&mut body, kind, content)?;
        }
    }
    // Only the extended format (VP8X) can contain Exif, so `exif` is None for a picture in another format.
    if let Some(exif) = exif {
        chunk(&mut body, *b"EXIF", &exif)?;
    }
    stripped.cleaned = [b"RIFF".as_slice(), &u32::try_from(body.len()).ok()?.to_le_bytes(), &body].concat();
    stripped.frames = stripped.frames.max(1);
    Some(stripped)
}

fn chunk(body: &mut Vec<u8>, kind: [u8; 4], content: &[u8]) -> Option<()> {
    body.extend(kind);
    body.extend(u32::try_from(content.len()).ok()?.to_le_bytes());
    body.extend(content);
    if content.len() % 2 == 1 {
        body.push(0);
    }
    Some(())
}
