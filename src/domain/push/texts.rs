//! Makes the push of a delivery: the notification, how long it may wait at the push service, and its target.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::facts::{Details, Facts};
use super::preview;
use crate::config::PushContent;
use crate::ids::{ConversationId, MessageId};
use crate::notices::{Preview, PushText, PushTexts, Saying};
use crate::push::{ApnsEnvironment, Notification, NotificationKind, Push, ReceiverKeys, Target, Urgency};
use crate::store::calls::calls::CallKind;
use crate::store::conversations::conversations::ConversationKind;
use crate::store::files::attachments::{Attachment, AttachmentKind};
use crate::store::push::deliveries::{Claimed, DeliveryKind};
use crate::store::push::facts::{Ring, Shown};
use crate::store::push::settings::NotificationContent;
use crate::store::push::subscriptions::{ApnsEnvironment as StoredEnvironment, PushTransport};

/// Maximum age of a push: the server and the push service give it up after this time. A push about a call is given up
/// when the call has stopped ringing.
const MESSAGE_TTL: Duration = Duration::from_hours(24);

/// A push that is ready to be sent.
pub(super) struct Letter {
    pub(super) target: Target,
    pub(super) push: Push,
    /// The message that the device will show.
    pub(super) message: Option<MessageId>,
}

/// Reason why a delivery is not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// There is nothing to show any more, or the delivery is too old.
    Obsolete,
    /// The subscription cannot be used. The text says why.
    Invalid(String),
}

/// Writes the pushes of the deliveries that were claimed together.
pub(super) struct Writer<'a> {
    pub(super) texts: &'a PushTexts,
    /// The most that the operator allows a notification to show.
    pub(super) content: PushContent,
    pub(super) facts: &'a Facts,
    pub(super) now: DateTime<Utc>,
}

/// The parts of a push that depend on the kind of its delivery.
struct Told {
    notification: Notification,
    urgency: Urgency,
    ttl: Duration,
}

impl Writer<'_> {
    pub(super) fn letter(&self, delivery: &Claimed) -> Result<Letter, Unsent> {
        if !delivery.is_session_live {
            return Err(Unsent::Obsolete);
        }
        let told = match delivery.kind {
            DeliveryKind::Message => self.message(delivery),
            DeliveryKind::Call => self.call(delivery),
            DeliveryKind::Dismiss => with_message_ttl(delivery, self.dismissal(delivery), Urgency::Normal),
            DeliveryKind::CallEnded => {
                with_message_ttl(delivery, self.notification(delivery, NotificationKind::CallEnded), Urgency::High)
            }
            DeliveryKind::Test => with_message_ttl(delivery, self.test(delivery), Urgency::High),
        };
        let Told { notification, urgency, ttl } = told.ok_or(Unsent::Obsolete)?;
        let message = self.shown(delivery).map(|row| row.message_id);
        let push = Push { urgency, ttl, collapse_key: delivery.key.clone(), notification };
        Ok(Letter { target: target(delivery).map_err(Unsent::Invalid)?, push, message })
    }

    /// Returns the message that the push shows. None if it shows none.
    fn shown(&self, delivery: &Claimed) -> Option<&Shown> {
        let conversation = delivery.conversation_id.filter(|_| delivery.kind == DeliveryKind::Message)?;
        self.facts.shown.get(&(delivery.user_id, conversation))
    }

    fn message(&self, delivery: &Claimed) -> Option<Told> {
        let shown = self.shown(delivery)?;
        let PushText { title, body } = self.message_text(delivery, shown);
        let notification = Notification {
            title: Some(title),
            body,
            message_id: Some(shown.message_id.to_string()),
            count: count(shown.unread),
            sent_at: shown.sent_at,
            ..self.notification(delivery, NotificationKind::Message)
        };
        with_message_ttl(delivery, notification, Urgency::High)
    }

    fn message_text(&self, delivery: &Claimed, shown: &Shown) -> PushText {
        let language = delivery.language.as_deref().unwrap_or_default();
        let group = group(shown.conversation_kind, shown.title.as_deref());
        match (self.content(delivery), shown.sender.as_deref()) {
            (PushContent::Nothing, _) | (_, None) => self.texts.render(language, &Saying::Nothing),
            (PushContent::Sender, Some(sender)) => self.texts.render(language, &Saying::Sender { sender, group }),
            (PushContent::Full, Some(sender)) => {
                let text = plain_body(shown.message_id, shown.body.as_deref(), &self.facts.details);
                let saying = match preview(shown.message_id, &text, &self.facts.details) {
                    Some(preview) => Saying::Message { sender, group, preview },
                    None => Saying::Sender { sender, group },
                };
                self.texts.render(language, &saying)
            }
        }
    }

    fn call(&self, delivery: &Claimed) -> Option<Told> {
        let ring = self.facts.rings.get(&(delivery.user_id, delivery.call_id?)).filter(|ring| !ring.is_silent)?;
        let ttl = Duration::try_from_secs_f64(ring.seconds_left).ok().filter(|ttl| !ttl.is_zero())?;
        let language = delivery.language.as_deref().unwrap_or_default();
        let PushText { title, body } = self.texts.render(language, &self.call_saying(delivery, ring));
        let notification = Notification {
            title: Some(title),
            body,
            conversation_id: Some(ring.conversation_id.to_string()),
            sent_at: ring.started_at,
            ..self.notification(delivery, NotificationKind::Call)
        };
        Some(Told { notification, urgency: Urgency::High, ttl })
    }

    fn call_saying<'a>(&self, delivery: &Claimed, ring: &'a Ring) -> Saying<'a> {
        let is_video = ring.kind == CallKind::Video;
        if self.content(delivery) == PushContent::Nothing {
            return Saying::Call { caller: None, group: None, is_video };
        }
        let group = group(ring.conversation_kind, ring.title.as_deref());
        Saying::Call { caller: ring.caller.as_deref(), group, is_video }
    }

    fn dismissal(&self, delivery: &Claimed) -> Notification {
        let unread = delivery.conversation_id.and_then(|id| self.facts.unread.get(&(delivery.user_id, id)));
        let notification = self.notification(delivery, NotificationKind::Dismiss);
        Notification { count: count(unread.copied().unwrap_or_default()), ..notification }
    }

    fn test(&self, delivery: &Claimed) -> Notification {
        let PushText { title, body } =
            self.texts.render(delivery.language.as_deref().unwrap_or_default(), &Saying::Test);
        Notification { title: Some(title), body, ..self.notification(delivery, NotificationKind::Test) }
    }

    /// Returns a notification without text.
    fn notification(&self, delivery: &Claimed, kind: NotificationKind) -> Notification {
        let badge = self.facts.badges.get(&delivery.user_id).copied().unwrap_or_default();
        Notification {
            kind,
            title: None,
            body: None,
            conversation_id: delivery.conversation_id.map(|id| id.to_string()),
            message_id: delivery.message_id.map(|id| id.to_string()),
            call_id: delivery.call_id.map(|id| id.to_string()),
            count: 0,
            badge: u32::try_from(badge.max(0)).unwrap_or(u32::MAX),
            sent_at: self.now,
        }
    }

    /// Returns what the notification may show.
    fn content(&self, delivery: &Claimed) -> PushContent {
        allowed(self.content, delivery.content)
    }
}

/// Returns None if the delivery has waited for `MESSAGE_TTL`.
fn with_message_ttl(delivery: &Claimed, notification: Notification, urgency: Urgency) -> Option<Told> {
    let age = Duration::try_from_secs_f64(delivery.age.max(0.0)).unwrap_or(Duration::MAX);
    let ttl = MESSAGE_TTL.checked_sub(age).filter(|ttl| !ttl.is_zero())?;
    Some(Told { notification, urgency, ttl })
}

/// Returns what both the operator and the user allow. A user without settings allows everything.
pub(super) fn allowed(operator: PushContent, user: Option<NotificationContent>) -> PushContent {
    operator.min(match user {
        Some(NotificationContent::Full) | None => PushContent::Full,
        Some(NotificationContent::Sender) => PushContent::Sender,
        Some(NotificationContent::Nothing) => PushContent::Nothing,
    })
}

/// Returns the title of a group. None for a direct conversation.
pub(super) fn group(kind: ConversationKind, title: Option<&str>) -> Option<&str> {
    title.filter(|_| kind == ConversationKind::Group)
}

/// Returns the text of a message without Markdown. Empty if it shows no text.
pub(super) fn plain_body(message: MessageId, body: Option<&str>, details: &Details) -> String {
    let mentioned = details.names.get(&message).into_iter().flatten();
    let names: HashMap<_, _> = mentioned.map(|(username, name)| (username.as_str(), name.as_str())).collect();
    preview::plain(body.unwrap_or_default(), &names)
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

fn count(unread: i32) -> u32 {
    u32::try_from(unread).unwrap_or_default()
}

/// Returns the address of the device. A call goes to the PushKit token of an Apple device, if it has one.
fn target(delivery: &Claimed) -> Result<Target, String> {
    let address = delivery.address.clone();
    let keys = || {
        let (p256dh, auth) = (delivery.p256dh.clone(), delivery.auth.clone());
        ReceiverKeys::new(p256dh.unwrap_or_default(), auth.unwrap_or_default())
    };
    Ok(match delivery.transport {
        PushTransport::WebPush => Target::WebPush { endpoint: address, keys: keys()? },
        PushTransport::UnifiedPush => Target::UnifiedPush { endpoint: address, keys: keys()? },
        PushTransport::Fcm => Target::Fcm { token: address },
        PushTransport::Apns => {
            let environment = match delivery.environment {
                Some(StoredEnvironment::Sandbox) => ApnsEnvironment::Sandbox,
                Some(StoredEnvironment::Production) | None => ApnsEnvironment::Production,
            };
            let voip = delivery.voip_token.clone().filter(|_| delivery.kind == DeliveryKind::Call);
            let is_voip = voip.is_some();
            Target::Apns { token: voip.unwrap_or(address), environment, is_voip }
        }
    })
}

/// Returns the PushKit token of the target, if it has one.
pub(super) fn voip_token(target: &Target) -> Option<&str> {
    match target {
        Target::Apns { token, is_voip: true, .. } => Some(token),
        _ => None,
    }
}

/// Returns the conversation of a delivery about messages.
pub(super) fn conversation_of(delivery: &Claimed) -> Option<ConversationId> {
    let about_messages = matches!(delivery.kind, DeliveryKind::Message | DeliveryKind::Dismiss);
    delivery.conversation_id.filter(|_| about_messages)
}

#[cfg(test)]
mod tests {
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
    fn the_smaller_content_counts() {
        use super::NotificationContent as User;
        for (operator, user, expected) in [
            (PushContent::Full, None, PushContent::Full),
            (PushContent::Sender, None, PushContent::Sender),
            (PushContent::Full, Some(User::Sender), PushContent::Sender),
            (PushContent::Sender, Some(User::Full), PushContent::Sender),
            (PushContent::Sender, Some(User::Nothing), PushContent::Nothing),
            (PushContent::Nothing, Some(User::Full), PushContent::Nothing),
        ] {
            assert_eq!(allowed(operator, user), expected);
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
