//! Removes metadata about camera, place and author from pictures. Pixels are not encoded again: the parts of the file
//! that are needed to show the picture are copied. Other parts, and bytes after the end of the picture, are not copied.
//!
//! The orientation is the only part of Exif that is kept. Rotating the pixels instead would encode them again, so the
//! picture would lose quality each time it is forwarded.

mod gif;
mod jpeg;
mod png;
mod webp;

use image::ImageFormat;
use image::metadata::Orientation;

use super::{Deadline, Rejection};

/// A picture without its metadata.
#[derive(Debug, Default)]
pub struct Stripped {
    /// The file with only the parts that are needed to show the picture.
    pub cleaned: Vec<u8>,
    /// Number of frames, which is more than one if the picture is animated.
    pub frames: u32,
    /// Number of pixels of all animation frames together. May be 0 if the picture is not animated.
    pub frame_pixels: u64,
}

/// Copies the parts of a picture that are needed to show the picture. Fails if the picture is damaged or the deadline
/// has passed.
pub fn strip(
    bytes: &[u8],
    format: ImageFormat,
    orientation: Orientation,
    deadline: Deadline,
) -> Result<Stripped, Rejection> {
    let stripped = match format {
        ImageFormat::Jpeg => jpeg::strip(bytes, orientation),
        ImageFormat::Png => png::strip(bytes, orientation),
        ImageFormat::Gif => gif::strip(bytes),
        ImageFormat::WebP => webp::strip(bytes, orientation),
        _ => None,
    };
    deadline.check()?;
    stripped.ok_or(Rejection::Unreadable)
}

/// Returns Exif data (CIPA DC-008) that contains only the orientation. None if the picture is upright.
fn exif(orientation: Orientation) -> Option<Vec<u8>> {
    if orientation == Orientation::NoTransforms {
        return None;
    }
    // TIFF, little endian, with one directory of one entry: tag 0x0112 (orientation), one SHORT.
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation.to_exif(), 0, 0, 0]);
    exif.extend([0; 4]);
    Some(exif)
}

/// Reads bytes in order. Each method returns None if too few bytes are left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }
}
