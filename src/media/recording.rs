//! Inspects recordings: duration, size of the video, and waveform of the sound.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::LazyLock;
use std::time::Duration;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error as MediaError;
use symphonia::core::formats::probe::{Hint, Probe};
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::core::units::{self, TimeBase};
use symphonia::default::formats::{AdtsReader, FlacReader, IsoMp4Reader, MkvReader, MpaReader, OggReader, WavReader};
use symphonia::default::register_enabled_codecs;

use super::content_type::Container;
use super::content_type::OCTET_STREAM;
use super::source::{self, Budget};
use super::waveform::Waveform;
use super::{Deadline, Error, Inspected, Kind, Limits, Outline, Rejection, boxes, chunks, elements, pages};

/// Maximum number of bytes of a container's header and tables. Hours of video need one megabyte, and a cover picture
/// needs some more.
const MAX_TABLES: u64 = 16 * 1024 * 1024;
/// Maximum number of bytes of the header in WebM, Matroska and WAV, instead of `MAX_TABLES`. The readers for these
/// formats keep about ten times as many bytes in memory, because an element or a tag may have only a few bytes.
const MAX_ELEMENTS: u64 = 2 * 1024 * 1024;
/// Maximum number of bytes of the comments in Ogg and FLAC, for the same reason as `MAX_ELEMENTS`.
const MAX_COMMENTS: u64 = 4 * 1024 * 1024;
/// Estimated memory in bytes that symphonia uses for each block of a FLAC header, in addition to its content.
const BLOCK_COST: u64 = 64;
/// Maximum number of bytes that are read for one packet of sound or video, including the bytes between the previous
/// packet and this packet.
const MAX_PACKET: u64 = 16 * 1024 * 1024;
/// Maximum number of tracks of a recording. Enough for one video track, and for a sound track and a subtitle track in
/// each of many languages.
const MAX_TRACKS: usize = 64;
/// Maximum duration that is reported: about 24 days, the maximum of signed 32-bit milliseconds. A longer recording is
/// accepted without a duration.
const MAX_DURATION: Duration = Duration::from_millis(i32::MAX as u64);

static CODECS: LazyLock<CodecRegistry> = LazyLock::new(|| {
    let mut codecs = CodecRegistry::new();
    register_enabled_codecs(&mut codecs);
    codecs.register_audio_decoder::<symphonia_adapter_libopus::OpusDecoder>();
    codecs
});

type Reader = Box<dyn FormatReader>;

/// Reads the duration and the video size of a recording, and creates the waveform if the recording has no video. The
/// container tells the size and usually the duration. symphonia reads only some codecs, so a recording is accepted
/// without symphonia if its container describes a track with video or sound.
pub fn inspect(mut file: File, container: Container, limits: &Limits, deadline: Deadline) -> Result<Inspected, Error> {
    let described = describe(&mut file, container, deadline)?;
    let outline = &described.outline;
    if !described.is_regular {
        return undecoded(container, outline).ok_or(Rejection::Unreadable.into());
    }
    let start = if container == Container::Mp3 { length_of_tag(&mut file)? } else { 0 };
    let (stream, budget) = source::stream(file, start, max_header(container), deadline)?;
    let read = open(stream, container).map_err(|error| failure(error, deadline));
    match read.and_then(|reader| decoded(reader, container, &described, &budget, limits, deadline)) {
        Err(Error::Rejected(Rejection::Unreadable)) => {}
        result => return result,
    }
    // The elements of Matroska are read within their own bounds. A WAV file beyond the budget has too many tags.
    let is_matroska = matches!(container, Container::WebM | Container::Matroska);
    match undecoded(container, outline).filter(|_| container != Container::Wav || !budget.is_spent()) {
        Some(found) => Ok(found),
        // Fonts and cover pictures before the tracks can use up the budget. The file is then only downloaded.
        None if is_matroska && budget.is_spent() => Ok(Inspected::file(OCTET_STREAM.to_owned())),
        None => Err(Rejection::Unreadable.into()),
    }
}

/// Returns what the container and its packets tell, for a recording that symphonia can read.
fn decoded(
    mut reader: Reader,
    container: Container,
    described: &Described,
    budget: &Budget,
    limits: &Limits,
    deadline: Deadline,
) -> Result<Inspected, Error> {
    let outline = &described.outline;
    let tracks = reader.tracks();
    if tracks.is_empty() || tracks.len() > MAX_TRACKS {
        return Err(Rejection::Unreadable.into());
    }
    let video = outline.video.or_else(|| tracks.iter().find_map(video_size));
    let has_video = video.is_some() || outline.has_video || reader.first_track(TrackType::Video).is_some();
    let kind = if has_video { Kind::Video } else { Kind::Audio };
    let told = outline.duration.or_else(|| header_duration(reader.as_ref()));
    let in_header = told.filter(|_| described.has_exact_header);

    let with_waveform = kind == Kind::Audio && in_header.is_none_or(|duration| duration <= limits.max_waveform);
    let mut sound = if with_waveform { Sound::new(reader.as_ref(), limits.max_waveform) } else { None };
    let measured = if in_header.is_none() || sound.is_some() {
        read_packets(reader.as_mut(), budget, sound.as_mut(), deadline)?
    } else {
        None
    };
    Ok(Inspected {
        duration: in_header.or(measured).or(outline.duration).filter(|duration| *duration <= MAX_DURATION),
        waveform: sound.and_then(Sound::finish),
        ..of_kind(container, kind, video)
    })
}

/// The properties of a recording that are known before symphonia reads it.
struct Described {
    outline: Outline,
    /// Whether the duration in the header, if any, is exact. Otherwise the packets determine the duration.
    has_exact_header: bool,
    /// Whether symphonia reads the file correctly and within bounded memory.
    is_regular: bool,
}

fn describe(file: &mut File, container: Container, deadline: Deadline) -> Result<Described, Error> {
    let mut described = Described { outline: Outline::default(), has_exact_header: true, is_regular: true };
    match container {
        Container::Mp4 | Container::QuickTime => {
            let movie = boxes::read(file, deadline)?;
            described.is_regular = movie.is_regular;
            described.has_exact_header = !movie.interrupted;
            described.outline = movie.outline;
        }
        Container::WebM | Container::Matroska => described.outline = elements::read(file, deadline)?,
        Container::Wav => described.outline = chunks::read(file)?,
        Container::Ogg => described.outline = pages::read(file)?,
        Container::Flac if flac_comments(file)? > MAX_COMMENTS => return Err(Rejection::Unreadable.into()),
        Container::Mp3 => described.has_exact_header = counts_frames(file)?,
        _ => {}
    }
    Ok(described)
}

/// Returns what the container of a recording tells, for a recording that symphonia cannot read. None if the container
/// describes no track.
fn undecoded(container: Container, outline: &Outline) -> Option<Inspected> {
    let kind = if outline.has_video { Kind::Video } else { Kind::Audio };
    let duration = outline.duration.filter(|duration| *duration <= MAX_DURATION);
    (outline.has_video || outline.has_sound).then(|| Inspected { duration, ..of_kind(container, kind, outline.video) })
}

/// Whether the first frame of an MP3 file contains the number of frames. Without it, symphonia estimates the duration
/// from the size of the first frame, which is wrong if the sizes vary.
fn counts_frames(file: &mut File) -> io::Result<bool> {
    /// Number of bytes that contain the first frame, which has up to 1441 bytes and may follow some padding.
    const FIRST_FRAME: u64 = 4096;
    let start = length_of_tag(file)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(FIRST_FRAME).read_to_end(&mut bytes)?;
    Ok(bytes.windows(4).any(|name| matches!(name, b"Xing" | b"Info" | b"VBRI")))
}

fn of_kind(container: Container, kind: Kind, video: Option<(u32, u32)>) -> Inspected {
    let (width, height) = video.unzip();
    let content_type = container.content_type(kind == Kind::Video).to_owned();
    Inspected { kind, width, height, ..Inspected::file(content_type) }
}

fn max_header(container: Container) -> u64 {
    match container {
        Container::WebM | Container::Matroska | Container::Wav => MAX_ELEMENTS,
        Container::Ogg => MAX_COMMENTS,
        _ => MAX_TABLES,
    }
}

/// Estimates the memory in bytes for a FLAC header (RFC 9639, section 8.1). Does not count the contents of blocks that
/// may be large and that symphonia keeps unchanged, such as pictures. Stops counting above `MAX_COMMENTS`.
fn flac_comments(file: &mut File) -> io::Result<u64> {
    const PADDING: u8 = 1;
    const APPLICATION: u8 = 2;
    const PICTURE: u8 = 6;
    file.seek(SeekFrom::Start(4))?;
    let mut bytes = 0;
    loop {
        let mut header = Vec::new();
        file.take(4).read_to_end(&mut header)?;
        let [kind, length @ ..] = header.as_slice() else { return Ok(bytes) };
        let length = length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        bytes += match kind & 0x7f {
            PADDING | APPLICATION | PICTURE => BLOCK_COST,
            _ => BLOCK_COST + length,
        };
        if kind & 0x80 != 0 || bytes > MAX_COMMENTS {
            return Ok(bytes);
        }
        file.seek(SeekFrom::Current(length.cast_signed()))?;
    }
}

/// Returns the length of the ID3 tag at the beginning of a file (ID3v2.4, section 3.1). 0 if the file has no tag. The
/// tag is skipped, because it may contain a large cover picture.
fn length_of_tag(file: &mut File) -> io::Result<u64> {
    file.rewind()?;
    let mut header = Vec::new();
    file.take(10).read_to_end(&mut header)?;
    Ok(match header.as_slice() {
        // The size has four bytes with seven bits each.
        [b'I', b'D', b'3', _, _, _, size @ ..] => {
            10 + size.iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f))
        }
        _ => 0,
    })
}

/// Opens a stream with the reader for its format. No other reader is tried.
fn open(stream: MediaSourceStream<'static>, container: Container) -> Result<Reader, MediaError> {
    let mut probe = Probe::new();
    match container {
        Container::Mp4 | Container::QuickTime => probe.register_format::<IsoMp4Reader<'_>>(),
        Container::WebM | Container::Matroska => probe.register_format::<MkvReader<'_>>(),
        Container::Ogg => probe.register_format::<OggReader<'_>>(),
        Container::Mp3 => probe.register_format::<MpaReader<'_>>(),
        Container::Wav => probe.register_format::<WavReader<'_>>(),
        Container::Flac => probe.register_format::<FlacReader<'_>>(),
        Container::Aac => probe.register_format::<AdtsReader<'_>>(),
    }
    probe.probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
}

/// Converts an error of symphonia by its cause: the deadline, this machine, or the file.
fn failure(error: MediaError, deadline: Deadline) -> Error {
    match error {
        // Readers may replace the error of a failed read by another error, so the deadline is checked first.
        _ if deadline.is_over() => Rejection::TooSlow.into(),
        MediaError::IoError(error) if error.raw_os_error().is_some() => error.into(),
        _ => Rejection::Unreadable.into(),
    }
}

fn video_size(track: &Track) -> Option<(u32, u32)> {
    match track.codec_params.as_ref()? {
        CodecParameters::Video(video) => Some((video.width?.into(), video.height?.into())),
        _ => None,
    }
}

/// Returns the longest duration in the header of the container. None if the header contains no duration.
fn header_duration(reader: &dyn FormatReader) -> Option<Duration> {
    let media = reader.media_info();
    let whole = seconds(media.time_base, media.duration);
    let of_tracks = reader.tracks().iter().filter_map(|track| {
        let frames = track.num_frames.map(units::Duration::new);
        seconds(track.time_base, track.duration.or(frames))
    });
    of_tracks.chain(whole).max().filter(|duration| !duration.is_zero())
}

fn seconds(time_base: Option<TimeBase>, duration: Option<units::Duration>) -> Option<Duration> {
    let nanos = time_base?.calc_duration(duration?)?.as_nanos();
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

/// The time span of a track, in the time base of this track.
struct Span {
    first: i64,
    last: i64,
    end: i64,
    /// Time between the last two packets. Used as the duration of the last packet in formats that do not store the
    /// duration of a packet.
    gap: i64,
}

impl Span {
    fn duration(&self, time_base: TimeBase) -> Option<Duration> {
        let end = self.end.max(self.last.saturating_add(self.gap));
        let ticks = u64::try_from(end.saturating_sub(self.first)).ok()?;
        seconds(Some(time_base), Some(units::Duration::new(ticks)))
    }
}

/// Reads all packets to measure the duration, and decodes their sound if `sound` is given. An interrupted recording is
/// read as far as possible.
fn read_packets(
    reader: &mut dyn FormatReader,
    budget: &Budget,
    mut sound: Option<&mut Sound>,
    deadline: Deadline,
) -> Result<Option<Duration>, Error> {
    let mut spans: HashMap<u32, Span> = HashMap::new();
    loop {
        deadline.check()?;
        budget.refill(MAX_PACKET);
        let packet = match reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(error) => match failure(error, deadline) {
                Error::Rejected(Rejection::Unreadable) => break,
                other => return Err(other),
            },
        };
        let at = packet.pts.get();
        let end = packet.pts.saturating_add(packet.dur).get();
        let span = spans.entry(packet.track_id).or_insert(Span { first: at, last: at, end, gap: 0 });
        span.gap = at.saturating_sub(span.last);
        span.first = span.first.min(at);
        span.last = span.last.max(at);
        span.end = span.end.max(end);
        if let Some(sound) = &mut sound {
            sound.decode(&packet);
        }
    }
    if spans.is_empty() {
        return Err(Rejection::Unreadable.into());
    }
    let of_track = |track: &Track| spans.get(&track.id)?.duration(track.time_base?);
    Ok(reader.tracks().iter().filter_map(of_track).max())
}

/// Decodes the sound of a recording for its waveform.
struct Sound {
    track: u32,
    decoder: Box<dyn AudioDecoder>,
    waveform: Waveform,
    samples: Vec<f32>,
    decoded: Duration,
    max_duration: Duration,
}

impl Sound {
    /// Creates a decoder for the default sound track. None if the recording has no sound, or if the codec is not
    /// supported.
    fn new(reader: &dyn FormatReader, max_duration: Duration) -> Option<Self> {
        let track = reader.default_track(TrackType::Audio)?;
        let parameters = track.codec_params.as_ref()?.audio()?;
        let decoder = CODECS.make_audio_decoder(parameters, &AudioDecoderOptions::default()).ok()?;
        let waveform = Waveform::new();
        Some(Self { track: track.id, decoder, waveform, samples: Vec::new(), decoded: Duration::ZERO, max_duration })
    }

    /// Decodes a packet and adds its samples to the waveform. A packet that cannot be decoded is skipped.
    fn decode(&mut self, packet: &Packet) {
        if packet.track_id != self.track || self.decoded > self.max_duration {
            return;
        }
        let Ok(sound) = self.decoder.decode(packet) else { return };
        let rate = f64::from(sound.spec().rate().max(1));
        #[expect(clippy::cast_precision_loss, reason = "a packet has fewer samples than a float counts")]
        let seconds_of_packet = sound.frames() as f64 / rate;
        self.decoded += Duration::from_secs_f64(seconds_of_packet);
        sound.copy_to_vec_interleaved(&mut self.samples);
        self.waveform.push(&self.samples);
    }

    fn finish(self) -> Option<Vec<u8>> {
        if self.decoded > self.max_duration { None } else { self.waveform.finish() }
    }
}
