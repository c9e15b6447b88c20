//! SMS by the operator's hook: a signed request for each, because every provider has another API.

use std::sync::Arc;
use std::time::SystemTime;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, StatusCode, Url};
use serde::Serialize;

use super::delivery::{ATTEMPT_TIMEOUT, Failure, Outlet, Retry};
use super::notice::{Outgoing, Recipient};
use super::signature::sign;
use super::templates::Templates;
use crate::clock::Clock;
use crate::config::HookSecret;
use crate::outbound::{client_builder, is_temporary, retry_after, with_causes};
use crate::random::Random;

/// Sends SMS by requests to SMS_HOOK_URL.
pub(super) struct SmsHook {
    client: Client,
    url: Url,
    secret: HookSecret,
    templates: Arc<Templates>,
    clock: Clock,
    random: Random,
}

/// A request to the hook. Each attempt has the same id and body, and a signature of its own.
pub(super) struct Request {
    id: String,
    body: String,
}

/// The body of a request.
#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    /// Time at which the SMS was queued, in the form of RFC 3339.
    timestamp: String,
    data: Sms<'a>,
}

#[derive(Serialize)]
struct Sms<'a> {
    to: &'a str,
    text: String,
    purpose: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    language: String,
}

impl SmsHook {
    pub(super) fn new(
        url: Url,
        secret: HookSecret,
        templates: Arc<Templates>,
        clock: Clock,
        random: Random,
    ) -> Result<Self, String> {
        let client = client_builder(ATTEMPT_TIMEOUT).build().map_err(with_causes)?;
        Ok(Self { client, url, secret, templates, clock, random })
    }
}

impl Outlet for SmsHook {
    type Prepared = Request;

    fn prepare(&self, outgoing: &Outgoing) -> Result<Request, String> {
        let Recipient::Phone(to) = &outgoing.recipient else { return Err("the recipient has no phone number".into()) };
        let text = self.templates.sms(outgoing).map_err(|error| error.to_string())?;
        let (purpose, code) = (outgoing.notice.purpose(), outgoing.notice.code());
        let data = Sms { to, text: text.text, purpose, code, language: text.language };
        let event = Event { r#type: "sms.send", timestamp: self.clock.now().to_rfc3339(), data };
        let body = serde_json::to_string(&event).map_err(|error| error.to_string())?;
        Ok(Request { id: format!("msg_{:032x}", u128::from_be_bytes(self.random.bytes())), body })
    }

    /// Sends the request. The body of the answer is not read.
    async fn attempt(&self, request: &Request) -> Result<(), Failure> {
        let now = self.clock.now();
        let timestamp = now.timestamp();
        let signature = sign(self.secret.key(), &request.id, timestamp, &request.body);
        let sending = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &request.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(request.body.clone())
            .send();
        match sending.await {
            Ok(answer) => judge(answer.status(), answer.headers(), now.into()),
            Err(error) => Err(Failure { reason: with_causes(error), retry: Retry::AfterBackoff }),
        }
    }
}

/// Decides by the answer of the hook whether the SMS was accepted, and if not, whether another attempt may succeed.
fn judge(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let retry = match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            retry_after(headers, now).map_or(Retry::AfterBackoff, Retry::After)
        }
        _ if is_temporary(status) => Retry::AfterBackoff,
        _ => Retry::Never,
    };
    Err(Failure { reason: format!("SMS_HOOK_URL answered {status}"), retry })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{HeaderValue, RETRY_AFTER};

    use super::*;
    use crate::notices::language::Language;
    use crate::notices::notice::{CodeUse, Notice};

    fn hook() -> SmsHook {
        let secret = HookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let templates = Arc::new(Templates::open(None, "Parlance").unwrap());
        let url = Url::parse("http://127.0.0.1:9/").unwrap();
        SmsHook::new(url, secret, templates, Clock::system(), Random::system()).unwrap()
    }

    fn body(notice: Notice) -> serde_json::Value {
        let recipient = Recipient::Phone("+491701234567".into());
        let language = Language::negotiate(Some("de-AT, en;q=0.5"));
        let outgoing = Outgoing { recipient, notice, language, network: None };
        serde_json::from_str(&hook().prepare(&outgoing).unwrap().body).unwrap()
    }

    fn decision(status: u16, retry_after: Option<&'static str>) -> Result<(), Retry> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_mins(24_090_208);
        judge(StatusCode::from_u16(status).unwrap(), &headers, now).map_err(|failure| failure.retry)
    }

    #[test]
    fn a_request_has_the_recipient_the_text_and_the_code() {
        let event = body(Notice::Code { code: "482913".into(), usage: CodeUse::ResetPassword, minutes: 10 });
        assert_eq!(event["type"], "sms.send");
        let timestamp = event["timestamp"].as_str().unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(timestamp).is_ok(), "{timestamp}");
        let data = &event["data"];
        assert_eq!(data["to"], "+491701234567");
        assert_eq!(data["code"], "482913");
        assert_eq!(data["purpose"], "reset_password");
        assert_eq!(data["language"], "de");
        assert!(data["text"].as_str().unwrap().starts_with("482913 ist Ihr Code"), "{data}");
        let other = body(Notice::PasswordReset { username: "ada".into() });
        assert_eq!(other["data"]["purpose"], "password_reset");
        assert!(other["data"].get("code").is_none(), "{other}");
    }

    #[test]
    fn only_temporary_failures_are_retried() {
        for status in [200, 202, 204] {
            assert_eq!(decision(status, None), Ok(()));
        }
        for status in [301, 400, 401, 403, 404, 410, 422] {
            assert_eq!(decision(status, None), Err(Retry::Never), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(decision(status, None), Err(Retry::AfterBackoff), "{status}");
        }
    }

    #[test]
    fn retry_after_is_obeyed_as_seconds_and_as_a_date() {
        let after = |seconds| Err(Retry::After(Duration::from_secs(seconds)));
        assert_eq!(decision(429, Some("7")), after(7));
        assert_eq!(decision(503, Some("Wed, 21 Oct 2015 07:28:30 GMT")), after(30));
        assert_eq!(decision(503, Some("Wed, 21 Oct 2015 07:27:00 GMT")), after(0));
        assert_eq!(decision(503, Some("soon")), Err(Retry::AfterBackoff));
        assert_eq!(decision(503, Some("-1")), Err(Retry::AfterBackoff));
        assert_eq!(decision(500, Some("7")), Err(Retry::AfterBackoff));
        assert_eq!(decision(429, Some("18446744073709551615")), after(u64::MAX));
    }

    #[tokio::test]
    async fn a_hook_that_does_not_answer_is_tried_again() {
        let hook = hook();
        let request = Request { id: "msg_1".into(), body: "{}".into() };
        let failure = hook.attempt(&request).await.unwrap_err();
        assert_eq!(failure.retry, Retry::AfterBackoff);
        assert!(!failure.reason.contains("127.0.0.1:9/"), "the URL may have a secret: {}", failure.reason);
    }
}
