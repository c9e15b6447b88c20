//! Detects the type of a file from its content, and compares it with the declared type.

use image::ImageFormat;

use super::{Kind, Rejection};

/// The content type of a file whose content is unknown.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// The detected class of a file, which decides how the file is inspected.
pub enum Found {
    Picture(ImageFormat),
    Recording(Container),
    /// A file with this content type that is not inspected further.
    Other(String),
}

/// The audio and video formats that the server can read. Most of these formats can contain audio, video or both; the
/// tracks of a file show its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    Mp4,
    QuickTime,
    WebM,
    Matroska,
    Ogg,
    Mp3,
    Wav,
    Flac,
    Aac,
}

impl Container {
    /// Returns the content type of a file in this format. `video` is false for a file that contains only audio.
    pub fn content_type(self, video: bool) -> &'static str {
        match (self, video) {
            (Self::Mp4, true) => "video/mp4",
            (Self::Mp4 | Self::QuickTime, false) => "audio/mp4",
            (Self::QuickTime, true) => "video/quicktime",
            (Self::WebM, true) => "video/webm",
            (Self::WebM, false) => "audio/webm",
            (Self::Matroska, true) => "video/x-matroska",
            (Self::Matroska, false) => "audio/x-matroska",
            (Self::Ogg, true) => "video/ogg",
            (Self::Ogg, false) => "audio/ogg",
            (Self::Mp3, _) => "audio/mpeg",
            (Self::Wav, _) => "audio/wav",
            (Self::Flac, _) => "audio/flac",
            (Self::Aac, _) => "audio/aac",
        }
    }

    /// Returns the container for a canonical content type. None if the type is not a recording that the server can
    /// read.
    fn of_type(content_type: &str) -> Option<Self> {
        Some(match content_type {
            "video/mp4" | "audio/mp4" => Self::Mp4,
            "video/quicktime" => Self::QuickTime,
            "video/webm" | "audio/webm" => Self::WebM,
            "video/x-matroska" | "audio/x-matroska" => Self::Matroska,
            "video/ogg" | "audio/ogg" => Self::Ogg,
            "audio/mpeg" => Self::Mp3,
            "audio/wav" => Self::Wav,
            "audio/flac" => Self::Flac,
            "audio/aac" => Self::Aac,
            _ => return None,
        })
    }

    fn detect(head: &[u8]) -> Option<Self> {
        match head {
            // The major brand follows `ftyp` (ISO/IEC 14496-12, section 4.3). Files of some brands are pictures and not
            // recordings.
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.get(..4)? {
                b"qt  " => Some(Self::QuickTime),
                b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" | b"avif" | b"avis" | b"crx " => {
                    None
                }
                _ => Some(Self::Mp4),
            },
            // Older cameras wrote QuickTime files without a brand.
            [_, _, _, _, b'm', b'o', b'o', b'v', ..] => Some(Self::QuickTime),
            // EBML (RFC 8794, section 11.2). The DocType is within the first 64 bytes.
            [0x1a, 0x45, 0xdf, 0xa3, ..] => {
                let header = &head[..head.len().min(64)];
                let is = |name: &[u8]| header.windows(name.len()).any(|bytes| bytes == name);
                if is(b"webm") { Some(Self::WebM) } else { is(b"matroska").then_some(Self::Matroska) }
            }
            [b'O', b'g', b'g', b'S', ..] => Some(Self::Ogg),
            [b'I', b'D', b'3', 2..=4, ..] => Some(Self::Mp3),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'f', b'L', b'a', b'C', ..] => Some(Self::Flac),
            // AAC begins with twelve bits that are 1, and has layer 0 (ISO/IEC 13818-7, section 6.2). MP3 has another
            // layer (ISO/IEC 11172-3).
            [0xff, second, ..] if second & 0xf6 == 0xf0 => Some(Self::Aac),
            [0xff, second, third, ..] if second & 0xe6 == 0xe2 && third & 0xf0 != 0xf0 => Some(Self::Mp3),
            _ => None,
        }
    }
}

/// Whether browsers may show a file of this type inline instead of downloading it. True for formats of pictures, audio
/// and video that cannot run scripts.
pub fn is_inline_safe(content_type: &str) -> bool {
    const SAFE: [&str; 13] = [
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/webp",
        "video/mp4",
        "audio/mp4",
        "video/webm",
        "audio/webm",
        "video/ogg",
        "audio/ogg",
        "audio/mpeg",
        "audio/wav",
        "audio/x-m4a",
    ];
    SAFE.contains(&essence(content_type).as_str())
}

/// Returns the content type in lower case, without parameters, and with one name for all synonyms.
pub fn canonical(content_type: &str) -> String {
    let essence = essence(content_type);
    let name = match essence.as_str() {
        "" => OCTET_STREAM,
        "image/jpg" | "image/pjpeg" | "image/x-citrix-jpeg" => "image/jpeg",
        "image/x-png" | "image/apng" | "image/vnd.mozilla.apng" => "image/png",
        "image/heic-sequence" | "image/heif" | "image/heif-sequence" => "image/heic",
        "image/vnd.microsoft.icon" => "image/x-icon",
        "image/x-ms-bmp" | "image/x-bmp" => "image/bmp",
        "audio/mp3" | "audio/x-mp3" | "audio/x-mpeg" | "audio/mpeg3" => "audio/mpeg",
        "audio/x-wav" | "audio/wave" | "audio/vnd.wave" | "audio/x-pn-wav" => "audio/wav",
        "audio/m4a" | "audio/x-m4a" | "audio/mp4a-latm" | "audio/3gpp" | "audio/3gpp2" => "audio/mp4",
        "audio/x-flac" => "audio/flac",
        "audio/aacp" | "audio/x-aac" | "audio/x-hx-aac-adts" => "audio/aac",
        "audio/opus" | "application/ogg" => "audio/ogg",
        "audio/x-midi" | "audio/mid" => "audio/midi",
        "audio/x-aiff" => "audio/aiff",
        "audio/matroska" => "audio/x-matroska",
        "video/x-m4v" | "video/3gpp" | "video/3gpp2" => "video/mp4",
        "video/matroska" => "video/x-matroska",
        "video/avi" | "video/vnd.avi" | "video/msvideo" => "video/x-msvideo",
        "application/x-pdf" => "application/pdf",
        "application/x-zip" | "application/x-zip-compressed" => "application/zip",
        "application/x-gzip" => "application/gzip",
        "application/x-rar-compressed" | "application/x-rar" => "application/vnd.rar",
        other => other,
    };
    name.to_owned()
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns the kind of files with a canonical content type.
pub fn kind_of(content_type: &str) -> Kind {
    if picture_of_type(content_type).is_some() {
        return Kind::Image;
    }
    match Container::of_type(content_type) {
        Some(_) if content_type.starts_with("video/") => Kind::Video,
        Some(_) => Kind::Audio,
        None => Kind::File,
    }
}

fn picture_of_type(content_type: &str) -> Option<ImageFormat> {
    match content_type {
        "image/jpeg" => Some(ImageFormat::Jpeg),
        "image/png" => Some(ImageFormat::Png),
        "image/gif" => Some(ImageFormat::Gif),
        "image/webp" => Some(ImageFormat::WebP),
        _ => None,
    }
}

/// Detects the format of a picture. None if the file is not a picture that the server can read.
pub fn picture_format(head: &[u8]) -> Option<ImageFormat> {
    infer::get(head).and_then(|found| picture_of_type(found.mime_type()))
}

/// Detects the type of a file. The content of a picture or a recording that the server can read decides its type,
/// whatever type is declared. A file that is declared as such a picture or recording must be one. All other files are
/// only downloaded: if their types differ, the result is `application/octet-stream`.
///
/// A file that is declared as `application/octet-stream` is not inspected. Clients declare this type to send a picture
/// as a plain file.
pub fn detect(declared: &str, head: &[u8]) -> Result<Found, Rejection> {
    let declared = canonical(declared);
    if declared == OCTET_STREAM {
        return Ok(Found::Other(declared));
    }
    // The packets of a transport stream may contain no control characters.
    let text = is_text(head) && !is_transport_stream(head);
    // A text that is declared as the picture whose magic number it has is taken as a damaged picture.
    let expected = picture_of_type(&declared);
    let is_binary = !text || expected.is_some() && expected == picture_format(head);
    if is_binary && let Some(found) = readable(&declared, head) {
        return Ok(found);
    }
    let found = sniff(head, text);
    if expected.is_none() && Container::of_type(&declared).is_none() {
        let compatible = is_compatible(&declared, found.as_deref(), head, text);
        return Ok(Found::Other(if compatible { declared } else { OCTET_STREAM.to_owned() }));
    }
    match found {
        // Recordings keep their metadata, so another recording than the declared one is no risk for its sender. A
        // picture would keep metadata that the server removes from a picture of the declared type.
        Some(found) if is_recording(&declared) && is_recording(&found) => Ok(Found::Other(found)),
        found => {
            let unknown = if text { "text/plain" } else { "something else" };
            Err(Rejection::TypeDiffers { declared, found: found.unwrap_or_else(|| unknown.to_owned()) })
        }
    }
}

/// Detects a picture or a recording that the server can read.
fn readable(declared: &str, head: &[u8]) -> Option<Found> {
    if let Some(format) = picture_format(head) {
        return Some(Found::Picture(format));
    }
    let container = Container::detect(head)?;
    // MP3 and AAC are detected by two or three bytes, which a document may contain by chance.
    let is_certain = !matches!(container, Container::Mp3 | Container::Aac) || head.starts_with(b"ID3");
    (is_certain || is_recording(declared)).then_some(Found::Recording(container))
}

fn is_recording(content_type: &str) -> bool {
    content_type.starts_with("audio/") || content_type.starts_with("video/")
}

/// Whether a file begins like a text. The headers of pictures, recordings and other binary formats contain control
/// characters, which texts do not have, except for white space, backspace and escape. So a text may begin with the
/// magic number of such a format, if the number consists of letters, as GIF89a and BM do.
fn is_text(head: &[u8]) -> bool {
    head.iter().all(|byte| !matches!(byte, 0..=7 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f))
}

/// Whether the text is UTF-8, apart from a character that is cut off at the end.
fn is_utf8(head: &[u8]) -> bool {
    std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// Detects the type of any file by its magic number. None if no magic number is known, or if the magic number is too
/// short to be reliable. `text` is whether the file is a text.
fn sniff(head: &[u8], text: bool) -> Option<String> {
    // Formats whose files may be texts.
    const TEXTS: [&str; 6] =
        ["text/html", "text/xml", "text/x-shellscript", "application/pdf", "application/rtf", "application/postscript"];
    if is_svg(head) {
        return Some("image/svg+xml".to_owned());
    }
    if is_transport_stream(head) {
        return Some("video/mp2t".to_owned());
    }
    let found = canonical(infer::get(head)?.mime_type());
    if text {
        return TEXTS.contains(&found.as_str()).then_some(found);
    }
    let weak = ["application/x-x509-ca-cert", "application/x-executable", "audio/mpeg", "audio/aac"];
    if weak.contains(&found.as_str()) && !head.starts_with(b"\x7fELF") { None } else { Some(found) }
}

/// Whether a declared type is compatible with the detected type. Neither type is a picture or a recording that the
/// server can read.
fn is_compatible(declared: &str, found: Option<&str>, head: &[u8], text: bool) -> bool {
    // Files of these types are ZIP archives. The magic number does not show which of these types a file has.
    const ZIP: [&str; 9] = [
        "application/zip",
        "application/epub+zip",
        "application/java-archive",
        "application/vnd.android.package-archive",
        "application/vnd.openxmlformats-officedocument",
        "application/vnd.oasis.opendocument",
        "application/vnd.ms-excel",
        "application/vnd.ms-word",
        "application/vnd.ms-powerpoint",
    ];
    const OLE: [&str; 5] = [
        "application/x-ole-storage",
        "application/msword",
        "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
        "application/vnd.ms-outlook",
    ];
    const MARKUP: [&str; 4] = ["text/html", "text/xml", "text/x-shellscript", "image/svg+xml"];
    let both = |names: &[&str], found: &str| {
        names.iter().any(|name| declared.starts_with(name)) && names.iter().any(|name| found.starts_with(name))
    };
    let media = declared.starts_with("image/") || is_recording(declared);
    // Whether a file of the declared type may lack a magic number. This includes Excel files, because Windows declares
    // CSV files as Excel files.
    let free = !media && (!infer::is_mime_supported(declared) || declared == "application/vnd.ms-excel");
    match found {
        Some(found) if found == declared => true,
        // Markup, and a text that begins like a PDF, may be declared as any type of text, because browsers never show
        // these types inline. A PDF usually has bytes that are not UTF-8 in its first lines.
        Some(found) if MARKUP.contains(&found) || text && is_utf8(head) => match declared {
            "image/svg+xml" => is_svg(head),
            declared => free || !media && may_be_text(declared),
        },
        // The raw formats of cameras are based on TIFF, and have many different content types.
        Some("image/tiff") => {
            declared.starts_with("image/") && declared != "image/svg+xml" && !infer::is_mime_supported(declared)
        }
        Some(found) => {
            both(&ZIP, found)
                || both(&OLE, found)
                || free && !declared.starts_with("text/") && found.starts_with("application/")
        }
        None => free || declared.starts_with("text/"),
    }
}

/// Whether the file is an MPEG transport stream (ISO/IEC 13818-1, section 2.4.3): packets of 188 bytes, each of which
/// begins with the byte `SYNC`. Cameras put four bytes before each packet.
fn is_transport_stream(head: &[u8]) -> bool {
    const SYNC: u8 = 0x47;
    [(0, 188), (4, 192)].iter().any(|&(first, packet)| {
        let starts = head.iter().skip(first).step_by(packet).take(5);
        starts.clone().count() == 5 && starts.clone().all(|byte| *byte == SYNC)
    })
}

fn may_be_text(declared: &str) -> bool {
    const TEXT: [&str; 7] = ["json", "xml", "javascript", "ecmascript", "yaml", "x-sh", "sql"];
    declared.starts_with("text/")
        || declared.strip_prefix("application/").is_some_and(|name| TEXT.iter().any(|text| name.ends_with(text)))
}

/// Whether the file begins like an SVG document. A declaration, a doctype or a comment may precede the `svg` element.
fn is_svg(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with("<svg") || text.starts_with("<?xml") && text.contains("<svg") || {
        text.starts_with("<!doctype svg") || text.starts_with("<!--") && text.contains("<svg")
    }
}
