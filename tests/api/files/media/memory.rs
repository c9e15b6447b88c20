//! Memory use of file inspection with the default settings. Each file is inspected in a separate process, which then
//! reports its peak memory. Only Linux has this value, in /proc/self/status.

#![cfg(target_os = "linux")]

use std::env;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _};
use parlance::config::Media;
use parlance::media::{Limits, inspect};
use tempfile::NamedTempFile;

use super::{bytes_of, file, sized_box};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// Maximum memory in bytes that the inspection of a recording may use.
const RECORDING: usize = 128 * MIB;

/// Names of the environment variables with the path of the file to inspect, and with the declared type.
const FILE: &str = "TEST_MEDIA_FILE";
const TYPE: &str = "TEST_MEDIA_TYPE";

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    media: Media,
}

/// The verdict on a file, and the memory that its inspection used.
struct Seen {
    verdict: String,
    bytes: usize,
}

#[test]
#[ignore = "the other tests of this file run it, each in its own process"]
fn child_process_inspects_the_file_of_the_environment() {
    let (Ok(path), Ok(declared)) = (env::var(FILE), env::var(TYPE)) else { return };
    let limits = Limits::new(&Settings::parse_from(["test"]).media, 32 * MIB as u64);
    // Other tests check the time limit. In this test a slow machine must not change the verdict.
    let limits = Limits { max_work: Duration::from_mins(5), ..limits };
    let before = process_status_kib("VmRSS:");
    let verdict = inspect(Path::new(&path), &declared, &limits).map(|found| found.duration);
    println!("took {} KiB: {verdict:?}", process_status_kib("VmHWM:").saturating_sub(before));
}

/// Reads a field of /proc/self/status, in KiB.
fn process_status_kib(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn inspect_in_process(file: &NamedTempFile, declared: &str) -> Seen {
    let mut process = Command::new(env::current_exe().unwrap());
    process.args([
        "files::media::memory::child_process_inspects_the_file_of_the_environment",
        "--exact",
        "--ignored",
        "--nocapture",
    ]);
    let output = process.env(FILE, file.path()).env(TYPE, declared).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, told) = text.split_once("took ").unwrap_or_else(|| panic!("exited with {}: {text}", output.status));
    let (kib, verdict) = told.split_once(" KiB: ").unwrap();
    Seen { verdict: verdict.lines().next().unwrap().to_owned(), bytes: kib.parse::<usize>().unwrap() * KIB }
}

#[track_caller]
fn assert_unreadable(bytes: &[u8], declared: &str) {
    let seen = inspect_in_process(&file(bytes), declared);
    assert!(seen.verdict.contains("Unreadable"), "{}", seen.verdict);
    assert!(seen.bytes < RECORDING, "{} bytes", seen.bytes);
}

/// Asserts that inspecting the file uses less memory than `RECORDING`. Ignores the verdict.
#[track_caller]
fn assert_little_memory(bytes: &[u8], declared: &str) {
    let seen = inspect_in_process(&file(bytes), declared);
    assert!(seen.bytes < RECORDING, "{} bytes: {}", seen.bytes, seen.verdict);
}

/// Returns a fragmented MP4 with a minimal header and `tracks` copies of the same track.
fn in_fragments(tracks: u32) -> Vec<u8> {
    let sample = bytes_of("fragmented.mp4");
    let part = |kind: &[u8; 4]| {
        let at = sample.windows(4).position(|bytes| bytes == kind).unwrap() - 4;
        let length = u32::from_be_bytes(sample[at..at + 4].try_into().unwrap());
        sample[at..at + length as usize].to_vec()
    };
    // Writes the track number into the box of this kind, after `skipped` bytes of its content.
    let numbered = |part: &[u8], kind: &[u8; 4], skipped: usize, number: u32| {
        let mut part = part.to_vec();
        let at = part.windows(4).position(|bytes| bytes == kind).unwrap() + 4 + skipped;
        part[at..at + 4].copy_from_slice(&number.to_be_bytes());
        part
    };
    let (track, extends) = (part(b"trak"), part(b"trex"));
    let all: Vec<u8> = (1..=tracks).flat_map(|number| numbered(&track, b"tkhd", 12, number)).collect();
    let extends: Vec<u8> = (1..=tracks).flat_map(|number| numbered(&extends, b"trex", 4, number)).collect();
    let movie = [part(b"mvhd"), all, sized_box(*b"mvex", &extends)].concat();
    [part(b"ftyp"), sized_box(*b"moov", &movie)].concat()
}

/// Returns an MP4 fragment that contains these boxes for the first track.
fn fragment(boxes: &[u8]) -> Vec<u8> {
    let header = sized_box(*b"mfhd", &[0; 8]);
    if boxes.is_empty() {
        return sized_box(*b"moof", &header);
    }
    let track = [sized_box(*b"tfhd", &[0, 0, 0, 0, 0, 0, 0, 1]), boxes.to_vec()].concat();
    sized_box(*b"moof", &[header, sized_box(*b"traf", &track)].concat())
}

fn run(samples: u32) -> Vec<u8> {
    sized_box(*b"trun", &[[0; 4], samples.to_be_bytes()].concat())
}

#[test]
fn empty_fragments_use_bounded_memory() {
    for tracks in [1, 16, 64] {
        let empty = fragment(&[]);
        let hostile = [in_fragments(tracks), empty.repeat(16 * MIB / empty.len())].concat();
        assert_unreadable(&hostile, "video/mp4");
    }
    // These files have almost as many fragments as the limit allows.
    assert_little_memory(&[in_fragments(1), fragment(&[]).repeat(230_000)].concat(), "video/mp4");
    assert_little_memory(&[in_fragments(16), fragment(&[]).repeat(77_000)].concat(), "video/mp4");
}

#[test]
fn fragments_in_an_open_ended_box_count_towards_the_fragment_limit() {
    let fragments = fragment(&[]).repeat(300_000);
    for kind in [b"free", b"mdat", b"moof"] {
        let hostile = [in_fragments(16), b"\0\0\0\0".to_vec(), kind.to_vec(), fragments.clone()].concat();
        assert_unreadable(&hostile, "video/mp4");
    }
}

#[test]
fn sample_runs_count_towards_the_fragment_limit() {
    let hostile = [in_fragments(1), fragment(&run(0).repeat(MIB))].concat();
    assert_unreadable(&hostile, "video/mp4");
    assert_little_memory(&[in_fragments(1), fragment(&run(0).repeat(480_000))].concat(), "video/mp4");
    // These runs declare 2^32 - 1 samples each. A parser would iterate over all samples.
    let hostile = [in_fragments(1), fragment(&run(u32::MAX).repeat(100))].concat();
    assert_unreadable(&hostile, "video/mp4");
}

#[test]
fn mp4_tags_use_bounded_memory() {
    let value = sized_box(*b"data", &[0, 0, 0, 1, 0, 0, 0, 0, b'x']);
    let tag = sized_box(*b"\xa9nam", &value);
    let with = |tags: usize| {
        let list = sized_box(*b"ilst", &tag.repeat(tags));
        let meta = sized_box(*b"udta", &sized_box(*b"meta", &[vec![0; 4], list].concat()));
        let movie = in_fragments(1);
        let at = movie.windows(4).position(|bytes| bytes == b"moov").unwrap();
        [&movie[..at - 4], &sized_box(*b"moov", &[&movie[at + 4..], &meta].concat())].concat()
    };
    assert_little_memory(&with(15 * MIB / tag.len()), "video/mp4");
}

/// Returns the content of an Ogg or FLAC comment block with `many` comments.
fn comments(many: usize) -> Vec<u8> {
    let comment = b"\x03\0\0\0a=b";
    [b"\0\0\0\0".as_slice(), &u32::try_from(many).unwrap().to_le_bytes(), &comment.repeat(many)].concat()
}

#[test]
fn flac_comments_use_bounded_memory() {
    let sample = bytes_of("voice.flac");
    // The signature, a block header of 4 bytes, and the first block of 34 bytes.
    let (head, rest) = sample.split_at(4 + 4 + 34);
    for many in [500_000, 2_300_000] {
        let comments = comments(many);
        let length = u32::try_from(comments.len()).unwrap().to_be_bytes();
        let hostile = [head, &[4], &length[1..], &comments, rest].concat();
        assert_little_memory(&hostile, "audio/flac");
    }
}

/// Returns a page of the Ogg stream of voice.ogg (RFC 3533, section 6).
fn page(number: u32, continued: bool, content: &[u8], ends: bool) -> Vec<u8> {
    let mut lacing = vec![255; content.len() / 255];
    if ends {
        lacing.push(u8::try_from(content.len() % 255).unwrap());
    }
    let stream = &bytes_of("voice.ogg")[14..18];
    let position = if ends { [0; 8] } else { [255; 8] };
    let flags = u8::from(continued);
    let head = [b"OggS\0", [flags].as_slice(), &position, stream, &number.to_le_bytes(), &[0; 4]].concat();
    let mut page = [&head, [u8::try_from(lacing.len()).unwrap()].as_slice(), &lacing, content].concat();
    let sum = page.iter().fold(0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| {
            if sum & 0x8000_0000 == 0 { sum << 1 } else { sum << 1 ^ 0x04c1_1db7 }
        })
    });
    page[22..26].copy_from_slice(&sum.to_le_bytes());
    page
}

#[test]
fn ogg_comments_use_bounded_memory() {
    let sample = bytes_of("voice.ogg");
    let (first, rest) = (&sample[..47], &sample[47 + 90..]);
    for many in [500_000, 2_300_000] {
        let tags = [b"OpusTags".to_vec(), comments(many)].concat();
        let pieces: Vec<_> = tags.chunks(255 * 254).collect();
        let pages = pieces
            .iter()
            .zip(1..)
            .map(|(piece, number)| page(number, number > 1, piece, usize::try_from(number).unwrap() == pieces.len()));
        let hostile = [first, &pages.flatten().collect::<Vec<_>>(), rest].concat();
        assert_little_memory(&hostile, "audio/ogg");
    }
}

#[test]
fn webm_tags_use_bounded_memory() {
    let bytes = bytes_of("voice.webm");
    let segment = bytes.windows(4).position(|part| part == [0x18, 0x53, 0x80, 0x67]).unwrap();
    // An empty tag has 3 bytes, but a parser uses 72 bytes of memory for it.
    let with = |tags: usize| {
        let tags = b"\x73\x73\x80".repeat(tags);
        let length = u32::try_from(tags.len()).unwrap().to_be_bytes();
        let tags = [b"\x12\x54\xc3\x67\x01\0\0\0".as_slice(), &length, &tags].concat();
        [&bytes[..segment + 12], &tags, &bytes[segment + 12..]].concat()
    };
    // A file with large headers, such as embedded fonts, is accepted without being read completely.
    assert_little_memory(&with(7 * MIB), "audio/webm");
    assert_little_memory(&with(600 * KIB), "audio/webm");
}

/// The file has many INFO chunks of 8 bytes each. A parser stores each chunk as a tag.
#[test]
fn wav_tags_use_bounded_memory() {
    let chunk = |kind: &[u8; 4], content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        [kind, length.as_slice(), content].concat()
    };
    let format = chunk(b"fmt ", &[1, 0, 1, 0, 0x80, 0xbb, 0, 0, 0, 0x77, 1, 0, 2, 0, 16, 0]);
    let with = |tags: usize| {
        let info = chunk(b"LIST", &[b"INFO".to_vec(), chunk(b"INAM", b"").repeat(tags)].concat());
        chunk(b"RIFF", &[b"WAVE".to_vec(), format.clone(), info, chunk(b"data", &[0; 9600])].concat())
    };
    assert_unreadable(&with(2_000_000), "audio/wav");
    assert_little_memory(&with(200_000), "audio/wav");
}

/// Creates a black PNG of this size. The decoded pixels fit into MEDIA_MAX_MEMORY.
fn black(width: u32, height: u32) -> NamedTempFile {
    let picture = NamedTempFile::new().unwrap();
    let pixels = vec![0; width as usize * height as usize];
    let to = BufWriter::new(File::create(picture.path()).unwrap());
    let encoder = PngEncoder::new_with_quality(to, CompressionType::Fast, FilterType::NoFilter);
    encoder.write_image(&pixels, width, height, ExtendedColorType::L8).unwrap();
    picture
}

#[test]
fn a_picture_one_pixel_wide_or_high_stays_within_the_memory_limit() {
    let media = Settings::parse_from(["test"]).media;
    let most = u32::try_from(media.media_max_pixels).unwrap();
    for (width, height) in [(most, 1), (1, most)] {
        let seen = inspect_in_process(&black(width, height), "image/png");
        assert!(seen.verdict.starts_with("Ok"), "{width} by {height}: {}", seen.verdict);
        assert!(seen.bytes as u64 <= media.media_max_memory, "{width} by {height}: {} bytes", seen.bytes);
    }
}
