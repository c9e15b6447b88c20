//! Pushes to devices of Apple by APNs, over HTTP/2 with a token key.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::{self, OpenError};
use super::notification::{Notification, Push, Urgency};
use super::outcome::{Attempt, Outcome, error_name};
use super::target::{ApnsEnvironment, Transport};
use super::token::{CachedToken, Token};
use crate::clock::Clock;
use crate::config::{ApnsKey, SEND_TIMEOUT};
use crate::outbound::{beginning, client_builder};

const SERVICE: &str = "APNs";
const FILE: &str = "APNS_KEY_FILE";
const PRODUCTION: &str = "https://api.push.apple.com";
const SANDBOX: &str = "https://api.sandbox.push.apple.com";
/// Maximum number of bytes of a payload.
const MAX_PAYLOAD: usize = 4096;
/// Maximum number of bytes of a payload for the token of PushKit.
const MAX_VOIP_PAYLOAD: usize = 5120;
/// Maximum number of bytes of the header `apns-collapse-id`.
const MAX_COLLAPSE_ID: usize = 64;
/// Maximum number of bytes of an answer that are read.
const MAX_ANSWER: usize = 4096;
/// Age after which another token is signed. Apple accepts a token for an hour, and at most one new token in 20 minutes.
const TOKEN_AGE: TimeDelta = TimeDelta::minutes(40);
/// Time between two pings of an idle connection. Apple asks for connections that stay open.
const PING_INTERVAL: Duration = Duration::from_mins(1);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends by APNs.
pub(super) struct Apns {
    client: Client,
    /// Address that replaces those of Apple.
    address: Option<String>,
    /// Bundle id of the app.
    topic: String,
    team: String,
    header: Header,
    key: EncodingKey,
    token: CachedToken,
    clock: Clock,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
}

/// An answer with an error.
#[derive(Default, Deserialize)]
struct Failure {
    reason: String,
}

/// The headers that depend on the kind of a push.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    push_type: &'static str,
    /// 10 shows a notification at once. 5 lets the device save energy, and is required for background pushes.
    priority: &'static str,
}

impl Apns {
    /// Reads the key. `address` replaces the addresses of Apple.
    pub(super) fn open(key: ApnsKey<'_>, address: Option<&Url>, clock: Clock) -> Result<Self, OpenError> {
        let malformed = || files::malformed(FILE, key.file, "is not a key of the curve P-256 in PKCS #8 PEM (.p8)");
        let client = client_builder(SEND_TIMEOUT)
            .http2_prior_knowledge()
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .build()?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key.id.to_owned());
        let apns = Self {
            client,
            address: address.map(|address| address.as_str().trim_end_matches('/').to_owned()),
            topic: key.topic.to_owned(),
            team: key.team.to_owned(),
            header,
            key: EncodingKey::from_ec_pem(&files::read(FILE, key.file)?).map_err(|_| malformed())?,
            token: CachedToken::default(),
            clock,
        };
        // A signature shows whether the key can be used.
        apns.token(clock.now()).map_err(|_| malformed())?;
        Ok(apns)
    }

    pub(super) async fn attempt(
        &self,
        device: &str,
        environment: ApnsEnvironment,
        is_voip: bool,
        push: &Push,
    ) -> Attempt {
        let now = self.clock.now();
        let (payload, token, url) = match self.prepare(device, environment, is_voip, push, now) {
            Ok(prepared) => prepared,
            Err(reason) => return Outcome::refused(reason).into(),
        };
        let kind = kind(push, is_voip);
        let topic = if is_voip { format!("{}.voip", self.topic) } else { self.topic.clone() };
        let expires_at = now.timestamp().saturating_add_unsigned(push.ttl.as_secs());
        let sending = self
            .client
            .post(url)
            .header("authorization", format!("bearer {token}"))
            .header("apns-topic", topic)
            .header("apns-push-type", kind.push_type)
            .header("apns-priority", kind.priority)
            .header("apns-expiration", if push.ttl.is_zero() { 0 } else { expires_at })
            .header("apns-collapse-id", collapse_id(push))
            .header(CONTENT_TYPE, "application/json")
            .body(payload)
            .send();
        let answer = match sending.await {
            Ok(answer) => answer,
            Err(error) => return Outcome::of_failure(SERVICE, error).into(),
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let Failure { reason } = serde_json::from_slice(&beginning(answer, MAX_ANSWER).await).unwrap_or_default();
        match (status, reason.as_str()) {
            (StatusCode::PAYLOAD_TOO_LARGE, _) => Attempt::TooLarge,
            (StatusCode::GONE, _) | (_, "BadDeviceToken" | "Unregistered" | "ExpiredToken") => Outcome::Gone.into(),
            // The clocks differ, or the token was signed too long ago.
            (_, "ExpiredProviderToken") => {
                self.token.drop_refused(&token);
                Outcome::Retry { after: None }.into()
            }
            _ => Outcome::of_answer(SERVICE, (status, &headers), error_name(&reason), now).into(),
        }
    }

    /// Returns the payload, the token of the server, and the URL of the device.
    fn prepare(
        &self,
        device: &str,
        environment: ApnsEnvironment,
        is_voip: bool,
        push: &Push,
        now: DateTime<Utc>,
    ) -> Result<(Vec<u8>, Arc<str>, Url), String> {
        // The token is a part of the path.
        Transport::Apns.check_token(device)?;
        let address = self.address.as_deref().unwrap_or(match environment {
            ApnsEnvironment::Production => PRODUCTION,
            ApnsEnvironment::Sandbox => SANDBOX,
        });
        let url = Url::parse(&format!("{address}/3/device/{device}")).map_err(|error| error.to_string())?;
        let limit = if is_voip { MAX_VOIP_PAYLOAD } else { MAX_PAYLOAD };
        let encode = |notification: &Notification| payload(notification, is_voip);
        let notification = push.notification.fitted(limit, encode)?;
        let payload = encode(&notification).map_err(|error| error.to_string())?;
        Ok((payload, self.token(now).map_err(|error| error.to_string())?, url))
    }

    /// Returns the token of the server. Signs another one if it is too old.
    fn token(&self, now: DateTime<Utc>) -> jsonwebtoken::errors::Result<Arc<str>> {
        self.token.get_or_make(now, || {
            let claims = Claims { iss: &self.team, iat: now.timestamp() };
            let text = jsonwebtoken::encode(&self.header, &claims, &self.key)?.into();
            Ok(Token { text, renew_at: now + TOKEN_AGE })
        })
    }
}

fn kind(push: &Push, is_voip: bool) -> Kind {
    match push.urgency {
        _ if is_voip => Kind { push_type: "voip", priority: "10" },
        _ if !push.notification.kind.is_shown() => Kind { push_type: "background", priority: "5" },
        Urgency::High => Kind { push_type: "alert", priority: "10" },
        Urgency::Normal => Kind { push_type: "alert", priority: "5" },
    }
}

fn collapse_id(push: &Push) -> String {
    let key = &push.collapse_key;
    let fits = (1..=MAX_COLLAPSE_ID).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { key.clone() } else { push.topic() }
}

/// Returns the payload: the keys of Apple in `aps`, and beside it the notification for the app.
fn payload(notification: &Notification, is_voip: bool) -> serde_json::Result<Vec<u8>> {
    let mut payload = notification.fields()?;
    let aps = if is_voip {
        json!({})
    } else if notification.kind.is_shown() {
        let alert = notification.texts();
        let mut aps = json!({"alert": alert, "badge": notification.badge, "sound": "default", "mutable-content": 1});
        if let Some(conversation) = &notification.conversation_id {
            aps["thread-id"] = conversation.as_str().into();
        }
        aps
    } else {
        json!({"content-available": 1, "badge": notification.badge})
    };
    payload.insert("aps".to_owned(), aps);
    serde_json::to_vec(&payload)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::notification::NotificationKind;
    use super::super::notification::tests::push;
    use super::*;

    fn of_kind(kind: NotificationKind) -> Push {
        let mut push = push("Hello");
        push.notification.kind = kind;
        push
    }

    fn json_of(kind: NotificationKind, is_voip: bool) -> Value {
        serde_json::from_slice(&payload(&of_kind(kind).notification, is_voip).unwrap()).unwrap()
    }

    #[test]
    fn a_message_has_an_alert_the_badge_and_its_thread() {
        let payload = json_of(NotificationKind::Message, false);
        let expected = json!({
            "aps": {
                "alert": {"title": "Ada", "body": "Hello"}, "badge": 7, "sound": "default", "mutable-content": 1,
                "thread-id": "conv_1",
            },
            "kind": "message", "title": "Ada", "body": "Hello", "conversationId": "conv_1", "messageId": "msg_1",
            "count": 2, "badge": 7, "sentAt": "2026-12-01T12:00:00Z",
        });
        assert_eq!(payload, expected);
    }

    #[test]
    fn pushes_that_remove_a_notification_are_silent() {
        for silent in [NotificationKind::Dismiss, NotificationKind::CallEnded] {
            assert_eq!(json_of(silent, false)["aps"], json!({"content-available": 1, "badge": 7}));
            assert_eq!(kind(&of_kind(silent), false), Kind { push_type: "background", priority: "5" });
        }
        let call = of_kind(NotificationKind::Call);
        assert_eq!(json_of(NotificationKind::Call, true)["aps"], json!({}));
        assert_eq!(kind(&call, true), Kind { push_type: "voip", priority: "10" });
        assert_eq!(kind(&call, false), Kind { push_type: "alert", priority: "10" });
        let normal = Push { urgency: Urgency::Normal, ..call };
        assert_eq!(kind(&normal, false), Kind { push_type: "alert", priority: "5" });
    }

    #[test]
    fn a_collapse_id_has_at_most_64_bytes() {
        let with_key = |key: &str| collapse_id(&Push { collapse_key: key.to_owned(), ..push("Hello") });
        assert_eq!(with_key("m:1"), "m:1");
        for hashed in ["", "ä", "a\n", "a b", &"a".repeat(65)] {
            assert_eq!(with_key(hashed).len(), 32, "{hashed:?}");
        }
    }
}
