//! Copies the blocks of a GIF file that are needed to show the picture (GIF89a, section "Grammar").

use super::{Reader, Stripped};

const EXTENSION: u8 = 0x21;
const IMAGE: u8 = 0x2c;
const TRAILER: u8 = 0x3b;
const GRAPHIC_CONTROL: u8 = 0xf9;
const APPLICATION: u8 = 0xff;

pub fn strip(bytes: &[u8]) -> Option<Stripped> {
    let mut reader = Reader(bytes);
    let mut stripped = Stripped { cleaned: Vec::with_capacity(bytes.len()), ..Stripped::default() };
    // The signature and the version, then the screen descriptor, whose flags describe the colour table.
    let screen: [u8; 13] = reader.array()?;
    (screen.starts_with(b"GIF87a") || screen.starts_with(b"GIF89a")).then_some(())?;
    reader.bytes(colours(screen[10]))?;
    stripped.cleaned.extend(&bytes[..bytes.len() - reader.0.len()]);
    // The complete frames of a truncated file are kept.
    while let Some((block, is_needed)) = block(&mut reader, &mut stripped) {
        if is_needed {
            stripped.cleaned.extend(block);
        }
    }
    stripped.cleaned.push(TRAILER);
    (stripped.frames > 0).then_some(stripped)
}

/// Reads the next block, and counts frames in `stripped`. Returns the bytes of the block, and whether it is needed to
/// show the picture. None at the end of the picture, or if the block is incomplete.
fn block<'a>(reader: &mut Reader<'a>, stripped: &mut Stripped) -> Option<(&'a [u8], bool)> {
    let whole = reader.0;
    let is_needed = match reader.byte()? {
        IMAGE => {
            let [_, _, _, _, width, width2, height, height2, flags] = reader.array()?;
            reader.bytes(colours(flags))?;
            // Skips the minimum code size.
            reader.byte()?;
            sub_blocks(reader)?;
            stripped.frames = stripped.frames.saturating_add(1);
            let size = |low, high| u64::from(u16::from_le_bytes([low, high]));
            stripped.frame_pixels += size(width, width2) * size(height, height2);
            true
        }
        EXTENSION => {
            let label = reader.byte()?;
            let content = reader.0;
            sub_blocks(reader)?;
            // Application extensions are kept only if they contain the number of repetitions or a colour profile.
            label == GRAPHIC_CONTROL
                || label == APPLICATION
                    && [b"\x0bNETSCAPE2.0", b"\x0bANIMEXTS1.0", b"\x0bICCRGBG1012"]
                        .iter()
                        .any(|name| content.starts_with(*name))
        }
        _ => return None,
    };
    Some((&whole[..whole.len() - reader.0.len()], is_needed))
}

/// Returns the number of bytes of the colour table that these flags describe. 0 if the flags say that no table follows.
fn colours(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Skips a sequence of sub-blocks. Each sub-block begins with its length, and a length of 0 ends the sequence.
fn sub_blocks(reader: &mut Reader<'_>) -> Option<()> {
    loop {
        match reader.byte()? {
            0 => return Some(()),
            length => reader.bytes(usize::from(length))?,
        };
    }
}
