//! Inspects files: reads type, size and duration, and creates thumbnails, waveforms and copies of pictures without
//! metadata. This module does not know how files are stored. `Limits` bounds the time and the memory for each file,
//! whatever its content is.

mod boxes;
mod chunks;
mod colour;
mod content_type;
mod elements;
mod metadata;
mod nested;
mod pages;
mod picture;
mod pool;
mod recording;
mod source;
mod tracks;
mod waveform;

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::time::{Duration, Instant};

pub use content_type::is_inline_safe;
pub use picture::{BLURHASH_COMPONENTS, SQUARE_SIDES, THUMBNAIL_SIDES};
pub use pool::{MediaPool, Requester};
pub use waveform::WAVEFORM_PEAKS;

use crate::config;
use crate::fair::Refusal;
use content_type::Found;

/// Number of bytes at the beginning of a file from which its type is detected. Office documents need the most bytes.
const HEAD: u64 = 8192;

/// The kind of a file, which decides how clients show the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Image,
    Video,
    Audio,
    File,
}

impl Kind {
    /// Returns the kind for a declared content type, before the content of the file is known. Returns `File` for a type
    /// that is not inspected.
    pub fn of(content_type: &str) -> Self {
        content_type::kind_of(&content_type::canonical(content_type))
    }
}

/// Limits for the inspection of one file.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum number of bytes of a picture. A picture is read into memory as a whole.
    pub max_picture_bytes: u64,
    /// Maximum number of pixels of a picture that gets thumbnails.
    pub max_pixels: u64,
    /// Maximum number of frames of an animated picture.
    pub max_frames: u32,
    /// Maximum memory for a decoded picture, in bytes.
    pub max_memory: u64,
    /// Maximum duration of a recording that gets a waveform.
    pub max_waveform: Duration,
    /// Maximum time for the inspection of one file.
    pub max_work: Duration,
}

impl Limits {
    pub fn new(settings: &config::Media, max_picture_bytes: u64) -> Self {
        Self {
            max_picture_bytes,
            max_pixels: settings.media_max_pixels,
            max_frames: config::MEDIA_MAX_FRAMES,
            max_memory: settings.media_max_memory,
            max_waveform: config::MEDIA_MAX_WAVEFORM,
            max_work: config::MEDIA_TIMEOUT,
        }
    }
}

/// The result of the inspection of a file.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Content type in lower case, without parameters.
    pub content_type: String,
    pub kind: Kind,
    /// Displayed width and height in pixels, with the orientation of the camera applied.
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub duration: Option<Duration>,
    pub blurhash: Option<String>,
    /// `WAVEFORM_PEAKS` peaks from 0 to 100. The loudest peak is 100, except in a silent recording.
    pub waveform: Option<Vec<u8>>,
    /// For a picture, one thumbnail of each size. Empty for other files.
    pub thumbnails: Vec<Thumbnail>,
    /// The picture without metadata such as author and place. None if the file is not a picture, or if nothing was
    /// removed.
    pub cleaned: Option<Vec<u8>>,
}

impl Inspected {
    /// Returns the result for a file that is not inspected further.
    fn file(content_type: String) -> Self {
        Self {
            content_type,
            kind: Kind::File,
            width: None,
            height: None,
            duration: None,
            blurhash: None,
            waveform: None,
            thumbnails: Vec::new(),
            cleaned: None,
        }
    }
}

/// A scaled-down picture in WebP.
#[derive(Clone, Debug)]
pub struct Thumbnail {
    pub size: Size,
    pub content_type: &'static str,
    pub width: u32,
    pub height: u32,
    pub bytes: Vec<u8>,
}

/// Size of a thumbnail. `THUMBNAIL_SIDES` contains the longest side for each size, and `SQUARE_SIDES` for squares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    Small,
    Medium,
    Large,
}

/// Reason why a file is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    Empty,
    TypeDiffers {
        declared: String,
        found: String,
    },
    /// The picture has more than `allowed` bytes.
    TooLarge {
        allowed: u64,
    },
    TooManyPixels {
        allowed: u64,
    },
    TooManyFrames {
        allowed: u32,
    },
    TooSlow,
    Unreadable,
    NotAPicture,
    /// The scanner found a virus. The value is the name of the virus, as the scanner reports it.
    Infected(String),
}

impl Rejection {
    /// Returns the message for the user who sent the file.
    pub fn text(&self) -> String {
        match self {
            Self::Empty => "The file is empty.".to_owned(),
            Self::TypeDiffers { declared, found } => {
                format!("The declared content type is {declared}, but the file is {found}.")
            }
            Self::TooLarge { allowed } => format!("A picture may have at most {allowed} bytes."),
            Self::TooManyPixels { allowed } => {
                format!("A picture may have at most {allowed} pixels, and fewer if each takes much memory.")
            }
            Self::TooManyFrames { allowed } => {
                format!("An animated picture may have at most {allowed} frames, and fewer if they are large.")
            }
            Self::TooSlow => "The inspection of the file takes too long.".to_owned(),
            Self::Unreadable => "The file is damaged or incomplete.".to_owned(),
            Self::NotAPicture => "The file must be a JPEG, PNG, GIF or WebP picture.".to_owned(),
            Self::Infected(name) => format!("The virus scanner found {name} in the file."),
        }
    }
}

/// Reason why a file could not be inspected.
#[derive(Debug)]
pub enum Error {
    /// The content of the file is the cause, so a retry would fail again.
    Rejected(Rejection),
    /// The worker pool did not run the inspection.
    Refused(Refusal),
    /// The file could not be opened or read on this machine.
    Io(io::Error),
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The properties of a recording that its container tells, without the codecs.
#[derive(Debug, Default)]
struct Outline {
    /// Displayed width and height of the first video track whose size can be read.
    video: Option<(u32, u32)>,
    has_video: bool,
    has_sound: bool,
    duration: Option<Duration>,
}

/// Returns the displayed size of pixels whose width and height have the given ratio: the height stays. A ratio that
/// makes the picture wider than `MAX_SIDE` is ignored.
fn scaled((width, height): (u32, u32), ratio: (u64, u64)) -> (u32, u32) {
    /// Maximum width in pixels that formats of video can store.
    const MAX_SIDE: u128 = 65_535;
    let (of_width, of_height) = (u128::from(ratio.0), u128::from(ratio.1).max(1));
    let exact = (u128::from(width) * of_width + of_height / 2) / of_height;
    let shown = u32::try_from(exact).ok().filter(|_| (1..=MAX_SIDE).contains(&exact));
    (shown.unwrap_or(width), height)
}

/// The time by which work on a file must end.
#[derive(Clone, Copy, Debug)]
struct Deadline(Instant);

impl Deadline {
    fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    fn is_over(self) -> bool {
        Instant::now() >= self.0
    }

    fn check(self) -> Result<(), Rejection> {
        if self.is_over() { Err(Rejection::TooSlow) } else { Ok(()) }
    }
}

/// Inspects a file with the declared content type `declared`. Blocks the thread, so `MediaPool` calls this function on
/// a blocking thread.
pub fn inspect(path: &Path, declared: &str, limits: &Limits) -> Result<Inspected, Error> {
    let deadline = Deadline::after(limits.max_work);
    let (mut file, head) = open(path)?;
    match content_type::detect(declared, &head)? {
        Found::Picture(format) => {
            let bytes = read_picture(&mut file, limits)?;
            Ok(picture::inspect(&bytes, format, limits, deadline)?)
        }
        Found::Recording(container) => Ok(recording::inspect(file, container, limits, deadline)?),
        Found::Other(content_type) => Ok(Inspected::file(content_type)),
    }
}

/// Crops the middle of a picture to squares with the sides in `SQUARE_SIDES`. If the picture is smaller than a side,
/// the square is as large as the picture allows. Blocks the thread, like `inspect`.
pub fn square(path: &Path, limits: &Limits) -> Result<Vec<Thumbnail>, Error> {
    let deadline = Deadline::after(limits.max_work);
    let (mut file, head) = open(path)?;
    let format = content_type::picture_format(&head).ok_or(Rejection::NotAPicture)?;
    let bytes = read_picture(&mut file, limits)?;
    Ok(picture::square(&bytes, format, limits, deadline)?)
}

/// Reads the big-endian number of four bytes at offset `at`. None if fewer than four bytes follow.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Opens a file. Returns the file, positioned at its beginning, and the bytes from which its type is detected. Rejects
/// an empty file.
fn open(path: &Path) -> Result<(File, Vec<u8>), Error> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head)?;
    if head.is_empty() {
        return Err(Rejection::Empty.into());
    }
    file.rewind()?;
    Ok((file, head))
}

fn read_picture(file: &mut File, limits: &Limits) -> Result<Vec<u8>, Error> {
    let allowed = limits.max_picture_bytes;
    let mut bytes = Vec::new();
    file.take(allowed + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > allowed { Err(Rejection::TooLarge { allowed }.into()) } else { Ok(bytes) }
}
