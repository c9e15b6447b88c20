//! Converts the colours of a picture to sRGB, in which thumbnails are stored. Phones and cameras use larger colour
//! spaces, such as Display P3 and Adobe RGB, and say so by an ICC profile in the picture.

use image::{DynamicImage, GrayAlphaImage, ImageDecoder};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

use super::number;

/// Maximum number of bytes of a profile. Profiles of cameras have a few kilobytes, and profiles of printers up to two
/// megabytes. The profile determines the memory and the time of the conversion. A larger profile is ignored.
const MAX_PROFILE: usize = 4 * 1024 * 1024;
/// Offset of the table of tags in a profile (ICC.1:2022, section 7.3). The number of tags precedes the table.
const TAGS: usize = 132;
/// Number of bytes of an entry in the table of tags: the name of the tag, its offset and its length.
const TAG: usize = 12;
/// Tags that determine colours.
const COLOUR_TAGS: [[u8; 4]; 13] = [
    *b"rXYZ", *b"gXYZ", *b"bXYZ", *b"rTRC", *b"gTRC", *b"bTRC", *b"kTRC", *b"wtpt", *b"chad", *b"cicp", *b"A2B0",
    *b"A2B1", *b"A2B2",
];

/// Reads the profile of a picture. None if the picture has no profile, or one that cannot be used: the colours are then
/// taken as sRGB, as browsers do. The profile of a grey picture cannot be used for a picture with colours.
pub fn profile(decoder: &mut impl ImageDecoder) -> Option<ColorProfile> {
    let mut bytes = decoder.icc_profile().ok()??;
    if bytes.len() > MAX_PROFILE {
        return None;
    }
    hide_other_tags(&mut bytes);
    let profile = ColorProfile::new_from_slice(&bytes).ok()?;
    (profile.color_space != DataColorSpace::Gray || !decoder.color_type().has_color()).then_some(profile)
}

/// Clears the names of repeated tags, and of tags that do not determine colours. moxcms ignores tags without a name. It
/// would otherwise read each text in memory as often as the profile refers to it, which can be many thousand times.
fn hide_other_tags(profile: &mut [u8]) {
    let count = number(profile, TAGS - 4).unwrap_or_default() as usize;
    let mut kept: Vec<[u8; 4]> = Vec::new();
    for entry in profile.get_mut(TAGS..).unwrap_or_default().chunks_exact_mut(TAG).take(count) {
        let Some(name) = entry.first_chunk_mut::<4>() else { continue };
        if COLOUR_TAGS.contains(name) && !kept.contains(name) {
            kept.push(*name);
        } else {
            *name = [0; 4];
        }
    }
}

/// Converts the colours of a picture with eight bits for each colour to sRGB. Returns the picture unchanged if its
/// colours cannot be converted, as in pictures for print, which the decoder has converted from CMYK.
pub fn to_srgb(image: DynamicImage, profile: &ColorProfile) -> DynamicImage {
    converted(&image, profile).unwrap_or(image)
}

fn converted(image: &DynamicImage, profile: &ColorProfile) -> Option<DynamicImage> {
    let (from, layout) = match (profile.color_space, image.color().has_alpha()) {
        (DataColorSpace::Rgb, false) => (image.to_rgb8().into_raw(), Layout::Rgb),
        (DataColorSpace::Rgb, true) => (image.to_rgba8().into_raw(), Layout::Rgba),
        (DataColorSpace::Gray, false) => (image.to_luma8().into_raw(), Layout::Gray),
        (DataColorSpace::Gray, true) => (GrayAlphaImage::into_raw(image.to_luma_alpha8()), Layout::GrayAlpha),
        _ => return None,
    };
    let (width, height) = (image.width(), image.height());
    let has_alpha = image.color().has_alpha();
    let (to_layout, channels) = if has_alpha { (Layout::Rgba, 4) } else { (Layout::Rgb, 3) };
    let transform = profile
        .create_transform_8bit(layout, &ColorProfile::new_srgb(), to_layout, TransformOptions::default())
        .ok()?;
    let mut to = vec![0; width as usize * height as usize * channels];
    transform.transform(&from, &mut to).ok()?;
    if has_alpha {
        image::RgbaImage::from_raw(width, height, to).map(DynamicImage::from)
    } else {
        image::RgbImage::from_raw(width, height, to).map(DynamicImage::from)
    }
}
