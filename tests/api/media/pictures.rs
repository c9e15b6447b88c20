//! Pictures: their size, thumbnails and blurhash, and what they no longer tell.

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, Frame, ImageDecoder as _, ImageFormat, ImageReader, Rgb, RgbImage, Rgba, RgbaImage};
use parlance::media::{Error, Kind, Rejection, SQUARE_SIDES, Size, THUMBNAIL_SIDES, Thumbnail, inspect, square};

use super::{PICTURES, bytes_of, file, inspected, limits, rejected, sample};

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn shown(thumbnail: &Thumbnail) -> DynamicImage {
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
fn a_picture_has_its_type_size_blurhash_and_three_thumbnails() {
    let picture = RgbImage::from_fn(2000, 500, |x, _| Rgb([u8::try_from(x / 8).unwrap(), 0, 0]));
    let found = inspected(&encoded(picture, ImageFormat::Png), "image/png");
    assert_eq!((found.content_type.as_str(), found.kind), ("image/png", Kind::Image));
    assert_eq!((found.width, found.height, found.duration), (Some(2000), Some(500), None));
    // Four by three waves: 4 + 2 * 12 characters.
    assert_eq!(found.blurhash.unwrap().len(), 28);
    let sizes: Vec<_> = found.thumbnails.iter().map(|one| (one.size, one.width, one.height)).collect();
    assert_eq!(sizes, [(Size::Small, 160, 40), (Size::Medium, 480, 120), (Size::Large, 1280, 320)]);
    for thumbnail in &found.thumbnails {
        let image = shown(thumbnail).to_rgb8();
        assert!(image.get_pixel(1, 1)[0] < 30 && image.get_pixel(thumbnail.width - 2, 1)[0] > 220);
    }
    assert!(found.waveform.is_none() && found.cleaned.is_none(), "there was nothing to clean");
}

#[test]
fn a_small_picture_is_not_scaled_up() {
    for (width, height) in [(1, 1), (100, 30), (1, 900)] {
        let found = inspected(&encoded(RgbImage::new(width, height), ImageFormat::Png), "image/png");
        for (thumbnail, (_, longest)) in found.thumbnails.iter().zip(THUMBNAIL_SIDES) {
            assert!(thumbnail.width <= width && thumbnail.height <= height.min(longest));
            shown(thumbnail);
        }
    }
}

#[test]
fn a_turned_picture_is_shown_upright() {
    for (name, content_type) in PICTURES {
        let found = inspected(&bytes_of(name), content_type);
        // 96 by 64 as the camera held it; red is left then, and above when it is turned.
        assert_eq!((found.width, found.height), (Some(64), Some(96)), "{name}");
        let image = shown(&found.thumbnails[0]).to_rgba8();
        assert_eq!(image.dimensions(), (64, 96), "{name}");
        assert!(is_red(*image.get_pixel(32, 2)) && is_blue(*image.get_pixel(32, 93)), "{name} is not upright");
    }
}

#[test]
fn what_others_get_tells_neither_place_nor_camera() {
    for (name, content_type) in PICTURES {
        let original = bytes_of(name);
        let told: [&[u8]; 4] = [b"Camera", b"Somebody", b"GPS", b"xpacket"];
        assert!(told.iter().any(|word| contains(&original, word)), "{name} tells nothing to begin with");
        let cleaned = inspected(&original, content_type).cleaned.expect("it differs");
        for word in told.into_iter().chain([b"Berlin".as_slice(), b"Home", b"exif:", b"tEXt", b"iTXt", b"XMP"]) {
            assert!(!contains(&cleaned, word), "{name} still tells {}", String::from_utf8_lossy(word));
        }
        // The orientation is all that is left of Exif, and the pixels are the very same.
        let read = |bytes: &[u8]| {
            let format = ImageFormat::from_mime_type(content_type).unwrap();
            let mut decoder = ImageReader::with_format(Cursor::new(bytes.to_vec()), format).into_decoder().unwrap();
            assert_eq!(decoder.orientation().unwrap(), Orientation::Rotate90, "{name}");
            let exif = decoder.exif_metadata().unwrap().unwrap();
            (exif.len(), DynamicImage::from_decoder(decoder).unwrap())
        };
        let (length, pixels) = read(&cleaned);
        assert_eq!(length, 26, "{name}: a directory of one entry");
        assert_eq!(pixels, read(&original).1, "{name}");
        let again = inspected(&cleaned, content_type);
        assert!(again.cleaned.is_none() && again.width == Some(64), "{name} is clean already");
    }
}

#[test]
fn nothing_behind_the_end_of_a_picture_is_passed_on() {
    // Telephones put a short film there, with its place.
    for (name, content_type) in PICTURES {
        let original = [bytes_of(name), b"ftypmp42 and where it was filmed".to_vec()].concat();
        let cleaned = inspected(&original, content_type).cleaned.unwrap();
        assert!(!contains(&cleaned, b"ftyp"), "{name}");
        shown(&inspected(&cleaned, content_type).thumbnails[0]);
    }
}

#[test]
fn the_thumbnail_inside_a_jpeg_goes_and_its_density_stays() {
    let plain = encoded(RgbImage::new(8, 8), ImageFormat::Jpeg);
    // SOI, then JFIF's segment of 16 bytes and the marker before them; the last two are the thumbnail's sides.
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
fn transparency_is_kept_and_leaves_no_fringe() {
    // What cannot be seen is green; nothing of it may come through.
    let picture =
        RgbaImage::from_fn(400, 400, |x, _| if x < 201 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 255, 0, 0]) });
    let found = inspected(&encoded(picture, ImageFormat::Png), "image/png");
    let image = shown(&found.thumbnails[0]).to_rgba8();
    assert_eq!(image.get_pixel(159, 80)[3], 0);
    assert!(is_red(*image.get_pixel(10, 80)) && image.get_pixel(10, 80)[3] == 255);
    for pixel in image.pixels().filter(|pixel| pixel[3] > 0) {
        assert!(pixel[1] < 60, "a fringe: {pixel:?}");
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
fn an_animated_picture_is_shown_by_its_first_frame_and_still_moves() {
    let bytes = animation(3, 20);
    let found = inspected(&bytes, "image/gif");
    assert!(is_red(*shown(&found.thumbnails[0]).to_rgba8().get_pixel(10, 10)));
    let comment = [&bytes[..bytes.len() - 1], b"\x21\xfe\x04Home\0\x3b"].concat();
    let cleaned = inspected(&comment, "image/gif").cleaned.unwrap();
    assert_eq!(cleaned, bytes, "all frames and their repetition, without the comment");
}

#[test]
fn frames_are_counted() {
    let many = animation(21, 4);
    assert_eq!(rejected(&many, "image/gif"), Rejection::TooManyFrames { allowed: 20 });
    // Each has fewer pixels than a picture may have; together they have more than ten times as many.
    let large = animation(12, 950);
    assert_eq!(rejected(&large, "image/gif"), Rejection::TooManyFrames { allowed: 20 });
}

/// A PNG of 8 by 8 pixels with frames of this size.
fn framed(frames: usize, side: u32) -> Vec<u8> {
    let plain = encoded(RgbImage::new(8, 8), ImageFormat::Png);
    let sides = [side.to_be_bytes(), side.to_be_bytes()].concat();
    let frame = [&[0, 0, 0, 26], b"fcTL".as_slice(), &[0; 4], &sides, &[0; 14], &[0; 4]].concat();
    let (pixels, end) = plain.split_at(plain.len() - 12);
    [pixels, &frame.repeat(frames), end].concat()
}

#[test]
fn frames_lie_within_their_picture() {
    assert_eq!(rejected(&framed(21, 8), "image/png"), Rejection::TooManyFrames { allowed: 20 });
    // So many pixels that no number would hold them all.
    for side in [9, u32::MAX] {
        assert_eq!(rejected(&framed(20, side), "image/png"), Rejection::Unreadable, "{side}");
    }
}

#[test]
fn squares_are_the_middle() {
    let picture =
        RgbImage::from_fn(300, 100, |x, _| if (100..200).contains(&x) { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
    let squares = square(file(&encoded(picture, ImageFormat::Png)).path(), &limits()).unwrap();
    let sizes: Vec<_> = squares.iter().map(|one| (one.size, one.width, one.height)).collect();
    assert_eq!(sizes, [(Size::Small, 96, 96), (Size::Medium, 100, 100), (Size::Large, 100, 100)]);
    for thumbnail in &squares {
        let image = shown(thumbnail).to_rgba8();
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
    let image = shown(&turned[2]).to_rgba8();
    assert!(image.get_pixel(32, 4)[0] > image.get_pixel(32, 60)[0], "red is above");
}

#[test]
fn only_a_picture_has_squares() {
    for bytes in [bytes_of("voice.ogg"), b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), b"%PDF-1.7".to_vec()] {
        let result = square(file(&bytes).path(), &limits());
        assert!(matches!(result, Err(Error::Rejected(Rejection::NotAPicture))), "{result:?}");
    }
}

#[test]
fn a_file_that_is_away_is_this_machines_fault() {
    let result = inspect(&sample("nothing.png"), "image/png", &limits());
    assert!(matches!(result, Err(Error::Io(_))), "{result:?}");
}
