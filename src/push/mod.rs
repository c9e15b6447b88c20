//! Push notifications to devices: Web Push, UnifiedPush, FCM and APNs. This part sends one push to one device. It
//! decides neither who gets a push nor what it says.
//!
//! docs/decisions/0024 says why no library for these services is used.

mod apns;
mod encryption;
mod fcm;
mod files;
mod google;
mod notification;
mod outcome;
mod p256;
mod target;
#[cfg(test)]
mod tests;
mod token;
mod vapid;
mod web_push;

use std::sync::Arc;

use reqwest::Url;
use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use crate::config::{MAX_PUSH_ADDRESS, PushSettings, SEND_TIMEOUT};
use crate::metrics::PushMetrics;
use crate::outbound::Outbound;
use crate::random::Random;
use apns::Apns;
pub use encryption::ReceiverKeys;
use fcm::Fcm;
pub use files::OpenError;
pub use notification::{Notification, NotificationKind, Push, Urgency};
use outcome::Attempt;
pub use outcome::Outcome;
pub use target::{ApnsEnvironment, Target, Transport};
use vapid::VapidTokens;
pub use vapid::{InvalidKey, VapidKey};
use web_push::WebPush;

/// Sends pushes by all configured transports. Cheap to clone.
#[derive(Clone)]
pub struct Pusher {
    inner: Arc<Inner>,
    metrics: Option<PushMetrics>,
}

struct Inner {
    web_push: WebPush,
    fcm: Option<Fcm>,
    apns: Option<Apns>,
}

/// A push service with the address of a device there.
enum Route<'a> {
    WebPush { sender: &'a WebPush, endpoint: Url, keys: &'a ReceiverKeys },
    Fcm { sender: &'a Fcm, token: &'a str },
    Apns { sender: &'a Apns, token: &'a str, environment: ApnsEnvironment, is_voip: bool },
}

impl Pusher {
    /// Reads the keys and prepares the connections. Connects to no service.
    pub fn open(settings: &PushSettings, vapid: VapidKey, clock: Clock, random: &Random) -> Result<Self, OpenError> {
        let outbound = Outbound::new(settings.push_allowed_networks.clone(), SEND_TIMEOUT)?;
        let tokens = VapidTokens::new(vapid, settings.push_contact.clone());
        let account = settings.fcm_service_account_file.as_deref();
        let fcm = account.map(|file| Fcm::open(file, settings.push_fcm_url.as_ref(), clock)).transpose()?;
        let apns = settings.apns().map(|key| Apns::open(key, settings.push_apns_url.as_ref(), clock)).transpose()?;
        let web_push = WebPush::new(outbound, tokens, clock, random.clone());
        let inner = Inner { web_push, fcm, apns };
        Ok(Self { inner: Arc::new(inner), metrics: None })
    }

    /// Counts the pushes. A command that sends a few pushes has no metrics.
    #[must_use]
    pub fn with_metrics(self, metrics: PushMetrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Returns the key that browsers need to subscribe, in Base64url.
    pub fn vapid_public_key(&self) -> String {
        self.inner.web_push.public_key()
    }

    /// Whether the operator has configured the transport. Web Push and UnifiedPush need no configuration.
    pub fn supports(&self, transport: Transport) -> bool {
        match transport {
            Transport::WebPush | Transport::UnifiedPush => true,
            Transport::Fcm => self.inner.fcm.is_some(),
            Transport::Apns => self.inner.apns.is_some(),
        }
    }

    /// Checks an endpoint that a client gives, and resolves its host. The error is a sentence for the client.
    pub async fn check_endpoint(&self, endpoint: &str) -> Result<(), String> {
        if endpoint.len() > MAX_PUSH_ADDRESS {
            return Err(format!("The endpoint must have at most {MAX_PUSH_ADDRESS} bytes."));
        }
        let url = Url::parse(endpoint).map_err(|_| "The endpoint must be a URL.")?;
        self.inner.web_push.check(&url).await
    }

    /// Tries once to send a push. Returns within SEND_TIMEOUT: [`Outcome::Retry`] if there is no answer until then. The
    /// caller limits the number of pushes that are sent to one service at the same time.
    pub async fn send(&self, target: &Target, push: &Push) -> Outcome {
        let started = Instant::now();
        let outcome = self.inner.send(target, push).await;
        if let Some(metrics) = &self.metrics {
            metrics.sent(target.transport().as_str(), outcome.as_str(), started.elapsed());
        }
        outcome
    }
}

impl Inner {
    async fn send(&self, target: &Target, push: &Push) -> Outcome {
        let route = match self.route(target) {
            Ok(route) => route,
            Err(outcome) => return outcome,
        };
        timeout(SEND_TIMEOUT, route.send(push)).await.unwrap_or(Outcome::Retry { after: None })
    }

    fn route<'a>(&'a self, target: &'a Target) -> Result<Route<'a>, Outcome> {
        match target {
            Target::WebPush { endpoint, keys } | Target::UnifiedPush { endpoint, keys } => {
                let endpoint = Url::parse(endpoint).map_err(|_| Outcome::refused("the endpoint is not a URL"))?;
                Ok(Route::WebPush { sender: &self.web_push, endpoint, keys })
            }
            Target::Fcm { token } => {
                let sender = self.fcm.as_ref();
                let sender = sender.ok_or_else(|| Outcome::refused("FCM_SERVICE_ACCOUNT_FILE is not set"))?;
                Ok(Route::Fcm { sender, token })
            }
            Target::Apns { token, environment, is_voip } => {
                let sender = self.apns.as_ref();
                let sender = sender.ok_or_else(|| Outcome::refused("APNS_KEY_FILE is not set"))?;
                Ok(Route::Apns { sender, token, environment: *environment, is_voip: *is_voip })
            }
        }
    }
}

impl Route<'_> {
    /// Sends the push. If the service refuses it as too large, sends it once more without the text of the message.
    async fn send(&self, push: &Push) -> Outcome {
        if let Attempt::Done(outcome) = self.attempt(push).await {
            return outcome;
        }
        if push.notification.body.is_some()
            && let Attempt::Done(outcome) = self.attempt(&push.without_body()).await
        {
            return outcome;
        }
        Outcome::refused("a push is too large for its push service, even without the text")
    }

    async fn attempt(&self, push: &Push) -> Attempt {
        match self {
            Self::WebPush { sender, endpoint, keys } => sender.attempt(endpoint, keys, push).await,
            Self::Fcm { sender, token } => sender.attempt(token, push).await,
            Self::Apns { sender, token, environment, is_voip } => {
                sender.attempt(token, *environment, *is_voip, push).await
            }
        }
    }
}
