//! The ICE servers for peer connections: STUN servers, and TURN servers with credentials that expire.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};

use super::core::CallsCore;
use crate::domain::viewer::Viewer;
use crate::ids::UserId;

pub struct IceServers<'a> {
    pub(in crate::domain) core: &'a Arc<CallsCore>,
}

/// An entry of WebRTC's RTCIceServer list.
#[derive(Debug)]
pub struct IceServer {
    pub urls: Vec<String>,
    pub credentials: Option<Credentials>,
}

/// Credentials for the TURN servers.
#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl IceServers<'_> {
    /// Returns the configured servers, with TURN credentials for the viewer that expire after TURN_TTL.
    pub fn list(&self, viewer: Viewer) -> Vec<IceServer> {
        let settings = &self.core.webrtc;
        let mut servers = Vec::new();
        if !settings.stun_urls.is_empty() {
            servers.push(IceServer { urls: settings.stun_urls.clone(), credentials: None });
        }
        if let Some(secret) = &settings.turn_secret
            && !settings.turn_urls.is_empty()
        {
            let credentials = Credentials::new(secret, viewer.user, self.core.base.now() + settings.turn_ttl);
            servers.push(IceServer { urls: settings.turn_urls.clone(), credentials: Some(credentials) });
        }
        servers
    }
}

impl Credentials {
    /// Creates credentials by draft-uberti-behave-turn-rest-00, section 2.2: the username is the Unix time of expiry
    /// and the user's id, and the password is the HMAC-SHA1 of the username.
    fn new(secret: &str, user: UserId, end: DateTime<Utc>) -> Self {
        let username = format!("{}:{user}", end.timestamp());
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        let password = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
        Self { username, password }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    /// The expected password is the output of
    /// `printf %s "$username" | openssl dgst -sha1 -hmac "$secret" -binary | base64`.
    #[test]
    fn credentials_match_those_computed_by_openssl() {
        let end = DateTime::from_timestamp(1_795_300_181, 999_000_000).unwrap_or_default();
        let credentials = Credentials::new("sekrit", UserId(Uuid::from_u128(1)), end);
        assert_eq!(credentials.username, "1795300181:usr_00000000000000000000000001");
        assert_eq!(credentials.password, "sowjI9k0KlMdC7KjOBLDvnpHGEE=");
    }
}
