//! Content types: the declared type must match the content, and only safe types are shown inline.

use parlance::media::{Kind, Rejection, is_inline_safe};

use super::{bytes_of, inspected, rejected, try_inspect};

const PDF: &[u8] = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n";
const ZIP: &[u8] = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.txt";
const SVG: &[u8] = b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
const HTML: &[u8] = b"<!DOCTYPE html><script>alert(1)</script>";
const HEIC: &[u8] = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\0";
const AVI: &[u8] = b"RIFF\0\x01\0\0AVI LIST\0\0\0\0hdrlavih";
const MIDI: &[u8] = b"MThd\0\0\0\x06\0\x01\0\x01\0\x60MTrk";
const EXE: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

const TTF: &[u8] = b"\0\x01\0\0\0\x0c\0\x80\0\x03\0\x40";
const TIFF: &[u8] = b"II*\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Returns an MPEG transport stream of 40 packets with `packet` bytes each. The sync byte 0x47 of each packet is at the
/// offset `before`.
fn transport_stream(before: usize, packet: usize) -> Vec<u8> {
    let mut one = vec![0xff; packet];
    one[before] = 0x47;
    one.repeat(40)
}

#[test]
fn the_declared_type_determines_the_kind() {
    for (content_type, kind) in [
        ("image/jpeg", Kind::Image),
        ("image/jpg", Kind::Image),
        ("IMAGE/PNG", Kind::Image),
        ("image/heic", Kind::File),
        ("image/svg+xml", Kind::File),
        ("video/mp4", Kind::Video),
        ("video/webm;codecs=vp9,opus", Kind::Video),
        ("video/x-msvideo", Kind::File),
        ("audio/ogg; codecs=opus", Kind::Audio),
        ("audio/mp3", Kind::Audio),
        ("audio/midi", Kind::File),
        ("application/pdf", Kind::File),
        ("", Kind::File),
        ("nonsense", Kind::File),
    ] {
        assert_eq!(Kind::of(content_type), kind, "{content_type}");
    }
}

#[test]
fn documents_are_accepted_as_files_and_never_shown_inline() {
    for (bytes, declared, content_type) in [
        (PDF, "application/pdf", "application/pdf"),
        (ZIP, "application/zip", "application/zip"),
        (ZIP, "application/x-zip-compressed", "application/zip"),
        (
            ZIP,
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ),
        (ZIP, "application/java-archive", "application/java-archive"),
        (b"to whom it may concern", "text/plain; charset=utf-8", "text/plain"),
        (b"a,b\n1,2\n", "text/csv", "text/csv"),
        (b"{\"a\": 1}", "application/json", "application/json"),
        (HTML, "text/html", "text/html"),
        (HTML, "text/plain", "text/plain"),
        (SVG, "image/svg+xml", "image/svg+xml"),
        (SVG, "application/xml", "application/xml"),
        (b"alert(1)", "text/javascript", "text/javascript"),
        (HEIC, "image/heic", "image/heic"),
        (HEIC, "image/heif", "image/heic"),
        (AVI, "video/x-msvideo", "video/x-msvideo"),
        (b"whatever it is", "application/x-something", "application/x-something"),
        (b"whatever it is", "application/octet-stream", "application/octet-stream"),
        (EXE, "", "application/octet-stream"),
        (EXE, "application/x-something", "application/x-something"),
        (ZIP, "application/x-something", "application/x-something"),
        (SVG, "application/x-something", "application/x-something"),
        (b"a,b\n1,2\n", "application/vnd.ms-excel", "application/vnd.ms-excel"),
        (TTF, "font/ttf", "font/ttf"),
        (b"OTTO\0\x0a\0\x80\0\x03\0\x20", "font/otf", "font/otf"),
        (b"wOF2\0\x01\0\0\0\0\x01\0", "font/woff2", "font/woff2"),
        (ZIP, "model/3mf", "model/3mf"),
        (TIFF, "image/tiff", "image/tiff"),
        (TIFF, "image/x-adobe-dng", "image/x-adobe-dng"),
        (TIFF, "image/x-nikon-nef", "image/x-nikon-nef"),
        (&transport_stream(0, 188), "video/mp2t", "video/mp2t"),
        (&transport_stream(4, 192), "video/mp2t", "video/mp2t"),
    ] {
        let found = inspected(bytes, declared);
        assert_eq!((found.content_type.as_str(), found.kind), (content_type, Kind::File), "{declared}");
        assert!(!is_inline_safe(&found.content_type), "{declared} must not be shown inline");
        assert!(found.thumbnails.is_empty() && found.cleaned.is_none() && found.width.is_none());
    }
}

/// The server accepts the document, but replaces the wrong type, so that other clients do not get it.
#[test]
fn a_document_with_a_wrong_declared_type_becomes_octet_stream() {
    for (bytes, declared) in [
        // Browsers declare this type for TypeScript files, because video/mp2t also has the extension .ts.
        (b"export const answer: number = 42;".as_slice(), "video/mp2t"),
        (PDF, "application/zip"),
        (PDF, "text/plain"),
        (ZIP, "application/pdf"),
        (HTML, "application/pdf"),
        (HTML, "image/svg+xml"),
        (HTML, "audio/midi"),
        (SVG, "image/heic"),
        (HEIC, "text/plain"),
        (EXE, "text/plain"),
        (EXE, "image/x-adobe-dng"),
        (b"some text", "application/pdf"),
        (b"some text", "image/heic"),
        (b"some text", "image/x-adobe-dng"),
        (b"some text", "video/x-msvideo"),
    ] {
        let found = inspected(bytes, declared);
        assert_eq!((found.content_type.as_str(), found.kind), ("application/octet-stream", Kind::File), "{declared}");
    }
}

#[test]
fn a_picture_declared_as_octet_stream_is_not_changed() {
    let found = inspected(&bytes_of("portrait.jpg"), "application/octet-stream");
    assert_eq!((found.content_type.as_str(), found.kind), ("application/octet-stream", Kind::File));
    assert!(found.cleaned.is_none() && found.thumbnails.is_empty());
}

#[test]
fn the_content_of_a_picture_or_recording_decides_its_type() {
    for (name, content_type) in [
        ("portrait.jpg", "image/jpeg"),
        ("portrait.png", "image/png"),
        ("portrait.webp", "image/webp"),
        ("voice.ogg", "audio/ogg"),
        ("voice.flac", "audio/flac"),
        ("portrait.mp4", "video/mp4"),
        ("video.webm", "video/webm"),
    ] {
        let bytes = bytes_of(name);
        for declared in [
            "image/png",
            "image/jpeg",
            "image/gif",
            "image/heic",
            "image/x-adobe-dng",
            "audio/mpeg",
            "audio/midi",
            "video/mp4",
            "video/webm",
            "video/mp2t",
            "application/pdf",
            "application/zip",
            "application/x-something",
            "font/ttf",
            "text/plain",
            "text/html",
        ] {
            let found = inspected(&bytes, declared);
            assert_eq!(found.content_type, content_type, "{name} as {declared}");
            assert_ne!(found.kind, Kind::File, "{name} as {declared}");
        }
    }
    for (name, content_type) in [("voice.mp3", "audio/mpeg"), ("voice.aac", "audio/aac")] {
        for declared in ["audio/mp4", "audio/ogg", "audio/x-m4a", "video/mp4"] {
            assert_eq!(inspected(&bytes_of(name), declared).content_type, content_type, "{name} as {declared}");
        }
    }
}

#[test]
fn a_recording_that_the_server_cannot_read_keeps_the_type_of_its_content() {
    let stream = transport_stream(0, 188);
    for (bytes, declared, content_type) in [
        (AVI, "video/mp4", "video/x-msvideo"),
        (&stream, "video/mp4", "video/mp2t"),
        (MIDI, "audio/mpeg", "audio/midi"),
    ] {
        let found = inspected(bytes, declared);
        assert_eq!((found.content_type.as_str(), found.kind), (content_type, Kind::File), "{declared}");
        assert!(!is_inline_safe(content_type));
    }
}

#[test]
fn a_text_may_begin_with_the_magic_number_of_a_binary_format() {
    for text in [
        "GIF89a is a file format of 1989",
        "GIF87a came before it",
        "BM stands for bitmap",
        "BZh is how bzip2 begins",
        "MZ were the initials of Mark Zbikowski",
        "RIFF----WAVE and RIFF----AVI and RIFF----WEBP",
        "fLaC and OggS",
        "OggS and fLaC",
        "ID3 tags",
        "FWS, CWS: Flash",
        "the ftypisom box",
        "the moov atom",
        "8BPS is Photoshop",
        "II* and MM* are TIFF",
        "PK are the initials of Phil Katz",
        "Rar!",
        "7z is small",
        "SQLite format 3",
        "#!AMR",
        "MThd",
        "wOFF wOF2 OTTO",
        "%PDF-1.7 is the beginning of a PDF",
        "{\\rtf is the beginning of RTF",
        "%!PS is the beginning of PostScript",
        "GIF89a, en fran\u{e7}ais: \u{1b}[1mcouleurs\u{1b}[0m\r\n\x0c",
        "BM \u{1f680}",
    ] {
        for declared in ["text/plain", "text/markdown", "text/csv", "application/json"] {
            let found = inspected(text.as_bytes(), declared);
            assert_eq!((found.content_type.as_str(), found.kind), (declared, Kind::File), "{text}");
        }
        for declared in ["image/gif", "image/bmp", "image/jpeg", "audio/flac", "video/mp4"] {
            let refused = try_inspect(text.as_bytes(), declared);
            let kept = refused.is_ok_and(|found| found.content_type == declared);
            assert!(!kept, "{text} is no {declared}");
        }
    }
    // ISO 8859-1, and a text that is longer than the part from which the type is detected.
    let latin = b"GIF89a na\xefve".as_slice();
    let long = b"BM - a line\n".repeat(10_000);
    for text in [latin, &long] {
        assert_eq!(inspected(text, "text/plain").content_type, "text/plain");
    }
}

#[test]
fn a_file_that_is_not_the_declared_picture_or_recording_is_rejected() {
    for (bytes, declared) in [
        (PDF, "image/png"),
        (ZIP, "video/mp4"),
        (HTML, "image/gif"),
        (SVG, "image/png"),
        (HEIC, "image/jpeg"),
        (HEIC, "video/mp4"),
        (EXE, "image/jpeg"),
        (AVI, "image/jpeg"),
        (b"some text", "image/jpeg"),
        (b"some text", "audio/wav"),
        (b"GIF89a is a file format of 1989", "image/png"),
    ] {
        match try_inspect(bytes, declared) {
            Err(Rejection::TypeDiffers { found, .. }) => assert!(!found.is_empty() && found != declared),
            other => panic!("{declared}: {other:?}"),
        }
    }
    let text = rejected(HEIC, "image/jpeg").text();
    assert_eq!(text, "The declared content type is image/jpeg, but the file is image/heic.");
}

#[test]
fn only_pictures_audio_and_video_are_inline_safe() {
    for safe in [
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/webp",
        "video/mp4",
        "video/webm",
        "audio/ogg",
        "audio/mpeg",
        "audio/mp4",
        "audio/wav",
    ] {
        assert!(is_inline_safe(safe), "{safe}");
    }
    for unsafe_one in [
        "application/pdf",
        "image/svg+xml",
        "text/html",
        "text/xml",
        "application/xhtml+xml",
        "text/javascript",
        "text/plain",
        "",
        "image/jpegx",
    ] {
        assert!(!is_inline_safe(unsafe_one), "{unsafe_one}");
    }
}
