//! Audio and video: duration, size and waveform.

use std::time::Duration;

use parlance::media::{Kind, Rejection, WAVEFORM_PEAKS};

use super::{VOICES, bytes_of, inspected, limits, rejected, try_inspect};

fn is_about(duration: Option<Duration>, milliseconds: u64) -> bool {
    // Encoders add up to two packets to the duration.
    duration.is_some_and(|duration| duration.abs_diff(Duration::from_millis(milliseconds)) < Duration::from_millis(150))
}

#[test]
fn audio_has_a_duration_and_a_waveform_in_every_format() {
    for (name, content_type) in VOICES {
        let found = inspected(&bytes_of(name), content_type);
        assert_eq!((found.content_type.as_str(), found.kind), (content_type, Kind::Audio), "{name}");
        assert!(is_about(found.duration, 2000), "{name}: {:?}", found.duration);
        assert_eq!((found.width, found.height), (None, None), "{name}");
        let waveform = found.waveform.unwrap_or_else(|| panic!("{name} has no waveform"));
        assert_eq!(waveform.len(), WAVEFORM_PEAKS, "{name}");
        let (silence, tone) = waveform.split_at(WAVEFORM_PEAKS / 2);
        assert!(silence[..28].iter().all(|peak| *peak < 10), "{name}: {silence:?}");
        assert!(tone[4..30].iter().all(|peak| *peak > 70), "{name}: {tone:?}");
        assert_eq!(waveform.iter().max(), Some(&100), "{name}");
    }
}

fn wav(samples: &[i16], rate: u32) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let length = u32::try_from(data.len()).unwrap();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((length + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 2).to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(length.to_le_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn a_waveform_is_scaled_to_its_loudest_peak_and_silence_is_flat() {
    let rising: Vec<i16> = (0..16_000).map(|at| if at % 2 == 0 { at / 16 } else { -at / 16 }).collect();
    let waveform = inspected(&wav(&rising, 8000), "audio/wav").waveform.unwrap();
    assert!(waveform.is_sorted() && waveform[0] < 3 && waveform[63] == 100, "{waveform:?}");
    let silence = inspected(&wav(&[3; 8000], 8000), "audio/x-wav").waveform.unwrap();
    assert_eq!(silence, [0; WAVEFORM_PEAKS]);
    let short = inspected(&wav(&[20_000; 5], 8000), "audio/wav").waveform.unwrap();
    assert_eq!(short, [100; WAVEFORM_PEAKS]);
    assert_eq!(rejected(&wav(&[], 8000), "audio/wav"), Rejection::Unreadable);
}

#[test]
fn a_recording_above_the_waveform_limit_has_only_a_duration() {
    let bytes = wav(&vec![9; 61 * 1000], 1000);
    let found = inspected(&bytes, "audio/wav");
    assert_eq!((found.duration, found.waveform), (Some(limits().max_waveform + Duration::from_secs(1)), None));
}

#[test]
fn video_has_the_size_after_rotation() {
    for (name, content_type, size) in [
        ("portrait.mp4", "video/mp4", (48, 64)),
        ("landscape.mov", "video/quicktime", (64, 48)),
        ("video.webm", "video/webm", (64, 48)),
    ] {
        let found = inspected(&bytes_of(name), content_type);
        assert_eq!((found.content_type.as_str(), found.kind), (content_type, Kind::Video), "{name}");
        assert_eq!(found.width.zip(found.height), Some(size), "{name}");
        assert!(is_about(found.duration, 1000), "{name}: {:?}", found.duration);
        assert!(found.waveform.is_none() && found.thumbnails.is_empty() && found.cleaned.is_none());
    }
}

/// symphonia supports neither these codecs nor the long description that x265 writes, but browsers and phones do.
#[test]
fn a_video_with_any_codec_has_the_size_and_duration_of_its_container() {
    for (name, content_type, size) in [
        ("hvc1.mp4", "video/mp4", (64, 48)),
        ("hvc1.mov", "video/quicktime", (64, 48)),
        ("hvc1-fragments.mp4", "video/mp4", (64, 48)),
        ("hevc.mkv", "video/x-matroska", (64, 48)),
        ("av1.mp4", "video/mp4", (64, 48)),
        ("prores.mov", "video/quicktime", (32, 32)),
    ] {
        let found = inspected(&bytes_of(name), content_type);
        assert_eq!((found.content_type.as_str(), found.kind), (content_type, Kind::Video), "{name}");
        assert_eq!(found.width.zip(found.height), Some(size), "{name}");
        assert_eq!(found.duration, Some(Duration::from_secs(1)), "{name}");
    }
}

/// Replaces all occurrences of a name in a file.
fn renamed(name: &str, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes_of(name);
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "{name}");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn a_recording_with_an_unknown_codec_or_box_is_accepted() {
    for (name, from, to) in [
        ("portrait.mp4", b"avc1".as_slice(), b"zzzz".as_slice()),
        ("portrait.mp4", b"avcC", b"zzzz"),
        ("portrait.mp4", b"mp4a", b"zzzz"),
        ("portrait.mp4", b"esds", b"zzzz"),
        ("portrait.mp4", b"udta", b"zzzz"),
        ("portrait.mp4", b"isom", b"zzzz"),
        ("hevc.mkv", b"V_MPEGH", b"V_ZZZZZ"),
    ] {
        let found = inspected(&renamed(name, from, to), if name == "hevc.mkv" { "video/webm" } else { "video/mp4" });
        let size = if name == "hevc.mkv" { (64, 48) } else { (48, 64) };
        assert_eq!((found.kind, found.width.zip(found.height)), (Kind::Video, Some(size)), "{name} {from:?}");
        assert!(is_about(found.duration, 1000), "{name} {from:?}: {:?}", found.duration);
    }
    let sound = inspected(&renamed("voice.m4a", b"mp4a", b"zzzz"), "audio/mp4");
    assert_eq!((sound.kind, sound.content_type.as_str(), sound.waveform), (Kind::Audio, "audio/mp4", None));
    assert!(is_about(sound.duration, 2000), "{:?}", sound.duration);
}

/// Returns the first page of a stream in an Ogg file.
fn first_page(content: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0\x02".to_vec();
    page.resize(26, 0);
    page.extend([1, u8::try_from(content.len()).unwrap()]);
    page.extend(content);
    page
}

#[test]
fn an_ogg_with_theora_or_speex_is_accepted() {
    // The picture has 352 by 480 pixels, whose sides have the ratio 20:11.
    let theora = [
        b"\x80theora\x03\x02\x01\0\x16\0\x1e".as_slice(),
        &[0, 0x01, 0x60, 0, 0x01, 0xe0, 0, 0],
        &[0, 0, 0, 10, 0, 0, 0, 1],
        &[0, 0, 20, 0, 0, 11],
        &[0; 6],
    ]
    .concat();
    let film = inspected(&first_page(&theora), "video/ogg");
    assert_eq!((film.content_type.as_str(), film.kind), ("video/ogg", Kind::Video));
    assert_eq!(film.width.zip(film.height), Some((640, 480)));
    let film = inspected(&[first_page(&theora), bytes_of("vorbis.ogg")].concat(), "audio/ogg");
    assert_eq!((film.content_type.as_str(), film.kind), ("video/ogg", Kind::Video));
    let voice = inspected(&first_page(&[b"Speex   1.2".as_slice(), &[0; 69]].concat()), "audio/ogg");
    assert_eq!((voice.content_type.as_str(), voice.kind), ("audio/ogg", Kind::Audio));
    // An incomplete page describes no stream.
    for part in [20, 27, 28, 40] {
        assert_eq!(rejected(&first_page(&theora)[..part], "video/ogg"), Rejection::Unreadable, "{part} bytes");
    }
}

/// Some cameras write two sample descriptions per track, which symphonia does not support.
#[test]
fn a_video_with_two_sample_descriptions_has_a_size_and_a_duration() {
    for (name, content_type, size) in
        [("portrait.mp4", "video/mp4", (48, 64)), ("landscape.mov", "video/quicktime", (64, 48))]
    {
        let mut bytes = bytes_of(name);
        let descriptions = bytes.windows(4).position(|part| part == b"stsd").unwrap();
        // The number of sample descriptions follows the version and the flags.
        bytes[descriptions + 11] = 2;
        let found = inspected(&bytes, content_type);
        assert_eq!((found.content_type.as_str(), found.kind), (content_type, Kind::Video), "{name}");
        assert_eq!(found.width.zip(found.height), Some(size), "{name}");
        assert!(is_about(found.duration, 1000), "{name}: {:?}", found.duration);
    }
}

#[test]
fn bytes_after_the_last_box_of_a_movie_are_ignored() {
    for after in [[0; 64].as_slice(), b"\0\0\0\x20free", b"\0\0\0\0free and more", b"\0\x10\0\0SEFHnothing", b"abc"] {
        let found = inspected(&[&bytes_of("portrait.mp4"), after].concat(), "video/mp4");
        assert_eq!(found.width.zip(found.height), Some((48, 64)), "{after:?}");
        assert!(is_about(found.duration, 1000), "{after:?}: {:?}", found.duration);
    }
}

#[test]
fn video_with_pixels_that_are_not_square_has_the_displayed_size() {
    for (name, content_type, size) in [
        ("wide.mp4", "video/mp4", (160, 120)),
        ("wide.mkv", "video/x-matroska", (160, 120)),
        ("wide.webm", "video/webm", (160, 120)),
        ("wide-rotated.mp4", "video/mp4", (120, 160)),
    ] {
        let found = inspected(&bytes_of(name), content_type);
        assert_eq!(found.width.zip(found.height), Some(size), "{name}");
        assert!(is_about(found.duration, 1000), "{name}: {:?}", found.duration);
    }
    // A ratio of pixels that no video has is ignored.
    let mut bytes = bytes_of("wide.mp4");
    let ratio = bytes.windows(4).position(|part| part == b"pasp").unwrap() + 4;
    for ratio_of_pixels in [[u32::MAX, 1], [1, u32::MAX]] {
        let [across, down] = ratio_of_pixels.map(u32::to_be_bytes);
        bytes[ratio..ratio + 8].copy_from_slice(&[across, down].concat());
        let found = inspected(&bytes, "video/mp4");
        assert_eq!(found.width.zip(found.height), Some((88, 120)), "{ratio_of_pixels:?}");
    }
}

#[test]
fn an_edit_list_shortens_the_duration() {
    for (name, content_type) in [("cut.mp4", "video/mp4"), ("cut.mov", "video/quicktime")] {
        let found = inspected(&bytes_of(name), content_type);
        assert_eq!(found.duration, Some(Duration::from_secs(2)), "{name}");
        // The header of the movie contains the duration, too. Without it the edit list decides.
        let mut bytes = bytes_of(name);
        let header = bytes.windows(4).position(|part| part == b"mvhd").unwrap();
        for unknown in [0, 0xff] {
            bytes[header + 20..header + 24].fill(unknown);
            assert_eq!(inspected(&bytes, content_type).duration, Some(Duration::from_secs(2)), "{name} {unknown}");
        }
    }
}

#[test]
fn an_mp3_without_a_frame_count_has_the_duration_of_its_frames() {
    for name in ["uncounted.mp3", "varied.mp3"] {
        let found = inspected(&bytes_of(name), "audio/mpeg");
        assert!(is_about(found.duration, 4000), "{name}: {:?}", found.duration);
        assert!(found.waveform.is_some(), "{name}");
    }
}

#[test]
fn an_mdat_box_may_extend_to_the_end_of_the_file() {
    let mut bytes = bytes_of("landscape.mov");
    let data = bytes.windows(4).position(|part| part == b"mdat").unwrap() - 4;
    bytes[data..data + 4].fill(0);
    let found = inspected(&bytes, "video/quicktime");
    assert_eq!(found.width.zip(found.height), Some((64, 48)));
    assert!(is_about(found.duration, 1000), "{:?}", found.duration);
}

#[test]
fn the_tracks_of_a_container_determine_its_type() {
    for (name, declared, content_type, kind) in [
        ("voice.m4a", "video/mp4", "audio/mp4", Kind::Audio),
        ("voice.m4a", "audio/x-m4a", "audio/mp4", Kind::Audio),
        ("portrait.mp4", "audio/mp4", "video/mp4", Kind::Video),
        ("portrait.mp4", "video/quicktime", "video/mp4", Kind::Video),
        ("voice.webm", "video/webm", "audio/webm", Kind::Audio),
        ("voice.webm", "audio/webm;codecs=opus", "audio/webm", Kind::Audio),
        ("video.webm", "video/x-matroska;codecs=vp8", "video/webm", Kind::Video),
        ("voice.ogg", "audio/opus", "audio/ogg", Kind::Audio),
        ("voice.ogg", "Audio/OGG; codecs=\"opus\"", "audio/ogg", Kind::Audio),
    ] {
        let found = inspected(&bytes_of(name), declared);
        assert_eq!((found.content_type.as_str(), found.kind), (content_type, kind), "{name} as {declared}");
    }
}

#[test]
fn a_truncated_recording_has_the_duration_of_its_readable_part() {
    for (name, content_type) in
        [("voice.webm", "audio/webm"), ("fragmented.mp4", "audio/mp4"), ("voice.ogg", "audio/ogg")]
    {
        let bytes = bytes_of(name);
        let found = inspected(&bytes[..bytes.len() * 3 / 4], content_type);
        let duration = found.duration.unwrap();
        assert!(duration >= Duration::from_secs(1) && duration < Duration::from_millis(1990), "{name}: {duration:?}");
    }
}

#[test]
fn a_truncated_mp4_is_rejected() {
    // The sample tables are missing because they were at the end, or they refer to samples beyond the end of the file.
    for (name, content_type) in
        [("portrait.mp4", "video/mp4"), ("landscape.mov", "video/quicktime"), ("voice.m4a", "audio/mp4")]
    {
        let bytes = bytes_of(name);
        for part in [bytes.len() / 4, bytes.len() / 2, bytes.len() - 1] {
            assert_eq!(rejected(&bytes[..part], content_type), Rejection::Unreadable, "{part} bytes of {name}");
        }
    }
}

#[test]
fn a_large_cover_picture_before_the_audio_is_skipped() {
    let song = bytes_of("voice.mp3");
    // This ID3 tag has 2 MiB. Each of the four bytes of its size has seven bits.
    let tag = [b"ID3\x04\0\0\x01\0\0\0".as_slice(), &vec![0xff; 1 << 21]].concat();
    let found = inspected(&[tag, song].concat(), "audio/mpeg");
    assert!(is_about(found.duration, 2000) && found.waveform.is_some(), "{:?}", found.duration);
    assert_eq!(try_inspect(b"ID3\x04\0\0\x7f\x7f\x7f\x7f", "audio/mpeg").unwrap_err(), Rejection::Unreadable);
}
