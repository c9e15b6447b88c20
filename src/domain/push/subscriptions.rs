//! Push subscriptions: the devices of users that get push notifications.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;

use super::core::PushCore;
use super::targets;
use crate::config::{MAX_PUSH_ADDRESS, MAX_PUSH_SUBSCRIPTIONS};
use crate::domain::error::{Error, Result};
use crate::domain::people::sessions::ENDED;
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::ids::PushSubscriptionId;
use crate::limiter::Rate;
use crate::push::ReceiverKeys;
use crate::store::people::users;
use crate::store::push::subscriptions::{self, ApnsEnvironment, PushSubscription, PushTransport};

const NO_SUBSCRIPTION: Error = Error::NotFound("No such push subscription. `viewer.pushSubscriptions` lists yours.");

pub struct PushSubscriptions<'a> {
    pub(in crate::domain) core: &'a Arc<PushCore>,
}

/// A device that its client registers.
#[derive(Debug)]
pub enum NewSubscription {
    WebPush(NewAddress),
    UnifiedPush(NewAddress),
    Fcm { token: String },
    Apns { token: String, environment: ApnsEnvironment, voip_token: Option<String> },
}

/// The endpoint of a device for Web Push or UnifiedPush, with its keys as text in Base64 for URLs.
#[derive(Debug)]
pub struct NewAddress {
    pub endpoint: String,
    pub p256dh: String,
    pub auth: String,
}

/// The name of a subscription to remove.
#[derive(Debug)]
pub enum Which {
    Id(PushSubscriptionId),
    /// The endpoint of a subscription by Web Push or UnifiedPush.
    Endpoint(String),
    /// The token of a subscription by FCM or APNs.
    Token(String),
}

/// The checked address of a device: the columns that differ by transport.
#[derive(Default)]
struct Address {
    text: String,
    service: String,
    keys: Option<ReceiverKeys>,
    environment: Option<ApnsEnvironment>,
    voip_token: Option<String>,
}

impl PushSubscriptions<'_> {
    /// Registers the device of the viewer's session. The same address can be registered again: it keeps its id, and
    /// gets the new session and keys. If another account has the address, its subscription is deleted. If the viewer
    /// has too many subscriptions, deletes the oldest.
    pub async fn register(&self, viewer: Viewer, new: NewSubscription) -> Result<PushSubscription> {
        let transport = new.transport();
        self.check_supported(transport)?;
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let address = self.checked(new).await?;
        let (p256dh, auth) = address.keys.map(|keys| (keys.p256dh, keys.auth)).unzip();
        let now = self.core.base.now();
        let row = PushSubscription {
            id: PushSubscriptionId::new(now, &self.core.base.random),
            user_id: viewer.user,
            session_id: viewer.session,
            transport,
            address: address.text,
            service: address.service,
            p256dh,
            auth,
            environment: address.environment,
            voip_token: address.voip_token,
            created_at: now,
            last_delivered_at: None,
        };
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            // The lock serialises the registrations of the user, so that their number stays within its limit.
            users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
            let stored = subscriptions::upsert(tx.conn(), &row).await?;
            let limit = i64::try_from(MAX_PUSH_SUBSCRIPTIONS).unwrap_or(i64::MAX);
            subscriptions::delete_excess(tx.conn(), viewer.user, stored.id, limit).await?;
            Ok(stored)
        })
        .await
    }

    /// Removes one of the viewer's subscriptions, and returns its id.
    pub async fn remove(&self, viewer: Viewer, which: &Which) -> Result<PushSubscriptionId> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let (transports, address) = match which {
            Which::Id(id) => {
                let mut connection = self.core.base.connection().await?;
                let deleted = subscriptions::delete(&mut connection, viewer.user, *id).await?;
                return if deleted { Ok(*id) } else { Err(NO_SUBSCRIPTION) };
            }
            Which::Endpoint(endpoint) => ([PushTransport::WebPush, PushTransport::UnifiedPush], endpoint),
            Which::Token(token) => ([PushTransport::Fcm, PushTransport::Apns], token),
        };
        // Postgres stores no NUL, so no address has one.
        if address.len() > MAX_PUSH_ADDRESS || address.contains('\0') {
            return Err(NO_SUBSCRIPTION);
        }
        let mut connection = self.core.base.connection().await?;
        let deleted = subscriptions::delete_by_address(&mut connection, viewer.user, &transports, address).await?;
        deleted.ok_or(NO_SUBSCRIPTION)
    }

    /// Reads the viewer's subscriptions, newest first. Leaves out those whose sessions have ended.
    pub async fn of_viewer(&self, viewer: Viewer) -> Result<Vec<PushSubscription>> {
        let now = self.core.base.now();
        Ok(subscriptions::of_user(&mut *self.core.base.connection().await?, viewer.user, now).await?)
    }

    fn check_supported(&self, transport: PushTransport) -> Result<()> {
        let (path, message) = match transport {
            PushTransport::WebPush | PushTransport::UnifiedPush => return Ok(()),
            PushTransport::Fcm => ("fcm", "This server does not use FCM: FCM_SERVICE_ACCOUNT_FILE is not set."),
            PushTransport::Apns => ("apns", "This server does not use APNs: APNS_KEY_FILE is not set."),
        };
        let is_supported = self.core.pusher.supports(targets::transport(transport));
        if is_supported { Ok(()) } else { Err(Error::invalid(path, message)) }
    }

    async fn checked(&self, new: NewSubscription) -> Result<Address> {
        match new {
            NewSubscription::WebPush(address) => self.checked_endpoint("webPush", address).await,
            NewSubscription::UnifiedPush(address) => self.checked_endpoint("unifiedPush", address).await,
            NewSubscription::Fcm { token } => {
                check_token(PushTransport::Fcm, [("fcm.token", Some(&token))])?;
                Ok(Address { text: token, service: PushTransport::Fcm.as_str().to_owned(), ..Address::default() })
            }
            NewSubscription::Apns { token, environment, voip_token } => {
                let tokens = [("apns.token", Some(&token)), ("apns.voipToken", voip_token.as_ref())];
                check_token(PushTransport::Apns, tokens)?;
                Ok(Address {
                    text: token,
                    service: PushTransport::Apns.as_str().to_owned(),
                    environment: Some(environment),
                    voip_token,
                    keys: None,
                })
            }
        }
    }

    /// Checks an endpoint and its keys. `path` is the input field that has them.
    async fn checked_endpoint(&self, path: &str, new: NewAddress) -> Result<Address> {
        let mut check = Check::default();
        let [p256dh, auth] = [("p256dh", &new.p256dh), ("auth", &new.auth)].map(|(name, text)| {
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).unwrap_or_else(|_| {
                check.fail(&format!("{path}.{name}"), "A key must be text in Base64 for URLs.");
                Vec::new()
            })
        });
        check.done()?;
        let keys = ReceiverKeys::new(p256dh, auth).map_err(|message| Error::invalid(path, message))?;
        let invalid = |message| Error::invalid(format!("{path}.endpoint"), message);
        self.core.pusher.check_endpoint(&new.endpoint).await.map_err(invalid)?;
        let service = service(&new.endpoint).ok_or_else(|| invalid("An endpoint must be a URL.".to_owned()))?;
        Ok(Address { text: new.endpoint, service, keys: Some(keys), ..Address::default() })
    }
}

impl NewSubscription {
    fn transport(&self) -> PushTransport {
        match self {
            Self::WebPush(_) => PushTransport::WebPush,
            Self::UnifiedPush(_) => PushTransport::UnifiedPush,
            Self::Fcm { .. } => PushTransport::Fcm,
            Self::Apns { .. } => PushTransport::Apns,
        }
    }
}

/// Checks tokens, each with the path of its input field.
fn check_token<const N: usize>(transport: PushTransport, tokens: [(&str, Option<&String>); N]) -> Result<()> {
    let mut check = Check::default();
    for (path, token) in tokens {
        let Some(token) = token else { continue };
        if let Err(message) = targets::transport(transport).check_token(token) {
            check.fail(path, message);
        }
    }
    check.done()
}

/// Returns the host of an endpoint, with its port unless that is the default.
fn service(endpoint: &str) -> Option<String> {
    let url = Url::parse(endpoint).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::service;

    #[test]
    fn the_service_of_an_endpoint_is_its_host_and_port() {
        for (endpoint, expected) in [
            ("https://push.example.org/a?b=c", Some("push.example.org")),
            ("https://PUSH.example.org:443/", Some("push.example.org")),
            ("http://10.0.0.7:8080/up", Some("10.0.0.7:8080")),
            ("mailto:ada@example.org", None),
            ("nothing", None),
        ] {
            assert_eq!(service(endpoint).as_deref(), expected, "{endpoint}");
        }
    }
}
