//! The outcomes of pushes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tracing::debug;

use crate::outbound::{is_temporary, retry_after, with_causes};

/// Maximum time before a retry that a push service can ask for. The server gives a push up after the same time.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The push service has accepted the push.
    Delivered,
    /// The subscription no longer exists.
    Gone,
    /// Another attempt may succeed, after the time that the push service asks for.
    Retry { after: Option<Duration> },
    /// No further attempt would succeed. The reason is for the log. It has no text that a client or another server has
    /// chosen, so there are few different reasons.
    Refused { reason: String },
}

/// The outcome of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Done(Outcome),
    /// The push service refuses the push because of its size.
    TooLarge,
}

impl Outcome {
    /// Returns the name of the outcome in metrics.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Gone => "gone",
            Self::Retry { .. } => "retry",
            Self::Refused { .. } => "refused",
        }
    }

    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    /// Returns the outcome of a request without an answer.
    pub(super) fn of_failure(service: &'static str, error: reqwest::Error) -> Self {
        let is_invalid = error.is_builder();
        debug!(service, reason = with_causes(error), "a push was not sent");
        if is_invalid {
            return Self::refused(format!("the request to {service} is invalid"));
        }
        Self::Retry { after: None }
    }

    /// Returns the outcome of an answer whose status alone decides. `detail` is the name of an error.
    pub(super) fn of_answer(
        service: &'static str,
        (status, headers): (StatusCode, &HeaderMap),
        detail: Option<&str>,
        now: DateTime<Utc>,
    ) -> Self {
        if status.is_success() {
            return Self::Delivered;
        }
        if is_temporary(status) {
            debug!(service, %status, detail, "a push is sent again later");
            return Self::Retry { after: retry_after(headers, now.into()).map(|after| after.min(MAX_RETRY_AFTER)) };
        }
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        Self::refused(format!("{service} answered {status}{detail}"))
    }
}

impl From<Outcome> for Attempt {
    fn from(outcome: Outcome) -> Self {
        Self::Done(outcome)
    }
}

/// Returns the text if it has the form of the name of an error, such as `BadDeviceToken` or `SENDER_ID_MISMATCH`.
pub(super) fn error_name(text: &str) -> Option<&str> {
    const MAX: usize = 64;
    let fits = (1..=MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    fits.then_some(text)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderValue, RETRY_AFTER};

    use super::*;

    fn outcome(status: u16, after: Option<&'static str>) -> Outcome {
        let headers: HeaderMap =
            after.map(|value| (RETRY_AFTER, HeaderValue::from_static(value))).into_iter().collect();
        let now = DateTime::from_timestamp(1_445_412_480, 0).unwrap();
        Outcome::of_answer("a service", (StatusCode::from_u16(status).unwrap(), &headers), None, now)
    }

    #[test]
    fn only_temporary_failures_are_retried() {
        for status in [200, 201, 202, 204] {
            assert_eq!(outcome(status, None), Outcome::Delivered);
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(outcome(status, None), Outcome::Retry { after: None }, "{status}");
        }
        for status in [301, 307, 400, 401, 403, 405, 422] {
            assert!(matches!(outcome(status, Some("1")), Outcome::Refused { .. }), "{status}");
        }
        assert_eq!(outcome(403, None), Outcome::refused("a service answered 403 Forbidden"));
    }

    #[test]
    fn retry_after_is_obeyed_up_to_a_day() {
        let after = |seconds| Outcome::Retry { after: Some(Duration::from_secs(seconds)) };
        for status in [429, 500, 503] {
            assert_eq!(outcome(status, Some("120")), after(120));
            assert_eq!(outcome(status, Some("Wed, 21 Oct 2015 07:28:30 GMT")), after(30));
            assert_eq!(outcome(status, Some("Wed, 21 Oct 2015 07:27:00 GMT")), after(0));
            assert_eq!(outcome(status, Some("Sat, 21 Oct 2045 07:28:30 GMT")), after(86_400));
            assert_eq!(outcome(status, Some("18446744073709551615")), after(86_400));
            assert_eq!(outcome(status, Some("tomorrow")), Outcome::Retry { after: None });
        }
    }

    #[test]
    fn only_the_name_of_an_error_gets_into_the_log() {
        assert_eq!(error_name("BadDeviceToken"), Some("BadDeviceToken"));
        for text in ["", "two words", "line\nbreak", "<b>", &"a".repeat(65)] {
            assert_eq!(error_name(text), None, "{text:?}");
        }
    }
}
