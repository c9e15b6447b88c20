//! Inspection of files. The tests create simple files themselves. Other files are in tests/media; its README describes
//! how these files were made.

mod colours;
mod documents;
mod hostile;
mod memory;
mod pictures;
mod pool;
mod recordings;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parlance::media::{Error, Inspected, Limits, Rejection, inspect};
use tempfile::NamedTempFile;

const PICTURES: [(&str, &str); 3] =
    [("portrait.jpg", "image/jpeg"), ("portrait.png", "image/png"), ("portrait.webp", "image/webp")];
/// Recordings of one second of silence followed by one second of a tone.
const VOICES: [(&str, &str); 8] = [
    ("voice.ogg", "audio/ogg"),
    ("voice.webm", "audio/webm"),
    ("voice.m4a", "audio/mp4"),
    ("fragmented.mp4", "audio/mp4"),
    ("voice.mp3", "audio/mpeg"),
    ("voice.flac", "audio/flac"),
    ("voice.aac", "audio/aac"),
    ("vorbis.ogg", "audio/ogg"),
];
const VIDEOS: [(&str, &str); 3] =
    [("portrait.mp4", "video/mp4"), ("landscape.mov", "video/quicktime"), ("video.webm", "video/webm")];

/// Returns limits that are lower than the defaults, so that small files exceed them.
fn limits() -> Limits {
    Limits {
        max_picture_bytes: 1024 * 1024,
        max_pixels: 1_000_000,
        max_frames: 20,
        max_memory: 16 * 1024 * 1024,
        max_waveform: Duration::from_mins(1),
        max_work: Duration::from_secs(20),
    }
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media").join(name)
}

fn bytes_of(name: &str) -> Vec<u8> {
    fs::read(sample(name)).unwrap()
}

fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn try_inspect(bytes: &[u8], declared: &str) -> Result<Inspected, Rejection> {
    inspect(file(bytes).path(), declared, &limits()).map_err(|error| match error {
        Error::Rejected(rejection) => rejection,
        other => panic!("{other:?}"),
    })
}

#[track_caller]
fn inspected(bytes: &[u8], declared: &str) -> Inspected {
    try_inspect(bytes, declared).unwrap()
}

#[track_caller]
fn rejected(bytes: &[u8], declared: &str) -> Rejection {
    try_inspect(bytes, declared).map(|found| format!("accepted as {}", found.content_type)).unwrap_err()
}

/// Returns an MP4 box: its size, its kind and its content.
fn sized_box(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 8).unwrap();
    [&length.to_be_bytes(), kind.as_slice(), content].concat()
}
