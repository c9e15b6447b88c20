//! What a file is, and what it shows. A file goes in and facts come out; nothing here knows who sent it or where it is
//! kept. Whatever is in the file, it costs bounded time and memory: see `Limits`.

mod boxes;
mod content_type;
mod metadata;
mod picture;
mod recording;
mod source;
mod waveform;
mod workshop;

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::time::{Duration, Instant};

pub use content_type::is_inline_safe;
pub use picture::{BLURHASH_COMPONENTS, SQUARE_SIDES, THUMBNAIL_SIDES};
pub use waveform::WAVEFORM_PEAKS;
pub use workshop::{For, Workshop};

use crate::config;
use crate::fair::Refusal;
use content_type::Found;

/// Bytes from the beginning of a file that tell its type; the types of office documents need the most.
const HEAD: u64 = 8192;

/// How a file is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Image,
    Video,
    Audio,
    File,
}

impl Kind {
    /// By its declared type alone, before there are bytes. A type that nothing is read from is a file.
    pub fn of(content_type: &str) -> Self {
        content_type::kind_of(&content_type::canonical(content_type))
    }
}

/// What looking into one file may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a picture, which is read whole.
    pub max_picture_bytes: u64,
    /// Pixels of a picture.
    pub max_pixels: u64,
    /// Frames of an animated picture.
    pub max_frames: u32,
    /// Bytes that a picture takes when it is unpacked.
    pub max_memory: u64,
    /// Sound that a waveform is drawn of.
    pub max_waveform: Duration,
    /// All the time that may be spent on one file.
    pub max_work: Duration,
}

impl Limits {
    pub fn new(settings: &config::Media, max_picture_bytes: u64) -> Self {
        Self {
            max_picture_bytes,
            max_pixels: settings.media_max_pixels,
            max_frames: settings.media_max_frames,
            max_memory: settings.media_max_memory,
            max_waveform: settings.media_max_waveform,
            max_work: settings.media_timeout,
        }
    }
}

/// What was found in a file.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// What it is, in lower case and without parameters.
    pub content_type: String,
    pub kind: Kind,
    /// Pixels as they are shown, so after a camera's orientation.
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub duration: Option<Duration>,
    pub blurhash: Option<String>,
    /// `WAVEFORM_PEAKS` loudnesses from 0 to 100, the loudest of a recording being 100.
    pub waveform: Option<Vec<u8>>,
    /// One of each size for a picture; none for anything else.
    pub thumbnails: Vec<Thumbnail>,
    /// The picture without what it tells of its maker and place, where that differs from the file.
    pub cleaned: Option<Vec<u8>>,
}

impl Inspected {
    /// A file that nothing is read from.
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

/// A picture, scaled down. WebP.
#[derive(Clone, Debug)]
pub struct Thumbnail {
    pub size: Size,
    pub content_type: &'static str,
    pub width: u32,
    pub height: u32,
    pub bytes: Vec<u8>,
}

/// Its longest side is that of `THUMBNAIL_SIDES`, or of `SQUARE_SIDES` for a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    Small,
    Medium,
    Large,
}

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    Empty,
    TypeDiffers {
        declared: String,
        found: String,
    },
    /// Bytes of a picture.
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
    /// The name that the scanner gives it.
    Infected(String),
}

impl Rejection {
    /// For the person who sent it.
    pub fn text(&self) -> String {
        match self {
            Self::Empty => "The file is empty.".to_owned(),
            Self::TypeDiffers { declared, found } => format!("The file is called {declared} but is {found}."),
            Self::TooLarge { allowed } => format!("A picture may have {allowed} bytes at most."),
            Self::TooManyPixels { allowed } => {
                format!("A picture may have {allowed} pixels at most, and fewer where each takes much memory.")
            }
            Self::TooManyFrames { allowed } => {
                format!("An animated picture may have {allowed} frames at most, and fewer where they are large.")
            }
            Self::TooSlow => "It takes too long to look into the file.".to_owned(),
            Self::Unreadable => "The file is damaged or incomplete.".to_owned(),
            Self::NotAPicture => "This needs a JPEG, PNG, GIF or WebP picture.".to_owned(),
            Self::Infected(name) => format!("The virus scanner found {name} in the file."),
        }
    }
}

/// Why nothing was found out.
#[derive(Debug)]
pub enum Error {
    /// It is the file's fault, and will be again.
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

/// When work on a file has to be over.
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

/// Finds out what a file is. Blocks; `Workshop` does it beside other work.
pub fn inspect(path: &Path, declared: &str, limits: &Limits) -> Result<Inspected, Error> {
    let deadline = Deadline::after(limits.max_work);
    let (mut file, head) = open(path)?;
    match content_type::agree(declared, &head)? {
        Found::Picture(format) => {
            let bytes = read_picture(&mut file, limits)?;
            Ok(picture::inspect(&bytes, format, limits, deadline)?)
        }
        Found::Recording(container) => Ok(recording::inspect(file, container, limits, deadline)?),
        Found::Other(content_type) => Ok(Inspected::file(content_type)),
    }
}

/// The middle of a picture as squares with sides of `SQUARE_SIDES`, or less where the picture is smaller.
pub fn square(path: &Path, limits: &Limits) -> Result<Vec<Thumbnail>, Error> {
    let deadline = Deadline::after(limits.max_work);
    let (mut file, head) = open(path)?;
    let format = content_type::picture_format(&head).ok_or(Rejection::NotAPicture)?;
    let bytes = read_picture(&mut file, limits)?;
    Ok(picture::square(&bytes, format, limits, deadline)?)
}

/// The file at its beginning, and the bytes that tell its type.
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
