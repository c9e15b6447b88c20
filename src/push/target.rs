//! Devices, and the transports by which they get pushes.

use super::encryption::ReceiverKeys;
use crate::config::MAX_PUSH_ADDRESS;

/// Maximum number of characters of a token of APNs: 100 bytes in hexadecimal digits, which Apple documents as the
/// maximum.
const MAX_APNS_TOKEN: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    WebPush,
    UnifiedPush,
    Fcm,
    Apns,
}

/// A device, as it has registered itself.
#[derive(Clone, Debug)]
pub enum Target {
    WebPush {
        endpoint: String,
        keys: ReceiverKeys,
    },
    UnifiedPush {
        endpoint: String,
        keys: ReceiverKeys,
    },
    Fcm {
        token: String,
    },
    Apns {
        token: String,
        environment: ApnsEnvironment,
        /// Whether the token is one of PushKit, for calls.
        is_voip: bool,
    },
}

/// The servers of Apple for which a token is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApnsEnvironment {
    Production,
    /// For builds from Xcode.
    Sandbox,
}

impl Transport {
    /// Returns the name of the transport in metrics and logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::WebPush => "web_push",
            Self::UnifiedPush => "unified_push",
            Self::Fcm => "fcm",
            Self::Apns => "apns",
        }
    }

    /// Checks the form of a token of FCM or APNs. The error is a sentence for the client.
    pub fn check_token(self, token: &str) -> Result<(), String> {
        match self {
            Self::Fcm if fits(token, MAX_PUSH_ADDRESS, u8::is_ascii_graphic) => Ok(()),
            Self::Fcm => Err(format!("A token of FCM has 1 to {MAX_PUSH_ADDRESS} visible ASCII characters.")),
            Self::Apns if fits(token, MAX_APNS_TOKEN, u8::is_ascii_hexdigit) => Ok(()),
            Self::Apns => Err(format!("A token of APNs has 1 to {MAX_APNS_TOKEN} hexadecimal digits.")),
            Self::WebPush | Self::UnifiedPush => Err("Web Push and UnifiedPush have an endpoint, no token.".to_owned()),
        }
    }
}

impl Target {
    pub(super) const fn transport(&self) -> Transport {
        match self {
            Self::WebPush { .. } => Transport::WebPush,
            Self::UnifiedPush { .. } => Transport::UnifiedPush,
            Self::Fcm { .. } => Transport::Fcm,
            Self::Apns { .. } => Transport::Apns,
        }
    }
}

fn fits(token: &str, max: usize, is_allowed: impl Fn(&u8) -> bool) -> bool {
    (1..=max).contains(&token.len()) && token.as_bytes().iter().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_form_of_its_service() {
        assert_eq!(Transport::Fcm.check_token("dQw4w9WgXcQ:APA91bF-_x"), Ok(()));
        assert_eq!(Transport::Apns.check_token(&"0aF9".repeat(16)), Ok(()));
        for wrong in ["", "a b", "ä", "a\n", &"a".repeat(MAX_PUSH_ADDRESS + 1)] {
            assert!(Transport::Fcm.check_token(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "../../x", "0aF9?", "0g", &"a".repeat(MAX_APNS_TOKEN + 1)] {
            assert!(Transport::Apns.check_token(wrong).is_err(), "{wrong:?}");
        }
        assert!(Transport::WebPush.check_token("a").is_err());
    }
}
