//! Inspects files: type, size, duration, thumbnails, waveform, and pictures without metadata. Nothing here knows the
//! user or the storage of a file. Whatever the content of a file, time and memory are bounded: see `Limits`.

mod boxes;
mod content_type;
mod metadata;
mod picture;
mod pool;
mod recording;
mod source;
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

/// Bytes at the beginning of a file from which its type is detected. Office documents need the most.
const HEAD: u64 = 8192;

/// How clients show a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Image,
    Video,
    Audio,
    File,
}

impl Kind {
    /// The kind for a declared content type, before the bytes are known. `File` for a type that is not inspected.
    pub fn of(content_type: &str) -> Self {
        content_type::kind_of(&content_type::canonical(content_type))
    }
}

/// Limits for the inspection of one file.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum bytes of a picture, which is read into memory.
    pub max_picture_bytes: u64,
    /// Maximum pixels of a picture.
    pub max_pixels: u64,
    /// Maximum frames of an animated picture.
    pub max_frames: u32,
    /// Maximum bytes of memory for a decoded picture.
    pub max_memory: u64,
    /// Maximum duration of a recording that gets a waveform.
    pub max_waveform: Duration,
    /// Maximum time for one file.
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
    /// Pixels as shown, after the orientation of the camera is applied.
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub duration: Option<Duration>,
    pub blurhash: Option<String>,
    /// `WAVEFORM_PEAKS` peaks from 0 to 100. The loudest peak of a recording is 100.
    pub waveform: Option<Vec<u8>>,
    /// One thumbnail of each size for a picture. Empty for other files.
    pub thumbnails: Vec<Thumbnail>,
    /// The picture without metadata such as author and place. None if this is the same as the file.
    pub cleaned: Option<Vec<u8>>,
}

impl Inspected {
    /// A file that is not inspected further.
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

/// Size of a thumbnail. Its longest side is in `THUMBNAIL_SIDES`, or in `SQUARE_SIDES` for a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    Small,
    Medium,
    Large,
}

/// Why a file is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    Empty,
    TypeDiffers {
        declared: String,
        found: String,
    },
    /// A picture has more than the allowed bytes.
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
    /// The name of the virus, as the scanner reports it.
    Infected(String),
}

impl Rejection {
    /// The message for the user who sent the file.
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

/// Why a file could not be inspected.
#[derive(Debug)]
pub enum Error {
    /// The file is the cause, so a retry fails again.
    Rejected(Rejection),
    /// The worker pool did not run it.
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

/// Inspects a file. Blocks the thread, so `MediaPool` runs it on a thread of its pool.
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

/// Crops the middle of a picture to squares with sides of `SQUARE_SIDES`, or smaller if the picture is smaller.
pub fn square(path: &Path, limits: &Limits) -> Result<Vec<Thumbnail>, Error> {
    let deadline = Deadline::after(limits.max_work);
    let (mut file, head) = open(path)?;
    let format = content_type::picture_format(&head).ok_or(Rejection::NotAPicture)?;
    let bytes = read_picture(&mut file, limits)?;
    Ok(picture::square(&bytes, format, limits, deadline)?)
}

/// The big-endian number at an offset. None if it is not complete.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Opens a file. Returns it at its beginning, with the bytes from which its type is detected.
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
