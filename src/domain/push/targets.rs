//! The stored addresses of devices, in the form that the transports use.

use crate::push::{ApnsEnvironment, ReceiverKeys, Target, Transport};
use crate::store::push::subscriptions::{ApnsEnvironment as StoredEnvironment, PushTransport};

/// The columns of a subscription that are its address.
pub(super) struct StoredAddress {
    pub(super) transport: PushTransport,
    /// Endpoint or token.
    pub(super) text: String,
    pub(super) p256dh: Option<Vec<u8>>,
    pub(super) auth: Option<Vec<u8>>,
    pub(super) environment: Option<StoredEnvironment>,
}

impl StoredAddress {
    /// Returns the device to which a push goes. `voip_token` is the PushKit token of a push about a call. The error
    /// says why the keys are malformed.
    pub(super) fn target(self, voip_token: Option<String>) -> Result<Target, String> {
        let Self { transport, text, p256dh, auth, environment } = self;
        let keys = || ReceiverKeys::new(p256dh.unwrap_or_default(), auth.unwrap_or_default());
        Ok(match transport {
            PushTransport::WebPush => Target::WebPush { endpoint: text, keys: keys()? },
            PushTransport::UnifiedPush => Target::UnifiedPush { endpoint: text, keys: keys()? },
            PushTransport::Fcm => Target::Fcm { token: text },
            PushTransport::Apns => {
                let environment = match environment {
                    Some(StoredEnvironment::Sandbox) => ApnsEnvironment::Sandbox,
                    Some(StoredEnvironment::Production) | None => ApnsEnvironment::Production,
                };
                let is_voip = voip_token.is_some();
                Target::Apns { token: voip_token.unwrap_or(text), environment, is_voip }
            }
        })
    }
}

/// Returns the token of the target if it only gets calls.
pub(super) fn voip_token(target: &Target) -> Option<&str> {
    match target {
        Target::Apns { token, is_voip: true, .. } => Some(token),
        _ => None,
    }
}

pub(super) const fn transport(stored: PushTransport) -> Transport {
    match stored {
        PushTransport::WebPush => Transport::WebPush,
        PushTransport::UnifiedPush => Transport::UnifiedPush,
        PushTransport::Fcm => Transport::Fcm,
        PushTransport::Apns => Transport::Apns,
    }
}
