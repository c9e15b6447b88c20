//! The type of a file is what its content is. What it was called has to agree with that.

use image::ImageFormat;

use super::{Kind, Rejection};

/// Of a file that nothing is said of.
pub const PASSED_ON: &str = "application/octet-stream";

/// What a file has turned out to be, and so who reads on.
pub enum Found {
    Picture(ImageFormat),
    Recording(Container),
    /// A file with this type that nothing is read from.
    Other(String),
}

/// The formats of sound and video that are read. One may hold either, which its tracks tell.
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
    /// The type of one with video in it, or of one that has sound alone.
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

    /// What a canonical type calls it.
    fn called(content_type: &str) -> Option<Self> {
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

    fn of(head: &[u8]) -> Option<Self> {
        match head {
            // ISO/IEC 14496-12, section 4.3: the major brand. Those of pictures are not recordings.
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.get(..4)? {
                b"qt  " => Some(Self::QuickTime),
                b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" | b"avif" | b"avis" | b"crx " => {
                    None
                }
                _ => Some(Self::Mp4),
            },
            // Cameras wrote QuickTime without a brand once.
            [_, _, _, _, b'm', b'o', b'o', b'v', ..] => Some(Self::QuickTime),
            // RFC 8794, section 11.2: EBML, whose DocType comes within the first bytes.
            [0x1a, 0x45, 0xdf, 0xa3, ..] => {
                let header = &head[..head.len().min(64)];
                let is = |name: &[u8]| header.windows(name.len()).any(|bytes| bytes == name);
                if is(b"webm") { Some(Self::WebM) } else { is(b"matroska").then_some(Self::Matroska) }
            }
            [b'O', b'g', b'g', b'S', ..] => Some(Self::Ogg),
            [b'I', b'D', b'3', 2..=4, ..] => Some(Self::Mp3),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'f', b'L', b'a', b'C', ..] => Some(Self::Flac),
            // ISO/IEC 13818-7, section 6.2: twelve bits of one, and layer 0. ISO/IEC 11172-3 has the other layers.
            [0xff, second, ..] if second & 0xf6 == 0xf0 => Some(Self::Aac),
            [0xff, second, third, ..] if second & 0xe6 == 0xe2 && third & 0xf0 != 0xf0 => Some(Self::Mp3),
            _ => None,
        }
    }

    /// Families whose members only differ in what is in them, so that one may be called the other.
    fn family(self) -> Self {
        match self {
            Self::QuickTime => Self::Mp4,
            Self::Matroska => Self::WebM,
            other => other,
        }
    }
}

/// Whether browsers may show it where it is, rather than download it: pictures, sound and video that run no script.
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

/// In lower case and without parameters, under the one name that we use for it.
pub fn canonical(content_type: &str) -> String {
    let essence = essence(content_type);
    let name = match essence.as_str() {
        "" => PASSED_ON,
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

/// Of a canonical type.
pub fn kind_of(content_type: &str) -> Kind {
    if called_picture(content_type).is_some() {
        return Kind::Image;
    }
    match Container::called(content_type) {
        Some(_) if content_type.starts_with("video/") => Kind::Video,
        Some(_) => Kind::Audio,
        None => Kind::File,
    }
}

fn called_picture(content_type: &str) -> Option<ImageFormat> {
    match content_type {
        "image/jpeg" => Some(ImageFormat::Jpeg),
        "image/png" => Some(ImageFormat::Png),
        "image/gif" => Some(ImageFormat::Gif),
        "image/webp" => Some(ImageFormat::WebP),
        _ => None,
    }
}

/// The format of a picture that we read.
pub fn picture_format(head: &[u8]) -> Option<ImageFormat> {
    infer::get(head).and_then(|found| called_picture(found.mime_type()))
}

/// What the file is, provided that what it is called agrees with that where either of them is a picture or a recording
/// that we read. Of all else nothing is shown, and where the two differ, nothing is claimed either.
///
/// Whoever calls a file `application/octet-stream` gets it passed on as it is, to be downloaded: that is how a picture is
/// sent as a file.
pub fn agree(declared: &str, head: &[u8]) -> Result<Found, Rejection> {
    let declared = canonical(declared);
    if declared == PASSED_ON {
        return Ok(Found::Other(declared));
    }
    let picture = picture_format(head);
    let container = Container::of(head);
    let other = sniff(head);
    let differs = || {
        let container = container.map(|container| container.content_type(true));
        let found = picture.map(|format| format.to_mime_type()).or(container).or(other.as_deref());
        let found = found.unwrap_or("something else").to_owned();
        Err(Rejection::TypeDiffers { declared: declared.clone(), found })
    };

    if let Some(called) = called_picture(&declared) {
        return if picture == Some(called) { Ok(Found::Picture(called)) } else { differs() };
    }
    if let Some(called) = Container::called(&declared) {
        return match container {
            Some(container) if container.family() == called.family() => Ok(Found::Recording(container)),
            _ => differs(),
        };
    }
    // Two bytes are too few to call a document a recording.
    let recording = container.is_some_and(|container| !matches!(container, Container::Mp3 | Container::Aac))
        || head.starts_with(b"ID3");
    if picture.is_some() || recording {
        return differs();
    }
    let kept = is_same(&declared, other.as_deref(), head);
    Ok(Found::Other(if kept { declared } else { PASSED_ON.to_owned() }))
}

/// What else a file is by its magic number, where that is long enough to be believed.
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

/// Whether a type that is neither a picture nor a recording that we read can be what was found.
fn is_same(declared: &str, found: Option<&str>, head: &[u8]) -> bool {
    // A document has any of several names; what it is packed in tells no more.
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
    // What is known by its first bytes has to have them. Windows calls a table of text an Excel file, though.
    let free = !media && (!infer::is_mime_supported(declared) || declared == "application/vnd.ms-excel");
    match found {
        Some(found) if found == declared => true,
        // What is text may be called any text. None of it is ever shown in place.
        Some(found) if MARKUP.contains(&found) => match declared {
            "image/svg+xml" => is_svg(head),
            declared => free || !media && may_be_text(declared),
        },
        // Cameras' own formats are TIFF with more in it, and their names are many.
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

/// ISO/IEC 13818-1, section 2.4.3: packets of 188 bytes that begin alike. Cameras put four bytes before each.
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

/// Whether a document's first element is `svg`, whatever comes before it.
fn is_svg(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with("<svg") || text.starts_with("<?xml") && text.contains("<svg") || {
        text.starts_with("<!doctype svg") || text.starts_with("<!--") && text.contains("<svg")
    }
}
