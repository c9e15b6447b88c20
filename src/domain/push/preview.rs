//! What a notification shows of a message: its text, or else its attachments.

use std::collections::HashMap;

use super::facts::Details;
use super::plain_text;
use crate::ids::MessageId;
use crate::notices::Preview;
use crate::store::files::attachments::{Attachment, AttachmentKind};

/// Returns the text of a message without Markdown. Empty if it shows no text.
pub(super) fn plain_body(message: MessageId, body: Option<&str>, details: &Details) -> String {
    let mentioned = details.names.get(&message).into_iter().flatten();
    let names: HashMap<_, _> = mentioned.map(|(username, name)| (username.as_str(), name.as_str())).collect();
    plain_text::plain(body.unwrap_or_default(), &names)
}

/// Returns what a notification shows of a message: its text, or else its attachments. None if it has neither.
pub(super) fn preview<'a>(message: MessageId, text: &'a str, details: &'a Details) -> Option<Preview<'a>> {
    if !text.is_empty() {
        return Some(Preview::Text(text));
    }
    match details.attachments.get(&message).map(Vec::as_slice).unwrap_or_default() {
        [] => None,
        [attachment] => Some(preview_of(attachment)),
        several => Some(Preview::Several { count: several.len().try_into().unwrap_or(u32::MAX) }),
    }
}

fn preview_of(attachment: &Attachment) -> Preview<'_> {
    let seconds = attachment.duration_ms.and_then(|length| u32::try_from(length).ok()).map(|length| length / 1000);
    match (attachment.kind, seconds) {
        (AttachmentKind::Image, _) => Preview::Photo,
        (AttachmentKind::Video, _) => Preview::Video,
        (AttachmentKind::Audio, Some(seconds)) if is_recording(attachment) => Preview::VoiceMessage { seconds },
        (AttachmentKind::Audio, seconds) => Preview::Audio { seconds },
        (AttachmentKind::File, _) => Preview::File { name: &attachment.file_name },
    }
}

/// Whether a sound file is probably a voice message: it has a waveform, and a format in which browsers and phones
/// record.
fn is_recording(attachment: &Attachment) -> bool {
    let recorded = ["audio/webm", "audio/ogg", "audio/mp4", "audio/aac"];
    attachment.waveform.is_some() && recorded.iter().any(|format| attachment.content_type.starts_with(format))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::ids::AttachmentId;
    use crate::random::Random;
    use crate::store::files::attachments::AttachmentState;

    fn attachment(kind: AttachmentKind, content_type: &str, duration_ms: Option<i32>, waveform: bool) -> Attachment {
        let created_at = DateTime::default();
        Attachment {
            id: AttachmentId::new(created_at, &Random::system()),
            uploader_id: None,
            state: AttachmentState::Ready,
            kind,
            file_name: "report.pdf".to_owned(),
            content_type: content_type.to_owned(),
            byte_size: 1,
            sha256: None,
            upload_id: None,
            width: None,
            height: None,
            duration_ms,
            blurhash: None,
            waveform: waveform.then(|| vec![1, 2, 3]),
            has_thumbnails: false,
            squared: false,
            rejection: None,
            created_at,
            claimed_until: None,
            going_until: None,
        }
    }

    #[test]
    fn an_attachment_is_shown_by_its_kind() {
        for (kind, content_type, length, waveform, expected) in [
            (AttachmentKind::Image, "image/png", None, false, Preview::Photo),
            (AttachmentKind::Video, "video/mp4", Some(3000), false, Preview::Video),
            (AttachmentKind::Audio, "audio/ogg", Some(12_900), true, Preview::VoiceMessage { seconds: 12 }),
            (AttachmentKind::Audio, "audio/webm", None, true, Preview::Audio { seconds: None }),
            (AttachmentKind::Audio, "audio/mpeg", Some(180_000), true, Preview::Audio { seconds: Some(180) }),
            (AttachmentKind::File, "application/pdf", None, false, Preview::File { name: "report.pdf" }),
        ] {
            assert_eq!(preview_of(&attachment(kind, content_type, length, waveform)), expected);
        }
    }

    #[test]
    fn a_text_is_shown_before_the_attachments() {
        let message = MessageId::new(DateTime::default(), &Random::system());
        let photo = || attachment(AttachmentKind::Image, "image/png", None, false);
        let details =
            |attachments| Details { attachments: HashMap::from([(message, attachments)]), ..Details::default() };
        assert_eq!(preview(message, "", &Details::default()), None);
        assert_eq!(preview(message, "", &details(vec![photo()])), Some(Preview::Photo));
        assert_eq!(preview(message, "", &details(vec![photo(), photo()])), Some(Preview::Several { count: 2 }));
        assert_eq!(preview(message, "look", &details(vec![photo()])), Some(Preview::Text("look")));
    }
}
