//! Inspects pictures: size, thumbnails and a blurred preview.

use std::io::Cursor;

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbaImage};
use moxcms::ColorProfile;

use super::{Deadline, Inspected, Kind, Limits, Rejection, Size, Thumbnail, colour, metadata};

/// Maximum length of the longest side of thumbnails, in pixels: for a list, for a conversation, and for a whole screen.
pub const THUMBNAIL_SIDES: [(Size, u32); 3] = [(Size::Small, 160), (Size::Medium, 480), (Size::Large, 1280)];
/// Maximum side of avatars, in pixels: next to a name, in a profile, and for a whole screen.
pub const SQUARE_SIDES: [(Size, u32); 3] = [(Size::Small, 96), (Size::Medium, 256), (Size::Large, 640)];
/// Numbers of horizontal and vertical components of a blurhash. Such a blurhash has 28 characters.
pub const BLURHASH_COMPONENTS: (u32, u32) = (4, 3);

/// WebP quality of thumbnails, from 0 to 100. This value is the default of libwebp.
const QUALITY: f32 = 75.0;
/// Maximum number of pixels of all frames of an animation together, as a multiple of `Limits::max_pixels`.
const ANIMATION_FACTOR: u64 = 10;

/// Maximum number of pixels of a JPEG that is accepted without being decoded, as a multiple of `Limits::max_pixels`.
/// With the default it is 201 million pixels: the largest cameras of phones take pictures of 16384 by 12288 pixels. A
/// picture in another format could be a small file that takes the memory of such a picture in the apps of recipients.
const UNDECODED_FACTOR: u64 = 4;

/// Reads the size of a picture, and creates its thumbnails, its blurhash and a copy without metadata. A picture that is
/// too large to be decoded has no thumbnails and no blurhash.
pub fn inspect(bytes: &[u8], format: ImageFormat, limits: &Limits, deadline: Deadline) -> Result<Inspected, Rejection> {
    let mut picture = open(bytes, format, limits)?;
    let (width, height) = rotated_size(picture.decoder.dimensions(), picture.orientation);
    let stripped = metadata::strip(bytes, format, picture.orientation, deadline)?;
    if stripped.frames > limits.max_frames || stripped.frame_pixels > limits.max_pixels * ANIMATION_FACTOR {
        return Err(Rejection::TooManyFrames { allowed: limits.max_frames });
    }
    let mut found = Inspected {
        kind: Kind::Image,
        width: Some(width),
        height: Some(height),
        cleaned: (stripped.cleaned != bytes).then_some(stripped.cleaned),
        ..Inspected::file(format.to_mime_type().to_owned())
    };
    if picture.is_decodable {
        let colours = Colours::of(&mut picture);
        let image = decode(picture.decoder)?;
        deadline.check()?;
        let thumbnails = thumbnails(image, &colours, &THUMBNAIL_SIDES, deadline)?;
        found.blurhash = thumbnails.first().map(|(_, image)| blurhash(image)).transpose()?;
        found.thumbnails = encode(&thumbnails, deadline)?;
    }
    Ok(found)
}

/// Crops the middle of a picture to squares with the sides in `SQUARE_SIDES`.
pub fn square(
    bytes: &[u8],
    format: ImageFormat,
    limits: &Limits,
    deadline: Deadline,
) -> Result<Vec<Thumbnail>, Rejection> {
    let mut picture = open(bytes, format, limits)?;
    if !picture.is_decodable {
        return Err(Rejection::TooManyPixels { allowed: limits.max_pixels });
    }
    let colours = Colours::of(&mut picture);
    let image = decode(picture.decoder)?;
    deadline.check()?;
    let side = image.width().min(image.height());
    // The orientation can be applied after cropping, because it does not change which pixels are in the middle.
    let image = image.crop_imm((image.width() - side) / 2, (image.height() - side) / 2, side, side);
    let squares = thumbnails(image, &colours, &SQUARE_SIDES, deadline)?;
    encode(&squares, deadline)
}

/// A picture whose header is read.
struct Picture<D> {
    decoder: D,
    orientation: Orientation,
    /// Whether the pixels are within the limits for decoding.
    is_decodable: bool,
}

/// How the pixels of a picture become those of its thumbnails.
struct Colours {
    orientation: Orientation,
    profile: Option<ColorProfile>,
}

impl Colours {
    fn of(picture: &mut Picture<impl ImageDecoder>) -> Self {
        Self { orientation: picture.orientation, profile: colour::profile(&mut picture.decoder) }
    }

    fn apply(&self, mut image: DynamicImage) -> DynamicImage {
        image.apply_orientation(self.orientation);
        match &self.profile {
            Some(profile) if image.color().has_alpha() => {
                let plain = DynamicImage::from(divide_colours_by_alpha(&image));
                multiply_colours_by_alpha(colour::to_srgb(plain, profile).into_rgba8())
            }
            Some(profile) => colour::to_srgb(image, profile),
            None => image,
        }
    }
}

/// Reads the header of a picture. Rejects a picture that exceeds the limits even for pictures that are not decoded.
fn open(bytes: &[u8], format: ImageFormat, limits: &Limits) -> Result<Picture<impl ImageDecoder>, Rejection> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut allowed = image::Limits::default();
    allowed.max_alloc = Some(limits.max_memory);
    reader.limits(allowed);
    let factor = if format == ImageFormat::Jpeg { UNDECODED_FACTOR } else { 1 };
    let max_undecoded = limits.max_pixels.saturating_mul(factor);
    let too_many = Rejection::TooManyPixels { allowed: max_undecoded };
    let mut decoder = reader.into_decoder().map_err(|error| rejection(&error, &too_many))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    // Memory in bytes for the decoded picture, and for a copy with eight bits for each colour and alpha.
    let memory = decoder.total_bytes().saturating_add(pixels * 4);
    if pixels == 0 {
        return Err(Rejection::Unreadable);
    }
    if pixels > max_undecoded {
        return Err(too_many);
    }
    // Exif that cannot be read is ignored.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let is_decodable = pixels <= limits.max_pixels && memory <= limits.max_memory;
    Ok(Picture { decoder, orientation, is_decodable })
}

fn rejection(error: &ImageError, too_many: &Rejection) -> Rejection {
    if matches!(error, ImageError::Limits(_)) { too_many.clone() } else { Rejection::Unreadable }
}

/// Decodes a picture and multiplies its colours by alpha. Otherwise scaling would mix colours of transparent pixels
/// into visible pixels.
fn decode(decoder: impl ImageDecoder) -> Result<DynamicImage, Rejection> {
    let image = DynamicImage::from_decoder(decoder).map_err(|_| Rejection::Unreadable)?;
    if !image.color().has_alpha() {
        return Ok(image.into_rgb8().into());
    }
    Ok(multiply_colours_by_alpha(image.into_rgba8()))
}

fn multiply_colours_by_alpha(mut image: RgbaImage) -> DynamicImage {
    for pixel in image.pixels_mut() {
        let [red, green, blue, alpha] = pixel.0;
        if alpha < u8::MAX {
            pixel.0 =
                [multiply_by_alpha(red, alpha), multiply_by_alpha(green, alpha), multiply_by_alpha(blue, alpha), alpha];
        }
    }
    image.into()
}

fn multiply_by_alpha(colour: u8, alpha: u8) -> u8 {
    u8::try_from((u16::from(colour) * u16::from(alpha) + 127) / 255).unwrap_or(u8::MAX)
}

fn divide_by_alpha(colour: u8, alpha: u8) -> u8 {
    let (colour, alpha) = (u16::from(colour), u16::from(alpha).max(1));
    u8::try_from((colour * 255 + alpha / 2) / alpha).unwrap_or(u8::MAX)
}

fn rotated_size((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    match orientation {
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (height, width),
        _ => (width, height),
    }
}

/// Scales a picture to each size, turns it upright, and converts its colours to sRGB. Only the largest thumbnail is
/// converted, so the conversion takes little memory. Each thumbnail is made from the next larger thumbnail.
/// The result has the order of `sides`.
fn thumbnails(
    image: DynamicImage,
    colours: &Colours,
    sides: &[(Size, u32)],
    deadline: Deadline,
) -> Result<Vec<(Size, DynamicImage)>, Rejection> {
    let mut thumbnails: Vec<(Size, DynamicImage)> = Vec::with_capacity(sides.len());
    let mut whole = Some(image);
    for (size, longest) in sides.iter().rev() {
        let smaller = match (thumbnails.last(), whole.take()) {
            (Some((_, above)), _) => shrink(above, *longest),
            (None, Some(whole)) => colours.apply(shrink(&whole, *longest)),
            (None, None) => return Err(Rejection::Unreadable),
        };
        thumbnails.push((*size, smaller));
        deadline.check()?;
    }
    thumbnails.reverse();
    Ok(thumbnails)
}

fn shrink(image: &DynamicImage, longest: u32) -> DynamicImage {
    let (width, height) = (image.width(), image.height());
    let (new_width, new_height) = fit(width, height, longest);
    if (new_width, new_height) == (width, height) {
        return image.clone();
    }
    // If one side shrinks to less than half, averaging scales the picture first, which is fast. Then a better filter
    // completes the scaling, which takes four times the memory. One side decides, because the other side of a long and
    // thin picture might not shrink.
    if width / 2 > new_width || height / 2 > new_height {
        let half_scaled = image.thumbnail_exact((new_width * 2).min(width), (new_height * 2).min(height));
        return half_scaled.resize_exact(new_width, new_height, FilterType::CatmullRom);
    }
    image.resize_exact(new_width, new_height, FilterType::CatmullRom)
}

fn fit(width: u32, height: u32, longest: u32) -> (u32, u32) {
    let side = width.max(height);
    let scaled = |length: u32| {
        let length = (u64::from(length) * u64::from(longest) + u64::from(side) / 2) / u64::from(side);
        u32::try_from(length).unwrap_or(longest).max(1)
    };
    if side <= longest { (width, height) } else { (scaled(width), scaled(height)) }
}

/// Divides the colours by alpha, which reverses the multiplication in `decode`.
fn divide_colours_by_alpha(image: &DynamicImage) -> RgbaImage {
    let mut image = image.to_rgba8();
    for pixel in image.pixels_mut() {
        let [red, green, blue, alpha] = pixel.0;
        if alpha < u8::MAX {
            pixel.0 = [divide_by_alpha(red, alpha), divide_by_alpha(green, alpha), divide_by_alpha(blue, alpha), alpha];
        }
    }
    image
}

fn encode(images: &[(Size, DynamicImage)], deadline: Deadline) -> Result<Vec<Thumbnail>, Rejection> {
    let encode = |(size, image): &(Size, DynamicImage)| {
        let (width, height) = (image.width(), image.height());
        let bytes = match image {
            DynamicImage::ImageRgb8(image) => {
                webp::Encoder::from_rgb(image, width, height).encode_simple(false, QUALITY)
            }
            other => {
                webp::Encoder::from_rgba(&divide_colours_by_alpha(other), width, height).encode_simple(false, QUALITY)
            }
        };
        deadline.check()?;
        let bytes = bytes.map_err(|_| Rejection::Unreadable)?.to_vec();
        Ok(Thumbnail { size: *size, content_type: "image/webp", width, height, bytes })
    };
    images.iter().map(encode).collect()
}

/// Computes the blurhash of a picture on a white background.
fn blurhash(image: &DynamicImage) -> Result<String, Rejection> {
    let mut image = image.to_rgba8();
    for pixel in image.pixels_mut() {
        let white = u8::MAX - pixel.0[3];
        pixel.0 = pixel.0.map(|colour| colour.saturating_add(white));
    }
    let (across, down) = BLURHASH_COMPONENTS;
    blurhash::encode(across, down, image.width(), image.height(), &image).map_err(|_| Rejection::Unreadable)
}
