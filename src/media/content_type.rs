//! Detects the type of a file from its content, and compares it with the declared type.

use image::ImageFormat;

use super::{Kind, Rejection};

/// The type of a file about whose content nothing is claimed.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// The detected class of a file, which decides how it is read.
pub enum Found {
    Picture(ImageFormat),
    Recording(Container),
    /// A file of this type, which is not inspected further.
    Other(String),
}

/// The formats of audio and video that are read. Most can contain either; the tracks of a file show which.
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
    /// The content type of a file with video, or with audio only.
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

    /// The container for a canonical content type.
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
            // ISO/IEC 14496-12, section 4.3: the major brand. Some brands are pictures and not recordings.
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.get(..4)? {
                b"qt  " => Some(Self::QuickTime),
                b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" | b"avif" | b"avis" | b"crx " => {
                    None
                }
                _ => Some(Self::Mp4),
            },
            // Older cameras wrote QuickTime files without a brand.
            [_, _, _, _, b'm', b'o', b'o', b'v', ..] => Some(Self::QuickTime),
            // RFC 8794, section 11.2: EBML, whose DocType is within the first bytes.
            [0x1a, 0x45, 0xdf, 0xa3, ..] => {
                let header = &head[..head.len().min(64)];
                let is = |name: &[u8]| header.windows(name.len()).any(|bytes| bytes == name);
                if is(b"webm") { Some(Self::WebM) } else { is(b"matroska").then_some(Self::Matroska) }
            }
            [b'O', b'g', b'g', b'S', ..] => Some(Self::Ogg),
            [b'I', b'D', b'3', 2..=4, ..] => Some(Self::Mp3),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'f', b'L', b'a', b'C', ..] => Some(Self::Flac),
            // ISO/IEC 13818-7, section 6.2: twelve bits that are 1, and layer 0. ISO/IEC 11172-3 has the other layers.
            [0xff, second, ..] if second & 0xf6 == 0xf0 => Some(Self::Aac),
            [0xff, second, third, ..] if second & 0xe6 == 0xe2 && third & 0xf0 != 0xf0 => Some(Self::Mp3),
            _ => None,
        }
    }

    /// The family of a format. Formats of one family differ only in their content, so one may be declared as the other.
    fn family(self) -> Self {
        match self {
            Self::QuickTime => Self::Mp4,
            Self::Matroska => Self::WebM,
            other => other,
        }
    }
}

/// Whether browsers may show a file inline instead of downloading it: pictures, audio and video that run no scripts.
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

/// The content type in lower case, without parameters, and with one name for all synonyms.
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

/// The kind for a canonical content type.
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

/// The detected format of a picture. None if the file is not a picture that can be read.
pub fn picture_format(head: &[u8]) -> Option<ImageFormat> {
    infer::get(head).and_then(|found| picture_of_type(found.mime_type()))
}

/// Detects the type of a file. If the declared or the detected type is a picture or a recording that can be read, the
/// two must agree. All other files are only downloaded: if their types differ, the result is
/// `application/octet-stream`.
///
/// A file that is declared as `application/octet-stream` is not inspected. Clients send a picture as a file in this
/// way.
pub fn detect(declared: &str, head: &[u8]) -> Result<Found, Rejection> {
    let declared = canonical(declared);
    if declared == OCTET_STREAM {
        return Ok(Found::Other(declared));
    }
    let picture = picture_format(head);
    let container = Container::detect(head);
    let other = sniff(head);
    let differs = || {
        let container = container.map(|container| container.content_type(true));
        let found = picture.map(|format| format.to_mime_type()).or(container).or(other.as_deref());
        let found = found.unwrap_or("something else").to_owned();
        Err(Rejection::TypeDiffers { declared: declared.clone(), found })
    };

    if let Some(expected) = picture_of_type(&declared) {
        return if picture == Some(expected) { Ok(Found::Picture(expected)) } else { differs() };
    }
    if let Some(expected) = Container::of_type(&declared) {
        return match container {
            Some(container) if container.family() == expected.family() => Ok(Found::Recording(container)),
            _ => differs(),
        };
    }
    // MP3 and AAC are detected by two bytes, which a document may have by chance.
    let recording = container.is_some_and(|container| !matches!(container, Container::Mp3 | Container::Aac))
        || head.starts_with(b"ID3");
    if picture.is_some() || recording {
        return differs();
    }
    let compatible = is_compatible(&declared, other.as_deref(), head);
    Ok(Found::Other(if compatible { declared } else { OCTET_STREAM.to_owned() }))
}

/// The type of any other file by its magic number. None if the number is too short to be reliable.
fn sniff(head: &[u8]) -> Option<String> {
    if is_svg(head) {
        return Some("image/svg+xml".to_owned());
    }
    if is_transport_stream(head) {
        return Some("video/mp2t".to_owned());
    }
    let found = canonical(infer::get(head)?.mime_type());
    let weak = ["application/x-x509-ca-cert", "application/x-executable", "audio/mpeg", "audio/aac"];
    if weak.contains(&found.as_str()) && !head.starts_with(b"\x7fELF") { None } else { Some(found) }
}

/// Whether a declared type is compatible with the detected type. Neither is a picture or a recording that can be read.
fn is_compatible(declared: &str, found: Option<&str>, head: &[u8]) -> bool {
    // Documents of these types are archives. The archive does not show which of the types it is.
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
    let media = ["image/", "audio/", "video/"].iter().any(|class| declared.starts_with(class));
    // A type with a magic number must have it. The exception are CSV files, which Windows declares as Excel files.
    let free = !media && (!infer::is_mime_supported(declared) || declared == "application/vnd.ms-excel");
    match found {
        Some(found) if found == declared => true,
        // Text may be declared as any type of text. None of these types is shown inline.
        Some(found) if MARKUP.contains(&found) => match declared {
            "image/svg+xml" => is_svg(head),
            declared => free || !media && may_be_text(declared),
        },
        // The raw formats of cameras are based on TIFF, and have many types.
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

/// Whether this is an MPEG transport stream (ISO/IEC 13818-1, section 2.4.3): packets of 188 bytes that begin with the
/// same byte. Cameras put four bytes before each packet.
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

/// Whether this looks like an SVG document. A declaration, a doctype or a comment may precede the `svg` element.
fn is_svg(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with("<svg") || text.starts_with("<?xml") && text.contains("<svg") || {
        text.starts_with("<!doctype svg") || text.starts_with("<!--") && text.contains("<svg")
    }
}
