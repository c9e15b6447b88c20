//! Colour profiles: thumbnails have the colours that browsers show for the picture.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, GrayImage, ImageEncoder as _, Rgb, RgbImage, Rgba, RgbaImage};
use moxcms::ColorProfile;
use parlance::media::{Thumbnail, square};

use super::{file, inspected, limits};

const FORMATS: [&str; 3] = ["image/jpeg", "image/png", "image/webp"];

fn with_profile(image: impl Into<DynamicImage>, profile: &[u8], format: &str) -> Vec<u8> {
    let (mut bytes, profile) = (Vec::new(), profile.to_vec());
    let image = image.into();
    match format {
        "image/jpeg" => {
            let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
            encoder.set_icc_profile(profile).unwrap();
            image.write_with_encoder(encoder)
        }
        "image/png" => {
            let mut encoder = PngEncoder::new(&mut bytes);
            encoder.set_icc_profile(profile).unwrap();
            image.write_with_encoder(encoder)
        }
        _ => {
            let mut encoder = WebPEncoder::new_lossless(&mut bytes);
            encoder.set_icc_profile(profile).unwrap();
            image.write_with_encoder(encoder)
        }
    }
    .unwrap();
    bytes
}

#[track_caller]
fn assert_colour(thumbnail: &Thumbnail, expected: [u8; 3], what: &str) {
    let image = image::load_from_memory(&thumbnail.bytes).unwrap().to_rgb8();
    let found = image.get_pixel(image.width() / 2, image.height() / 2).0;
    // Lossy WebP changes colours by a few steps.
    let is_near = found.iter().zip(expected).all(|(one, other)| one.abs_diff(other) <= 6);
    assert!(is_near, "{what}: {found:?} instead of {expected:?}");
}

#[test]
fn thumbnails_are_converted_from_the_profile_of_the_picture_to_srgb() {
    let [p3, adobe, wide] =
        [ColorProfile::new_display_p3(), ColorProfile::new_adobe_rgb(), ColorProfile::new_pro_photo_rgb()];
    for (profile, colour, expected) in [
        (&p3, [230, 120, 90], [247, 112, 81]),
        (&p3, [128, 128, 128], [128, 128, 128]),
        (&p3, [90, 180, 60], [41, 183, 28]),
        (&adobe, [200, 120, 90], [224, 121, 88]),
        (&wide, [120, 120, 120], [139, 139, 139]),
        (&ColorProfile::new_srgb(), [230, 120, 90], [230, 120, 90]),
    ] {
        for format in FORMATS {
            let bytes = with_profile(RgbImage::from_pixel(300, 200, Rgb(colour)), &profile.encode().unwrap(), format);
            let found = inspected(&bytes, format);
            assert!(found.cleaned.is_none_or(|cleaned| cleaned.len() > 400), "the original keeps its profile");
            for thumbnail in found.thumbnails.iter().chain(&square(file(&bytes).path(), &limits()).unwrap()) {
                assert_colour(thumbnail, expected, &format!("{format} {colour:?}"));
            }
        }
    }
}

#[test]
fn a_transparent_picture_keeps_its_alpha_when_its_colours_are_converted() {
    let profile = ColorProfile::new_display_p3().encode().unwrap();
    for format in ["image/png", "image/webp"] {
        let picture = RgbaImage::from_pixel(300, 200, Rgba([230, 120, 90, 128]));
        let found = inspected(&with_profile(picture, &profile, format), format);
        assert_colour(&found.thumbnails[0], [247, 112, 81], format);
        let image = image::load_from_memory(&found.thumbnails[0].bytes).unwrap().to_rgba8();
        assert_eq!(image.get_pixel(50, 50)[3], 128, "{format}");
    }
}

#[test]
fn a_grey_profile_is_applied_to_a_grey_picture() {
    let profile = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
    for format in ["image/jpeg", "image/png"] {
        let picture = GrayImage::from_pixel(300, 200, image::Luma([55]));
        let found = inspected(&with_profile(picture, &profile, format), format);
        // A linear 0.216 is 128 in sRGB.
        assert_colour(&found.thumbnails[0], [128, 128, 128], format);
    }
}

#[test]
fn a_profile_that_cannot_be_used_is_ignored() {
    let p3 = ColorProfile::new_display_p3().encode().unwrap();
    let profile_of_print = {
        let mut profile = p3.clone();
        profile[16..20].copy_from_slice(b"CMYK");
        profile
    };
    for profile in
        [b"a profile".as_slice(), &p3[..200], &[0; 500], &[&p3[..], &vec![0; 5 << 20]].concat(), &profile_of_print]
    {
        // A JPEG can store profiles of up to 16 MB in segments.
        let bytes = with_profile(RgbImage::from_pixel(300, 200, Rgb([230, 120, 90])), profile, "image/jpeg");
        let limits = parlance::media::Limits { max_picture_bytes: 16 << 20, ..limits() };
        let found = parlance::media::inspect(file(&bytes).path(), "image/jpeg", &limits).unwrap();
        assert_colour(&found.thumbnails[0], [230, 120, 90], &format!("{} bytes", profile.len()));
    }
}

#[test]
fn a_grey_profile_is_ignored_in_a_picture_with_colours() {
    let profile = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
    let picture = RgbImage::from_pixel(300, 200, Rgb([230, 120, 90]));
    let found = inspected(&with_profile(picture, &profile, "image/jpeg"), "image/jpeg");
    assert_colour(&found.thumbnails[0], [230, 120, 90], "a grey profile");
}

#[test]
fn texts_in_a_profile_take_no_memory_and_no_time() {
    let mut profile = ColorProfile::new_display_p3().encode().unwrap();
    // The description has 20,000 translations, all of which refer to the same 2 MiB.
    let (records, text) = (20_000_u32, 2_u32 << 20);
    let record = [b"enUS".as_slice(), &text.to_be_bytes(), &(16 + records * 12).to_be_bytes()].concat();
    let mut tag = [b"mluc\0\0\0\0".as_slice(), &records.to_be_bytes(), &12_u32.to_be_bytes()].concat();
    tag.extend(record.repeat(records as usize));
    tag.resize(tag.len() + text as usize, b'x');
    // Another tag follows the table, so each tag moves by the length of an entry.
    let count = u32::from_be_bytes(profile[128..132].try_into().unwrap());
    for at in (0..count as usize).map(|entry| 132 + 12 * entry + 4) {
        let moved = u32::from_be_bytes(profile[at..at + 4].try_into().unwrap()) + 12;
        profile[at..at + 4].copy_from_slice(&moved.to_be_bytes());
    }
    let (offset, length) = (u32::try_from(profile.len()).unwrap() + 12, u32::try_from(tag.len()).unwrap());
    let entry = [b"desc".as_slice(), &offset.to_be_bytes(), &length.to_be_bytes()].concat();
    profile[128..132].copy_from_slice(&(count + 1).to_be_bytes());
    let (before, after) = profile.split_at(132 + 12 * count as usize);
    let mut profile = [before, entry.as_slice(), after, tag.as_slice()].concat();
    let size = u32::try_from(profile.len()).unwrap();
    profile[..4].copy_from_slice(&size.to_be_bytes());

    let bytes = with_profile(RgbImage::from_pixel(300, 200, Rgb([230, 120, 90])), &profile, "image/jpeg");
    let limits = parlance::media::Limits { max_picture_bytes: 16 << 20, ..limits() };
    let started = std::time::Instant::now();
    let found = parlance::media::inspect(file(&bytes).path(), "image/jpeg", &limits).unwrap();
    assert_colour(&found.thumbnails[0], [247, 112, 81], "a profile with many texts");
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}
