//! Pictures: size, thumbnails, blurhash, and removal of metadata.

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, Frame, ImageDecoder as _, ImageFormat, ImageReader, Rgb, RgbImage, Rgba, RgbaImage};
use parlance::media::{
    Error, Kind, Limits, Rejection, SQUARE_SIDES, Size, THUMBNAIL_SIDES, Thumbnail, inspect, square,
};

use super::{PICTURES, bytes_of, file, inspected, limits, rejected, sample};

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn decoded(thumbnail: &Thumbnail) -> DynamicImage {
    assert_eq!(thumbnail.content_type, "image/webp");
    let image = image::load_from_memory_with_format(&thumbnail.bytes, ImageFormat::WebP).unwrap();
    assert_eq!((image.width(), image.height()), (thumbnail.width, thumbnail.height));
    image
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|part| part == what)
}

fn is_red(pixel: Rgba<u8>) -> bool {
    pixel[0] > 150 && pixel[2] < 100
}

fn is_blue(pixel: Rgba<u8>) -> bool {
    pixel[2] > 150 && pixel[0] < 100
}

#[test]
fn a_picture_gets_type_size_blurhash_and_three_thumbnails() {
    let picture = RgbImage::from_fn(2000, 500, |x, _| Rgb([u8::try_from(x / 8).unwrap(), 0, 0]));
    let found = inspected(&encoded(picture, ImageFormat::Png), "image/png");
    assert_eq!((found.content_type.as_str(), found.kind), ("image/png", Kind::Image));
    assert_eq!((found.width, found.height, found.duration), (Some(2000), Some(500), None));
    // A blurhash of 4 by 3 components has 4 + 2 * 12 characters.
    assert_eq!(found.blurhash.unwrap().len(), 28);
    let sizes: Vec<_> = found.thumbnails.iter().map(|one| (one.size, one.width, one.height)).collect();
    assert_eq!(sizes, [(Size::Small, 160, 40), (Size::Medium, 480, 120), (Size::Large, 1280, 320)]);
    for thumbnail in &found.thumbnails {
        let image = decoded(thumbnail).to_rgb8();
        assert!(image.get_pixel(1, 1)[0] < 30 && image.get_pixel(thumbnail.width - 2, 1)[0] > 220);
    }
    assert!(found.waveform.is_none() && found.cleaned.is_none(), "the picture has no metadata to remove");
}

#[test]
fn a_small_picture_is_not_scaled_up() {
    for (width, height) in [(1, 1), (100, 30), (1, 900)] {
        let found = inspected(&encoded(RgbImage::new(width, height), ImageFormat::Png), "image/png");
        for (thumbnail, (_, longest)) in found.thumbnails.iter().zip(THUMBNAIL_SIDES) {
            assert!(thumbnail.width <= width && thumbnail.height <= height.min(longest));
            decoded(thumbnail);
        }
    }
}

#[test]
fn a_rotated_picture_has_upright_size_and_thumbnails() {
    for (name, content_type) in PICTURES {
        let found = inspected(&bytes_of(name), content_type);
        // The stored pixels are 96 by 64 with red on the left. Red is at the top after the rotation.
        assert_eq!((found.width, found.height), (Some(64), Some(96)), "{name}");
        let image = decoded(&found.thumbnails[0]).to_rgba8();
        assert_eq!(image.dimensions(), (64, 96), "{name}");
        assert!(is_red(*image.get_pixel(32, 2)) && is_blue(*image.get_pixel(32, 93)), "{name} is not upright");
    }
}

#[test]
fn cleaned_pictures_contain_no_location_camera_or_author() {
    for (name, content_type) in PICTURES {
        let original = bytes_of(name);
        let told: [&[u8]; 4] = [b"Camera", b"Somebody", b"GPS", b"xpacket"];
        assert!(told.iter().any(|word| contains(&original, word)), "the original {name} has no metadata");
        let cleaned = inspected(&original, content_type).cleaned.expect("metadata was not removed");
        for word in told.into_iter().chain([b"Berlin".as_slice(), b"Home", b"exif:", b"tEXt", b"iTXt", b"XMP"]) {
            assert!(!contains(&cleaned, word), "{name} still contains {}", String::from_utf8_lossy(word));
        }
        // The Exif data contains only the orientation, and the pixels are unchanged.
        let read = |bytes: &[u8]| {
            let format = ImageFormat::from_mime_type(content_type).unwrap();
            let mut decoder = ImageReader::with_format(Cursor::new(bytes.to_vec()), format).into_decoder().unwrap();
            assert_eq!(decoder.orientation().unwrap(), Orientation::Rotate90, "{name}");
            let exif = decoder.exif_metadata().unwrap().unwrap();
            (exif.len(), DynamicImage::from_decoder(decoder).unwrap())
        };
        let (length, pixels) = read(&cleaned);
        assert_eq!(length, 26, "{name}: the Exif data must be a directory with one entry");
        assert_eq!(pixels, read(&original).1, "{name}");
        let again = inspected(&cleaned, content_type);
        assert!(again.cleaned.is_none() && again.width == Some(64), "{name} was cleaned twice");
    }
}

#[test]
fn bytes_after_the_end_of_a_picture_are_removed() {
    // Phones append a short video, which can contain the location.
    for (name, content_type) in PICTURES {
        let original = [bytes_of(name), b"ftypmp42 and where it was filmed".to_vec()].concat();
        let cleaned = inspected(&original, content_type).cleaned.unwrap();
        assert!(!contains(&cleaned, b"ftyp"), "{name}");
        decoded(&inspected(&cleaned, content_type).thumbnails[0]);
    }
}

#[test]
fn the_embedded_thumbnail_of_a_jpeg_is_removed_and_its_density_kept() {
    let plain = encoded(RgbImage::new(8, 8), ImageFormat::Jpeg);
    // A JPEG begins with SOI, the marker of the JFIF segment, and the 16 bytes of the segment. The last two bytes are
    // the width and height of the thumbnail.
    assert_eq!((&plain[6..11], &plain[18..20]), (b"JFIF\0".as_slice(), [0, 0].as_slice()));
    let thumbnail = b"was cut off ";
    let segment = [&[0, 16 + 12], &plain[6..18], &[2, 2], thumbnail].concat();
    let with = [&plain[..4], &segment, &plain[20..]].concat();
    assert_eq!(inspected(&with, "image/jpeg").cleaned.unwrap(), plain);
}

#[test]
fn a_colour_profile_is_kept() {
    let plain = encoded(RgbImage::new(8, 8), ImageFormat::Jpeg);
    let profile = b"ICC_PROFILE\0\x01\x01a profile";
    let length = u16::try_from(profile.len() + 2).unwrap().to_be_bytes();
    let with = [&plain[..2], &[0xff, 0xe2], &length, profile, &[0xff, 0xfe, 0, 6], b"Home", &plain[2..]].concat();
    let cleaned = inspected(&with, "image/jpeg").cleaned.unwrap();
    assert!(contains(&cleaned, profile) && !contains(&cleaned, b"Home"));
}

#[test]
fn thumbnails_keep_transparency_without_color_fringes() {
    // The transparent half is green, which must not be visible in the thumbnail.
    let picture =
        RgbaImage::from_fn(400, 400, |x, _| if x < 201 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 255, 0, 0]) });
    let found = inspected(&encoded(picture, ImageFormat::Png), "image/png");
    let image = decoded(&found.thumbnails[0]).to_rgba8();
    assert_eq!(image.get_pixel(159, 80)[3], 0);
    assert!(is_red(*image.get_pixel(10, 80)) && image.get_pixel(10, 80)[3] == 255);
    for pixel in image.pixels().filter(|pixel| pixel[3] > 0) {
        assert!(pixel[1] < 60, "a green fringe: {pixel:?}");
    }
}

fn animation(frames: u16, side: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    encoder.set_repeat(image::codecs::gif::Repeat::Infinite).unwrap();
    for index in 0..frames {
        let colour = if index == 0 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 0, 255, 255]) };
        encoder.encode_frame(Frame::new(RgbaImage::from_pixel(side, side, colour))).unwrap();
    }
    drop(encoder);
    bytes
}

#[test]
fn an_animation_keeps_all_frames_and_its_thumbnails_show_the_first_frame() {
    let bytes = animation(3, 20);
    let found = inspected(&bytes, "image/gif");
    assert!(is_red(*decoded(&found.thumbnails[0]).to_rgba8().get_pixel(10, 10)));
    let comment = [&bytes[..bytes.len() - 1], b"\x21\xfe\x04Home\0\x3b"].concat();
    let cleaned = inspected(&comment, "image/gif").cleaned.unwrap();
    assert_eq!(cleaned, bytes, "only the comment must be removed");
}

#[test]
fn an_animation_with_too_many_frames_is_rejected() {
    let many = animation(21, 4);
    assert_eq!(rejected(&many, "image/gif"), Rejection::TooManyFrames { allowed: 20 });
    // The frames are within the pixel limit, but all frames together exceed ten times the limit.
    let large = animation(12, 950);
    assert_eq!(rejected(&large, "image/gif"), Rejection::TooManyFrames { allowed: 20 });
}

/// Returns an animated PNG of 8 by 8 pixels with `frames` frames of `side` by `side` pixels.
fn framed(frames: usize, side: u32) -> Vec<u8> {
    let plain = encoded(RgbImage::new(8, 8), ImageFormat::Png);
    let sides = [side.to_be_bytes(), side.to_be_bytes()].concat();
    let frame = [&[0, 0, 0, 26], b"fcTL".as_slice(), &[0; 4], &sides, &[0; 14], &[0; 4]].concat();
    let (pixels, end) = plain.split_at(plain.len() - 12);
    [pixels, &frame.repeat(frames), end].concat()
}

#[test]
fn frames_larger_than_the_picture_are_rejected() {
    assert_eq!(rejected(&framed(21, 8), "image/png"), Rejection::TooManyFrames { allowed: 20 });
    // With the second value, the number of pixels of all frames overflows 64 bits.
    for side in [9, u32::MAX] {
        assert_eq!(rejected(&framed(20, side), "image/png"), Rejection::Unreadable, "{side}");
    }
}

#[test]
fn square_thumbnails_show_the_center_of_the_picture() {
    let picture =
        RgbImage::from_fn(300, 100, |x, _| if (100..200).contains(&x) { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
    let squares = square(file(&encoded(picture, ImageFormat::Png)).path(), &limits()).unwrap();
    let sizes: Vec<_> = squares.iter().map(|one| (one.size, one.width, one.height)).collect();
    assert_eq!(sizes, [(Size::Small, 96, 96), (Size::Medium, 100, 100), (Size::Large, 100, 100)]);
    for thumbnail in &squares {
        let image = decoded(thumbnail).to_rgba8();
        assert!(is_red(*image.get_pixel(3, 50)) && is_red(*image.get_pixel(92, 50)));
    }
    let large = square(file(&encoded(RgbImage::new(700, 900), ImageFormat::Jpeg)).path(), &limits()).unwrap();
    assert!(
        large
            .iter()
            .zip(SQUARE_SIDES)
            .all(|(one, (size, side))| (one.size, one.width, one.height) == (size, side, side))
    );
    let turned = square(&sample("portrait.jpg"), &limits()).unwrap();
    let image = decoded(&turned[2]).to_rgba8();
    assert!(image.get_pixel(32, 4)[0] > image.get_pixel(32, 60)[0], "red is not at the top");
}

/// Returns a JPEG with metadata and with a header that declares this size. The pixels are those of a smaller picture.
fn declared_size(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = bytes_of("portrait.jpg");
    let frame = bytes.windows(4).position(|part| part == [0xff, 0xc0, 0, 17]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[height.to_be_bytes(), width.to_be_bytes()].concat());
    bytes
}

#[test]
fn a_picture_too_large_for_thumbnails_has_a_size_and_no_metadata() {
    for (width, height) in [(1001, 1000), (2000, 2000), (500, 8000)] {
        let found = inspected(&declared_size(width, height), "image/jpeg");
        // The picture is rotated by a quarter turn.
        assert_eq!((found.width, found.height), (Some(height.into()), Some(width.into())));
        assert_eq!((found.kind, found.blurhash, found.thumbnails.len()), (Kind::Image, None, 0));
        let cleaned = found.cleaned.expect("metadata was not removed");
        assert!(!contains(&cleaned, b"GPS") && !contains(&cleaned, b"Camera"));
        let squares = square(file(&cleaned).path(), &limits());
        let too_many = Rejection::TooManyPixels { allowed: limits().max_pixels };
        assert!(matches!(squares, Err(Error::Rejected(rejection)) if rejection == too_many));
    }
    // Limits on memory have the same effect as limits on pixels.
    let little = Limits { max_memory: 96 * 64 * 7 - 1, ..limits() };
    let found = inspect(&sample("portrait.jpg"), "image/jpeg", &little).unwrap();
    assert!(found.thumbnails.is_empty() && found.cleaned.is_some() && found.width == Some(64));
}

#[test]
fn the_default_limits_accept_pictures_of_phones_with_up_to_200_megapixels() {
    #[derive(clap::Parser)]
    struct Settings {
        #[command(flatten)]
        media: parlance::config::Media,
    }
    let media = <Settings as clap::Parser>::parse_from(["test"]).media;
    let limits = Limits::new(&media, 1 << 25);
    for (width, height) in [(8192, 6145), (9248, 6936), (12_000, 9000), (16_320, 12_240), (16_384, 12_288)] {
        let found = inspect(file(&declared_size(width, height)).path(), "image/jpeg", &limits).unwrap();
        assert_eq!((found.width, found.height), (Some(height.into()), Some(width.into())));
    }
    assert!(8192 * 6144 <= media.media_max_pixels, "pictures with 50 megapixels have thumbnails");
    let larger = inspect(file(&declared_size(16_384, 12_289)).path(), "image/jpeg", &limits);
    assert!(matches!(larger, Err(Error::Rejected(Rejection::TooManyPixels { allowed: 201_326_592 }))), "{larger:?}");
}

#[test]
fn files_other_than_pictures_have_no_square_thumbnails() {
    for bytes in [bytes_of("voice.ogg"), b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), b"%PDF-1.7".to_vec()] {
        let result = square(file(&bytes).path(), &limits());
        assert!(matches!(result, Err(Error::Rejected(Rejection::NotAPicture))), "{result:?}");
    }
}

#[test]
fn a_missing_file_is_an_io_error_and_not_a_rejection() {
    let result = inspect(&sample("nothing.png"), "image/png", &limits());
    assert!(matches!(result, Err(Error::Io(_))), "{result:?}");
}
