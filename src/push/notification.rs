//! What a push says, and how it is shortened until a transport accepts it.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Number of bytes of a hash that form the name of a topic: 32 characters in Base64url, which is the maximum of
/// RFC 8030, section 5.4.
const TOPIC_BYTES: usize = 24;

/// A notification, and how it is sent.
#[derive(Clone, Debug)]
pub struct Push {
    pub urgency: Urgency,
    /// Time for which a push service keeps the push if the device is not connected.
    pub ttl: Duration,
    /// A later push with the same key replaces this one, at the push service and on the device.
    pub collapse_key: String,
    pub notification: Notification,
}

/// Whether a push wakes a device that saves energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    High,
    Normal,
}

/// What a device shows. As JSON it is the payload of Web Push and UnifiedPush, and the data of FCM and APNs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    pub kind: NotificationKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Id of the conversation, as in GraphQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// Number of unread messages of the conversation.
    pub count: u32,
    /// Number of unread messages of all conversations: `Viewer.unreadCount`.
    pub badge: u32,
    pub sent_at: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    Message,
    /// Removes the notification of a conversation.
    Dismiss,
    Call,
    /// Removes the notification of a call.
    CallEnded,
    /// Sent by the operator, to check that pushes arrive.
    Test,
}

impl NotificationKind {
    /// Whether the device shows a notification. Otherwise it removes one, without a sound.
    pub(super) fn is_shown(self) -> bool {
        matches!(self, Self::Message | Self::Call | Self::Test)
    }
}

impl Push {
    /// Returns the collapse key in the form of a topic of Web Push: at most 32 characters of Base64url.
    pub(super) fn topic(&self) -> String {
        let hash: [u8; 32] = Sha256::digest(&self.collapse_key).into();
        URL_SAFE_NO_PAD.encode(&hash[..TOPIC_BYTES])
    }

    /// Returns the push without the text of the message, for a service that refuses it as too large.
    pub(super) fn without_body(&self) -> Self {
        let notification = Notification { body: None, ..self.notification.clone() };
        Self { notification, ..self.clone() }
    }
}

impl Notification {
    /// Returns the fields of the JSON.
    pub(super) fn fields(&self) -> serde_json::Result<Map<String, Value>> {
        Ok(match serde_json::to_value(self)? {
            Value::Object(fields) => fields,
            _ => Map::new(),
        })
    }

    /// Returns the title and the body, for a service that shows them itself.
    pub(super) fn texts(&self) -> Map<String, Value> {
        let texts = [("title", &self.title), ("body", &self.body)].into_iter();
        texts.filter_map(|(name, text)| Some((name.to_owned(), Value::from(text.as_deref()?)))).collect()
    }

    /// Cuts the body until the part of the request that `encode` returns has at most `limit` bytes. The error says why
    /// that is impossible.
    pub(super) fn fitted(
        &self,
        limit: usize,
        encode: impl Fn(&Self) -> serde_json::Result<Vec<u8>>,
    ) -> Result<Cow<'_, Self>, String> {
        let size = |notification: &Self| encode(notification).map(|part| part.len());
        if size(self).map_err(|error| error.to_string())? <= limit {
            return Ok(Cow::Borrowed(self));
        }
        let body = self.body.as_deref().unwrap_or_default();
        let cut = |end: usize| Self { body: Some(format!("{}…", body[..end].trim_end())), ..self.clone() };
        let ends: Vec<usize> = body.char_indices().map(|(start, _)| start).collect();
        let fits = |end: usize| size(&cut(end)).is_ok_and(|size| size <= limit);
        if let Some(longest) = ends.partition_point(|&end| fits(end)).checked_sub(1) {
            return Ok(Cow::Owned(cut(ends[longest])));
        }
        let without_body = Self { body: None, ..self.clone() };
        match size(&without_body) {
            Ok(size) if size <= limit => Ok(Cow::Owned(without_body)),
            _ => Err(format!("the push has more than {limit} bytes, even without the text")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a push about a message with this text.
    pub(in crate::push) fn push(body: &str) -> Push {
        Push {
            urgency: Urgency::High,
            ttl: Duration::from_hours(24),
            collapse_key: "m:0193a2b4-0000-7000-8000-000000000000".to_owned(),
            notification: Notification {
                kind: NotificationKind::Message,
                title: Some("Ada".to_owned()),
                body: Some(body.to_owned()),
                conversation_id: Some("conv_1".to_owned()),
                message_id: Some("msg_1".to_owned()),
                call_id: None,
                count: 2,
                badge: 7,
                sent_at: DateTime::from_timestamp(1_796_126_400, 0).unwrap(),
            },
        }
    }

    fn fitted(body: &str, limit: usize) -> Result<Option<String>, String> {
        let notification = push(body).notification;
        let fitting = notification.fitted(limit, serde_json::to_vec)?;
        assert!(serde_json::to_vec(&fitting).unwrap().len() <= limit);
        Ok(fitting.into_owned().body)
    }

    fn size(body: &str) -> usize {
        serde_json::to_vec(&push(body).notification).unwrap().len()
    }

    #[test]
    fn the_payload_is_json_in_camel_case() {
        let payload = serde_json::to_value(&push("Hello").notification).unwrap();
        let expected = serde_json::json!({
            "kind": "message", "title": "Ada", "body": "Hello", "conversationId": "conv_1", "messageId": "msg_1",
            "count": 2, "badge": 7, "sentAt": "2026-12-01T12:00:00Z",
        });
        assert_eq!(payload, expected);
        assert_eq!(serde_json::to_value(NotificationKind::CallEnded).unwrap(), "call_ended");
    }

    #[test]
    fn a_text_is_cut_on_the_boundary_of_a_character() {
        let whole = "Grüße aus Köln";
        assert_eq!(fitted(whole, size(whole)).unwrap().as_deref(), Some(whole));
        assert_eq!(fitted(whole, size(whole) - 1).unwrap().as_deref(), Some("Grüße aus K…"));
        assert_eq!(fitted(whole, size("Grü…") + 1).unwrap().as_deref(), Some("Grü…"));
        assert_eq!(fitted("a b", size("a b") - 1).unwrap().as_deref(), None);
        assert_eq!(fitted("abcde fghij", size("abcde…") + 1).unwrap().as_deref(), Some("abcde…"));
        assert_eq!(fitted(whole, size("…")).unwrap().as_deref(), Some("…"));
        assert_eq!(fitted(whole, size("…") - 1).unwrap(), None);
        assert!(fitted(whole, 20).unwrap_err().contains("20 bytes"));
    }

    #[test]
    fn escapes_and_long_texts_are_counted_as_they_are_sent() {
        for text in ["\"\\\n\u{1}".repeat(3000), "👩‍👩‍👧‍👦".repeat(3000), "a".repeat(100_000)] {
            let body = fitted(&text, 3000).unwrap().unwrap();
            let kept = body.strip_suffix('…').unwrap();
            assert!(text.starts_with(kept) && size(&body) > 3000 - 30, "{} bytes of {}", kept.len(), text.len());
        }
    }

    #[test]
    fn a_topic_has_32_characters_of_base64url() {
        let topic = push("Hello").topic();
        assert!(topic.len() == 32 && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_eq!(push("Hello again").topic(), topic);
        assert_ne!(Push { collapse_key: "m:2".to_owned(), ..push("Hello") }.topic(), topic);
    }
}
