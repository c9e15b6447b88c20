//! How long a recording is, how large its video is, and how loud its sound.

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
use super::content_type::PASSED_ON;
use super::source::{self, Budget};
use super::waveform::Waveform;
use super::{Deadline, Error, Inspected, Kind, Limits, Rejection, boxes};

/// Bytes of a container's header and tables. Hours of video need one megabyte, and a cover some more.
const MAX_TABLES: u64 = 16 * 1024 * 1024;
/// The same where a reader keeps some ten times as much: of WebM's elements, WAV's tags and Ogg's comments, which may be
/// a few bytes.
const MAX_ELEMENTS: u64 = 2 * 1024 * 1024;
const MAX_COMMENTS: u64 = 4 * 1024 * 1024;
/// What is kept of a block of FLAC's header, whatever is in it.
const BLOCK_COST: u64 = 64;
/// Bytes read for one packet of sound or video, with what lies between it and the one before.
const MAX_PACKET: u64 = 16 * 1024 * 1024;
/// Tracks of a recording; one of video, and one of sound and one of subtitles for each language.
const MAX_TRACKS: usize = 64;
/// Longest duration that is believed: what milliseconds in 32 bits hold, some 24 days.
const MAX_DURATION: Duration = Duration::from_millis(i32::MAX as u64);

static CODECS: LazyLock<CodecRegistry> = LazyLock::new(|| {
    let mut codecs = CodecRegistry::new();
    register_enabled_codecs(&mut codecs);
    codecs.register_audio_decoder::<symphonia_adapter_libopus::OpusDecoder>();
    codecs
});

type Reader = Box<dyn FormatReader>;

/// Reads a recording.
pub fn inspect(mut file: File, container: Container, limits: &Limits, deadline: Deadline) -> Result<Inspected, Error> {
    let is_movie = matches!(container, Container::Mp4 | Container::QuickTime);
    let is_matroska = matches!(container, Container::WebM | Container::Matroska);
    let movie = if is_movie { boxes::read(&mut file, deadline)? } else { boxes::Movie::default() };
    if container == Container::Flac && flac_comments(&mut file)? > MAX_COMMENTS {
        return Err(Rejection::Unreadable.into());
    }
    let start = if container == Container::Mp3 { behind_tag(&mut file)? } else { 0 };
    let (stream, budget) = source::stream(file, start, max_header(container), deadline)?;
    let mut reader = match open(stream, container) {
        Ok(reader) => reader,
        // It is whole, and browsers may know more than symphonia does.
        Err(MediaError::Unsupported(_)) if is_movie && !deadline.is_over() => {
            return Ok(unread(container, movie.video));
        }
        // Fonts and covers come before the first packet.
        Err(_) if is_matroska && budget.is_spent() && !deadline.is_over() => {
            return Ok(Inspected::file(PASSED_ON.to_owned()));
        }
        Err(error) => return Err(failure(error, deadline)),
    };
    let tracks = reader.tracks();
    if tracks.is_empty() || tracks.len() > MAX_TRACKS {
        return Err(Rejection::Unreadable.into());
    }
    let video = movie.video.or_else(|| tracks.iter().find_map(video_size));
    let kind =
        if video.is_some() || reader.first_track(TrackType::Video).is_some() { Kind::Video } else { Kind::Audio };
    let told = if movie.fragmented { None } else { told_duration(reader.as_ref()) };

    let drawn = kind == Kind::Audio && told.is_none_or(|told| told <= limits.max_waveform);
    let mut sound = if drawn { Sound::new(reader.as_ref(), limits.max_waveform) } else { None };
    let walked = if told.is_none() || sound.is_some() {
        walk(reader.as_mut(), &budget, sound.as_mut(), deadline)?
    } else {
        None
    };
    Ok(Inspected {
        duration: told.or(walked).filter(|duration| *duration <= MAX_DURATION),
        waveform: sound.and_then(Sound::finish),
        ..of_kind(container, kind, video)
    })
}

/// One of which no more is known than its boxes tell.
fn unread(container: Container, video: Option<(u32, u32)>) -> Inspected {
    of_kind(container, if video.is_some() { Kind::Video } else { Kind::Audio }, video)
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

/// Bytes of a FLAC file's header, but for what may well be large and is kept as it is, pictures above all: RFC 9639,
/// section 8.1.
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

/// Where a song begins behind its tags, a picture of its cover among them, which nobody asks for: ID3v2.4, section 3.1.
fn behind_tag(file: &mut File) -> io::Result<u64> {
    file.rewind()?;
    let mut header = Vec::new();
    file.take(10).read_to_end(&mut header)?;
    Ok(match header.as_slice() {
        // Four times seven bits.
        [b'I', b'D', b'3', _, _, _, size @ ..] => {
            10 + size.iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f))
        }
        _ => 0,
    })
}

/// With the one reader that is for it: no other is tried on a file that says what it is.
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

/// Whose fault it is: the deadline's, this machine's, or the file's.
fn failure(error: MediaError, deadline: Deadline) -> Error {
    match error {
        // Readers pass on what they make of a read that failed, rather than why it did.
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

/// What the container's header says, where it says something.
fn told_duration(reader: &dyn FormatReader) -> Option<Duration> {
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

/// From where to where a track goes, in its own time.
struct Span {
    first: i64,
    last: i64,
    end: i64,
    /// Between the last two packets, for formats that do not tell how long one lasts.
    gap: i64,
}

impl Span {
    fn duration(&self, time_base: TimeBase) -> Option<Duration> {
        let end = self.end.max(self.last.saturating_add(self.gap));
        let ticks = u64::try_from(end.saturating_sub(self.first)).ok()?;
        seconds(Some(time_base), Some(units::Duration::new(ticks)))
    }
}

/// Reads every packet, for how far they go. A recording that broke off goes as far as it can be read.
fn walk(
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
            sound.hear(&packet);
        }
    }
    if spans.is_empty() {
        return Err(Rejection::Unreadable.into());
    }
    let of_track = |track: &Track| spans.get(&track.id)?.duration(track.time_base?);
    Ok(reader.tracks().iter().filter_map(of_track).max())
}

/// The sound of a recording, decoded to be drawn.
struct Sound {
    track: u32,
    decoder: Box<dyn AudioDecoder>,
    waveform: Waveform,
    samples: Vec<f32>,
    heard: Duration,
    longest: Duration,
}

impl Sound {
    /// None where there is no sound, or none that we can decode.
    fn new(reader: &dyn FormatReader, longest: Duration) -> Option<Self> {
        let track = reader.default_track(TrackType::Audio)?;
        let parameters = track.codec_params.as_ref()?.audio()?;
        let decoder = CODECS.make_audio_decoder(parameters, &AudioDecoderOptions::default()).ok()?;
        let waveform = Waveform::new();
        Some(Self { track: track.id, decoder, waveform, samples: Vec::new(), heard: Duration::ZERO, longest })
    }

    /// A packet that cannot be decoded is silent; the next one may be heard.
    fn hear(&mut self, packet: &Packet) {
        if packet.track_id != self.track || self.heard > self.longest {
            return;
        }
        let Ok(sound) = self.decoder.decode(packet) else { return };
        let rate = f64::from(sound.spec().rate().max(1));
        #[expect(clippy::cast_precision_loss, reason = "a packet has fewer samples than a float counts")]
        let lasts = sound.frames() as f64 / rate;
        self.heard += Duration::from_secs_f64(lasts);
        sound.copy_to_vec_interleaved(&mut self.samples);
        self.waveform.push(&self.samples);
    }

    fn finish(self) -> Option<Vec<u8>> {
        if self.heard > self.longest { None } else { self.waveform.finish() }
    }
}
