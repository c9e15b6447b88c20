//! Pushes to Android by the HTTP v1 API of Firebase Cloud Messaging.

use std::path::Path;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::files::OpenError;
use super::google::{AccessTokens, Account};
use super::notification::{Notification, Push, Urgency};
use super::outcome::{Attempt, Outcome, error_name};
use crate::clock::Clock;
use crate::config::SEND_TIMEOUT;
use crate::outbound::{beginning, client_builder};

const SERVICE: &str = "FCM";
const ADDRESS: &str = "https://fcm.googleapis.com";
/// Maximum number of bytes of the data and the notification of a message together.
const MAX_PAYLOAD: usize = 4096;
/// Maximum number of bytes of an answer that are read.
const MAX_ANSWER: usize = 16_384;

/// Sends by FCM.
pub(super) struct Fcm {
    client: Client,
    url: Url,
    tokens: AccessTokens,
    clock: Clock,
}

/// An answer with an error. https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
#[derive(Default, Deserialize)]
struct Failure {
    error: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    /// Name of the kind of error of all services of Google, such as `NOT_FOUND`.
    status: String,
    details: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    /// Name of an error of FCM, such as `UNREGISTERED`.
    error_code: Option<String>,
    field_violations: Vec<Violation>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Violation {
    field: String,
}

impl Fcm {
    /// Reads the file of the service account. `address` replaces the address of FCM.
    pub(super) fn open(account: &Path, address: Option<&Url>, clock: Clock) -> Result<Self, OpenError> {
        let account = Account::read(account)?;
        let client = client_builder(SEND_TIMEOUT).build()?;
        let address = address.map_or(ADDRESS, |address| address.as_str().trim_end_matches('/'));
        let url = format!("{address}/v1/projects/{}/messages:send", account.project);
        let url = Url::parse(&url).map_err(|error| OpenError::Client(error.to_string()))?;
        let tokens = AccessTokens::new(account, client.clone(), clock);
        Ok(Self { client, url, tokens, clock })
    }

    pub(super) async fn attempt(&self, token: &str, push: &Push) -> Attempt {
        let message = match message(token, push) {
            Ok(message) => message,
            Err(reason) => return Outcome::refused(reason).into(),
        };
        let Some(access) = self.tokens.current().await else { return Outcome::Retry { after: None }.into() };
        let request = self.client.post(self.url.clone()).bearer_auth(&access);
        let answer = match request.header(CONTENT_TYPE, "application/json").body(message.to_string()).send().await {
            Ok(answer) => answer,
            Err(error) => return Outcome::of_failure(SERVICE, error).into(),
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let Failure { error } = serde_json::from_slice(&beginning(answer, MAX_ANSWER).await).unwrap_or_default();
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Attempt::TooLarge,
            StatusCode::UNAUTHORIZED => {
                self.tokens.drop_refused(&access);
                Outcome::Retry { after: None }.into()
            }
            _ if error.is_about_token() => Outcome::Gone.into(),
            _ => Outcome::of_answer(SERVICE, (status, &headers), error.name(), self.clock.now()).into(),
        }
    }
}

impl Status {
    /// Returns the name of the error.
    fn name(&self) -> Option<&str> {
        self.code().or(Some(&self.status)).and_then(error_name)
    }

    fn code(&self) -> Option<&str> {
        self.details.iter().find_map(|detail| detail.error_code.as_deref())
    }

    /// Whether the token of the device is no longer valid, or never was. The status 404 alone does not say so, because
    /// FCM also sends it for a project that does not exist.
    fn is_about_token(&self) -> bool {
        let violations = || self.details.iter().flat_map(|detail| &detail.field_violations);
        match self.code() {
            Some("UNREGISTERED") => true,
            Some("INVALID_ARGUMENT") | None => violations().any(|violation| violation.field == "message.token"),
            Some(_) => false,
        }
    }
}

/// Returns the request for a push. https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
fn message(token: &str, push: &Push) -> Result<Value, String> {
    let notification =
        push.notification.fitted(MAX_PAYLOAD, |part| serde_json::to_vec(&Value::Object(content(part)?)))?;
    let mut message = content(&notification).map_err(|error| error.to_string())?;
    let priority = match push.urgency {
        Urgency::High => "HIGH",
        Urgency::Normal => "NORMAL",
    };
    let mut android =
        json!({"priority": priority, "ttl": format!("{}s", push.ttl.as_secs()), "collapse_key": push.collapse_key});
    if notification.kind.is_shown() {
        // On the device, a notification replaces the one with the same tag.
        android["notification"] = json!({"tag": push.collapse_key, "notification_count": notification.badge});
    }
    message.insert("token".to_owned(), token.into());
    message.insert("android".to_owned(), android);
    Ok(json!({ "message": message }))
}

/// Returns the parts of a message whose size is limited.
fn content(notification: &Notification) -> serde_json::Result<Map<String, Value>> {
    let data = notification.fields()?.into_iter().map(|(name, value)| (name, text(value))).collect();
    let mut content = Map::from_iter([("data".to_owned(), Value::Object(data))]);
    if notification.kind.is_shown() {
        content.insert("notification".to_owned(), Value::Object(notification.texts()));
    }
    Ok(content)
}

/// Converts a value to a string, because the data of a message has only strings.
fn text(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text),
        value => Value::String(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::notification::NotificationKind;
    use super::super::notification::tests::push;
    use super::*;

    #[test]
    fn a_message_has_data_of_strings_and_a_notification() {
        let message = message("token", &push("Hello")).unwrap();
        let key = "m:0193a2b4-0000-7000-8000-000000000000";
        let expected = json!({"message": {
            "token": "token",
            "data": {
                "kind": "message", "title": "Ada", "body": "Hello", "conversationId": "conv_1",
                "messageId": "msg_1", "count": "2", "badge": "7", "sentAt": "2026-12-01T12:00:00Z",
            },
            "notification": {"title": "Ada", "body": "Hello"},
            "android": {
                "priority": "HIGH", "ttl": "86400s", "collapse_key": key,
                "notification": {"tag": key, "notification_count": 7},
            },
        }});
        assert_eq!(message, expected);
    }

    #[test]
    fn what_takes_a_notification_away_shows_nothing() {
        for kind in [NotificationKind::Dismiss, NotificationKind::CallEnded] {
            let mut push = push("Hello");
            push.urgency = Urgency::Normal;
            push.notification.kind = kind;
            let message = message("token", &push).unwrap();
            assert!(message["message"].get("notification").is_none(), "{message}");
            assert!(message["message"]["android"].get("notification").is_none(), "{message}");
            assert_eq!(message["message"]["android"]["priority"], "NORMAL");
        }
    }

    #[test]
    fn a_long_text_is_cut_to_the_limit() {
        let message = message("token", &push(&"ä\n".repeat(5000))).unwrap();
        let message = &message["message"];
        let size = json!({"data": message["data"], "notification": message["notification"]}).to_string().len();
        assert!(size <= MAX_PAYLOAD && size > MAX_PAYLOAD - 20, "{size}");
        assert_eq!(message["data"]["body"], message["notification"]["body"]);
    }

    #[test]
    fn only_an_error_about_the_token_ends_the_subscription() {
        let judge = |answer: Value| {
            let Failure { error } = serde_json::from_value(answer).unwrap();
            (error.is_about_token(), error.name().map(str::to_owned))
        };
        let with_code = |status: &str, code: &str| {
            let detail = json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code});
            json!({"error": {"code": 404, "message": "…", "status": status, "details": [detail]}})
        };
        assert_eq!(judge(with_code("NOT_FOUND", "UNREGISTERED")), (true, Some("UNREGISTERED".into())));
        assert_eq!(
            judge(with_code("PERMISSION_DENIED", "SENDER_ID_MISMATCH")),
            (false, Some("SENDER_ID_MISMATCH".into()))
        );
        let project =
            json!({"error": {"code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND"}});
        assert_eq!(judge(project), (false, Some("NOT_FOUND".into())));
        let violation = |field: &str| {
            let detail = json!({"fieldViolations": [{"field": field, "description": "…"}]});
            json!({"error": {"status": "INVALID_ARGUMENT", "details": [{"errorCode": "INVALID_ARGUMENT"}, detail]}})
        };
        assert!(judge(violation("message.token")).0);
        assert!(!judge(violation("message.android.ttl")).0);
        let nothing: Failure = serde_json::from_slice(b"<html>").unwrap_or_default();
        assert_eq!((nothing.error.is_about_token(), nothing.error.name()), (false, None));
    }
}
