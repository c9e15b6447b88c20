//! Hostile files: inspection uses bounded time and memory, and does not panic.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use parlance::media::{Error, Limits, Rejection, inspect, square};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::{PICTURES, VIDEOS, VOICES, bytes_of, file, inspected, limits, rejected, sized_box, try_inspect};
use crate::support::ALLOWANCE;

/// Returns a PNG chunk with a valid checksum.
fn chunk(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let crc = !kind.iter().chain(content).fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
    });
    let length = u32::try_from(content.len()).unwrap();
    [&length.to_be_bytes(), kind.as_slice(), content, &crc.to_be_bytes()].concat()
}

fn bomb(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes(), &height.to_be_bytes(), b"\x08\x06\0\0\0".as_slice()].concat();
    let data = chunk(*b"IDAT", &[0x78, 0x9c, 0x63, 0, 0]);
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(*b"IHDR", &header), data, chunk(*b"IEND", b"")].concat()
}

#[test]
fn an_empty_file_is_rejected() {
    for declared in ["image/png", "application/octet-stream", "text/plain", "audio/ogg"] {
        assert_eq!(rejected(b"", declared), Rejection::Empty);
    }
}

#[test]
fn a_decompression_bomb_is_rejected_by_its_header() {
    let started = Instant::now();
    let too_many = Rejection::TooManyPixels { allowed: limits().max_pixels };
    assert_eq!(rejected(&bomb(50_000, 50_000), "image/png"), too_many);
    assert_eq!(rejected(&bomb(1, 1_000_001), "image/png"), too_many);
    assert_eq!(rejected(&bomb(u32::MAX >> 1, u32::MAX >> 1), "image/png"), too_many);
    let result = square(file(&bomb(50_000, 50_000)).path(), &limits());
    assert!(matches!(result, Err(Error::Rejected(rejection)) if rejection == too_many));
    // This GIF has the largest possible screen and a frame of one pixel.
    let gif = b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;";
    assert_eq!(rejected(gif, "image/gif"), too_many);
    assert!(started.elapsed() < Duration::from_secs(2) + ALLOWANCE);
}

#[test]
fn a_picture_above_the_size_limit_is_rejected() {
    let bytes = [bytes_of("portrait.png"), vec![0; 1024 * 1024]].concat();
    assert_eq!(rejected(&bytes, "image/png"), Rejection::TooLarge { allowed: limits().max_picture_bytes });
}

#[test]
fn truncated_pictures_are_rejected() {
    for (name, content_type) in [("portrait.png", "image/png"), ("portrait.webp", "image/webp")] {
        let bytes = bytes_of(name);
        assert_eq!(rejected(&bytes[..40], content_type), Rejection::Unreadable, "{name}");
        assert_eq!(rejected(&bytes[..bytes.len() / 4], content_type), Rejection::Unreadable, "{name}");
    }
    assert_eq!(rejected(&bytes_of("portrait.jpg")[..40], "image/jpeg"), Rejection::Unreadable);
    assert_eq!(rejected(b"GIF89a", "image/gif"), Rejection::Unreadable);
}

#[test]
fn html_hidden_in_a_gif_is_removed() {
    let page = b"<script>alert(1)</script>";
    // The file starts a JavaScript comment: `/*` after the signature is read as a screen of 10799 by 42 pixels.
    let script = [b"GIF89a/*\x2a\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;*/=1;".as_slice(), page].concat();
    // This file contains HTML in a GIF comment and after the trailer.
    let hidden = [
        b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0!\xfe\x19".as_slice(),
        page,
        b"\0,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;",
        page,
    ]
    .concat();
    for polyglot in [script, hidden] {
        for declared in ["image/gif", "text/html", "text/javascript"] {
            let Ok(found) = try_inspect(&polyglot, declared) else { continue };
            assert_eq!(found.content_type, "image/gif");
            let cleaned = found.cleaned.expect("the HTML was not removed");
            assert!(!cleaned.windows(7).any(|part| part == b"<script"));
        }
    }
    let page_first = [page.as_slice(), b"GIF89a"].concat();
    assert!(matches!(rejected(&page_first, "image/gif"), Rejection::TypeDiffers { .. }));
}

#[test]
fn inspection_stops_after_max_work() {
    let limits = Limits { max_work: Duration::ZERO, ..limits() };
    for (name, declared) in [
        ("portrait.png", "image/png"),
        ("voice.ogg", "audio/ogg"),
        ("portrait.mp4", "video/mp4"),
        ("voice.mp3", "audio/mpeg"),
    ] {
        let result = inspect(file(&bytes_of(name)).path(), declared, &limits);
        assert!(matches!(result, Err(Error::Rejected(Rejection::TooSlow))), "{name}: {result:?}");
    }
}

#[test]
fn declared_sizes_beyond_the_file_allocate_no_memory() {
    let started = Instant::now();
    let brand = sized_box(*b"ftyp", b"isom\0\0\0\0isom");
    // A box of 20 bytes that declares 2^32 - 1 samples.
    let table = sized_box(*b"stsz", &[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    let nested =
        [b"stbl", b"minf", b"mdia", b"trak", b"moov"].iter().fold(table, |inner, kind| sized_box(**kind, &inner));
    assert_eq!(rejected(&[brand.clone(), nested].concat(), "video/mp4"), Rejection::Unreadable);
    // A header of 17 MiB, above the limit.
    let header = sized_box(*b"moov", &vec![0; 17 * 1024 * 1024]);
    assert_eq!(rejected(&[brand.clone(), header].concat(), "video/mp4"), Rejection::Unreadable);
    // A box whose size is smaller than its header, and a box whose 64-bit size overflows.
    let endless = [brand.clone(), b"\0\0\0\x04free".to_vec()].concat();
    assert_eq!(rejected(&endless, "video/mp4"), Rejection::Unreadable);
    let wraps = [brand, b"\0\0\0\x01free\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()].concat();
    assert_eq!(rejected(&wraps, "video/mp4"), Rejection::Unreadable);
    // A Matroska file whose first element declares an enormous length.
    let mut matroska = bytes_of("voice.webm")[..40].to_vec();
    matroska.extend(b"\x15\x49\xa9\x66\x01\x0f\xff\xff\xff\xff\xff\xff\x4d\x80\x01\x0f\xff\xff\xff\xff\xff\xff");
    assert_eq!(rejected(&matroska, "video/webm"), Rejection::Unreadable);
    assert!(started.elapsed() < Duration::from_secs(5) + ALLOWANCE);
}

fn samples() -> Vec<(&'static str, &'static str)> {
    [PICTURES.as_slice(), &VOICES, &VIDEOS].concat()
}

/// The first bytes of each format, with its content type.
const MAGIC: [(&[u8], &str); 14] = [
    (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "image/jpeg"),
    (b"\xff\xd8\xff\xc0\0\x11\x08", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x08\0\0\0\x08\x08\x06\0\0\0", "image/png"),
    (b"GIF89a\x08\0\x08\0\x80\0\0", "image/gif"),
    (b"RIFF\0\x01\0\0WEBPVP8X\x0a\0\0\0", "image/webp"),
    (b"RIFF\0\x01\0\0WEBPVP8L", "image/webp"),
    (b"\0\0\0\x10ftypisom\0\0\0\0", "video/mp4"),
    (b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff", "video/webm"),
    (b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0", "audio/ogg"),
    (b"ID3\x04\0\0\0\0\0\x10", "audio/mpeg"),
    (b"\xff\xfb\x90\x64", "audio/mpeg"),
    (b"RIFF\0\x01\0\0WAVEfmt \x10\0\0\0", "audio/wav"),
    (b"fLaC\0\0\0\x22", "audio/flac"),
    (b"\xff\xf1\x50\x80", "audio/aac"),
];

/// Inspects a file, and returns an error if the inspection panics or takes too long. Ignores the verdict. In production
/// the pool catches panics, but a test must report the parser that panics.
fn looked_into(bytes: &[u8], declared: &str) -> Result<(), TestCaseError> {
    let started = Instant::now();
    let outcome = catch_unwind(|| {
        let _ = try_inspect(bytes, declared);
        let _ = square(file(bytes).path(), &limits());
    });
    prop_assert!(outcome.is_ok(), "a panic on {} bytes as {}", bytes.len(), declared);
    prop_assert!(started.elapsed() < Duration::from_secs(10), "{declared} took {:?}", started.elapsed());
    Ok(())
}

/// Seed of the random cases. The seed is fixed, so that the same commit always tests the same cases.
const SEED: u64 = 13;

/// Returns the settings of proptest: 300 cases from `SEED`. PROPTEST_CASES changes the number of cases, and
/// PROPTEST_RNG_SEED the seed.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 300;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_bytes_after_each_magic_number_cause_no_panic(
        which in 0..MAGIC.len(),
        rest in prop::collection::vec(any::<u8>(), 0..2048),
    ) {
        let (magic, declared) = MAGIC[which];
        looked_into(&[magic, &rest].concat(), declared)?;
    }

    #[test]
    fn damaged_files_cause_no_panic(
        (name, declared) in prop::sample::select(samples()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = bytes_of(name);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if !whole {
            bytes.truncate(end.index(bytes.len()) + 1);
        }
        looked_into(&bytes, declared)?;
    }

    /// Parsers depend mostly on headers, but headers are small, so damage at random places rarely changes a header.
    #[test]
    fn damaged_headers_cause_no_panic(
        (name, declared) in prop::sample::select(samples()),
        damage in prop::collection::vec((8_usize..600, prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xfe, 0xff])), 1..5),
    ) {
        let mut bytes = bytes_of(name);
        for (place, value) in damage {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
        }
        looked_into(&bytes, declared)?;
    }
}

#[test]
fn the_sample_files_match_their_declared_types() {
    for (name, declared) in samples() {
        inspected(&bytes_of(name), declared);
    }
}
