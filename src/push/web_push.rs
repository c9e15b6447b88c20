//! Web Push (RFC 8030), encrypted for the receiver (RFC 8291) and signed by the server (RFC 8292). UnifiedPush is the
//! same request to the endpoint of a distributor.

use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{RequestBuilder, StatusCode, Url};
use tracing::debug;

use super::encryption::{MAX_CONTENT, ReceiverKeys, encrypt};
use super::notification::{Push, Urgency};
use super::outcome::{Attempt, Outcome};
use super::vapid::VapidTokens;
use crate::clock::Clock;
use crate::outbound::{Outbound, beginning};
use crate::random::Random;

const SERVICE: &str = "a push service";
/// Maximum number of bytes of an answer that are read. A body that is read to its end leaves the connection open.
const MAX_ANSWER: usize = 4096;

/// Sends to the endpoints of browsers and distributors.
pub(super) struct WebPush {
    outbound: Outbound,
    tokens: VapidTokens,
    clock: Clock,
    random: Random,
}

impl WebPush {
    pub(super) fn new(outbound: Outbound, tokens: VapidTokens, clock: Clock, random: Random) -> Self {
        Self { outbound, tokens, clock, random }
    }

    pub(super) fn public_key(&self) -> String {
        self.tokens.public_key()
    }

    /// Checks whether the server can send to this URL. The error is a sentence for the client.
    pub(super) async fn check(&self, endpoint: &Url) -> Result<(), String> {
        self.outbound.check(endpoint).await.map_err(|refusal| refusal.to_string())
    }

    pub(super) async fn attempt(&self, endpoint: &Url, keys: &ReceiverKeys, push: &Push) -> Attempt {
        let now = self.clock.now();
        let request = match self.request(endpoint, keys, push, now) {
            Ok(request) => request,
            Err(reason) => return Outcome::refused(reason).into(),
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Outcome::of_failure(SERVICE, error).into(),
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = beginning(answer, MAX_ANSWER).await;
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Outcome::Gone.into(),
            StatusCode::PAYLOAD_TOO_LARGE => Attempt::TooLarge,
            _ => {
                if !status.is_success() {
                    let (host, answer) = (endpoint.host_str(), String::from_utf8_lossy(&body));
                    debug!(host, %status, ?answer, "a push service did not accept a push");
                }
                Outcome::of_answer(SERVICE, (status, &headers), None, now).into()
            }
        }
    }

    /// Returns the request. The error says why this push can never be sent.
    fn request(
        &self,
        endpoint: &Url,
        keys: &ReceiverKeys,
        push: &Push,
        now: DateTime<Utc>,
    ) -> Result<RequestBuilder, String> {
        let notification = push.notification.fitted(MAX_CONTENT, serde_json::to_vec)?;
        let content = serde_json::to_vec(&notification).map_err(|error| error.to_string())?;
        let message = encrypt(&content, keys, &self.random).map_err(|_| "the keys of the receiver are invalid")?;
        let origin = endpoint.origin().ascii_serialization();
        let authorization = self.tokens.authorization(&origin, now).map_err(|error| error.to_string())?;
        let urgency = match push.urgency {
            Urgency::High => "high",
            Urgency::Normal => "normal",
        };
        let request = self.outbound.post(endpoint.clone()).map_err(|refusal| refusal.to_string())?;
        Ok(request
            .header(AUTHORIZATION, &*authorization)
            .header(CONTENT_ENCODING, "aes128gcm")
            .header(CONTENT_TYPE, "application/octet-stream")
            .header("ttl", push.ttl.as_secs())
            .header("urgency", urgency)
            .header("topic", push.topic())
            .body(message))
    }
}
