//! The settings of passkeys, and the limits of second factors.

use std::time::Duration;

use super::web::{is_loopback, origin};

/// The RP ID of pages on this machine. Browsers accept no address as an RP ID.
const LOCALHOST: &str = "localhost";
/// Word in WEBAUTHN_ORIGINS that stands for every origin of this machine.
const LOOPBACK: &str = "loopback";
/// Beginning of the origin of an Android app: the hash of the certificate that signs the app follows.
const ANDROID_APP: &str = "android:apk-key-hash:";
/// Maximum number of characters of a domain name (RFC 1035, section 2.3.4).
const MAX_DOMAIN: usize = 253;

/// Maximum number of second factors that a client may try with one challenge of a sign-in.
pub const LOGIN_CHALLENGE_TRIES: usize = 5;
/// Maximum number of challenges that an account has for the sign-ins of one network. A further one replaces the oldest.
/// A stranger in another network cannot replace those of the owner.
pub const LOGIN_CHALLENGES_PER_NETWORK: i64 = 20;
/// Time after which the challenge of a sign-in expires. Long enough to find the phone with the authenticator app.
pub const LOGIN_CHALLENGE_LIFETIME: Duration = Duration::from_mins(5);
/// Time after which the challenge of a passkey expires. The specification recommends 5 to 10 minutes.
pub const PASSKEY_CHALLENGE_LIFETIME: Duration = Duration::from_mins(5);
/// Maximum number of passkeys of an account. People have a few devices, and the list is not divided into pages.
pub const MAX_PASSKEYS: usize = 20;

/// Settings of passkeys: for which pages and apps they are valid.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Accounts")]
pub struct WebauthnSettings {
    /// Domain of the passkeys, such as example.org. Passkeys work on pages of this domain and of its subdomains. After a change, existing passkeys no longer work
    #[arg(long, env, default_value = LOCALHOST, value_name = "DOMAIN", value_parser = rp_id)]
    pub webauthn_rp_id: String,
    /// Origins whose pages and apps may use passkeys, separated by commas, such as https://chat.example.org or android:apk-key-hash:…; loopback allows every port of this machine. If not set, https:// with the domain of WEBAUTHN_RP_ID, or loopback if that is localhost
    #[arg(long, env, value_name = "ORIGIN,…", value_delimiter = ',', value_parser = passkey_origin)]
    pub webauthn_origins: Vec<String>,
}

impl WebauthnSettings {
    /// Whether pages or apps of the origin may use passkeys.
    pub fn allows(&self, origin: &str) -> bool {
        if self.webauthn_origins.is_empty() {
            return match self.webauthn_rp_id.as_str() {
                LOCALHOST => is_loopback(origin),
                domain => origin.strip_prefix("https://") == Some(domain),
            };
        }
        self.webauthn_origins.iter().any(|allowed| match allowed.as_str() {
            LOOPBACK => is_loopback(origin),
            allowed => allowed == origin,
        })
    }

    /// Returns the first origin in WEBAUTHN_ORIGINS whose pages cannot use the passkeys. Browsers accept an RP ID only
    /// on pages of its domain and of its subdomains.
    pub fn foreign_origin(&self) -> Option<&str> {
        self.webauthn_origins.iter().map(String::as_str).find(|origin| !self.fits(origin))
    }

    fn fits(&self, origin: &str) -> bool {
        let (scheme, authority) = origin.split_once("://").unwrap_or_default();
        let host = match scheme {
            "http" | "https" => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
            _ if origin == LOOPBACK => LOCALHOST,
            // The origins of apps have no domain.
            _ => return true,
        };
        let below = host.strip_suffix(self.webauthn_rp_id.as_str());
        below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
    }
}

/// Checks an RP ID: a domain without scheme and port.
fn rp_id(text: &str) -> Result<String, String> {
    let domain = text.trim().to_ascii_lowercase();
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // The last label of an IPv4 address has only digits.
    let is_address = domain.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if domain.len() <= MAX_DOMAIN && domain.split('.').all(is_label) && !is_address {
        Ok(domain)
    } else {
        Err("allowed is a domain such as example.org, without scheme and port".to_owned())
    }
}

fn passkey_origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.strip_prefix(ANDROID_APP).is_some_and(|hash| !hash.is_empty()) {
        return Ok(text.to_owned());
    }
    let allowed = "allowed are loopback, origins such as https://chat.example.org without a path, and \
                   android:apk-key-hash:…";
    let origin = origin(text).map_err(|_| allowed.to_owned())?;
    // `*` would let the pages of every origin use the passkeys of the domain.
    if matches!(origin.as_str(), "*" | "none") { Err(allowed.to_owned()) } else { Ok(origin) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(rp_id: &str, origins: &[&str]) -> WebauthnSettings {
        WebauthnSettings {
            webauthn_rp_id: rp_id.to_owned(),
            webauthn_origins: origins.iter().map(|origin| passkey_origin(origin).unwrap()).collect(),
        }
    }

    #[test]
    fn the_default_origins_depend_on_the_domain() {
        let local = settings(LOCALHOST, &[]);
        assert!(local.allows("http://localhost:5173") && local.allows("https://localhost"));
        assert!(!local.allows("https://example.org") && !local.allows("http://localhost.example.org"));
        let public = settings("example.org", &[]);
        assert!(public.allows("https://example.org"));
        for origin in ["http://example.org", "https://chat.example.org", "https://example.org:8443", "http://localhost"]
        {
            assert!(!public.allows(origin), "{origin}");
        }
    }

    #[test]
    fn only_the_listed_origins_are_allowed() {
        let app = "android:apk-key-hash:7d1043473d55bfa90e8530d35801d4e381bc69f0";
        let listed = settings("example.org", &["https://Chat.example.org", app, "loopback"]);
        assert!(listed.allows("https://chat.example.org") && listed.allows(app) && listed.allows("http://localhost"));
        assert!(!listed.allows("https://example.org"));
        for wrong in ["*", "none", "", "chat.example.org", "https://example.org/path", ANDROID_APP] {
            assert!(passkey_origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_origins_of_pages_are_in_the_domain() {
        let app = "android:apk-key-hash:AbC_1";
        let fitting = ["https://example.org", "https://a.chat.example.org:8443", app, "capacitor://localhost"];
        assert_eq!(settings("example.org", &fitting).foreign_origin(), None);
        for foreign in ["https://example.com", "https://badexample.org", "https://org", "http://127.0.0.1", "loopback"]
        {
            assert_eq!(settings("example.org", &[app, foreign]).foreign_origin(), Some(foreign));
        }
        let local = ["loopback", "http://localhost:5173", "http://chat.localhost"];
        assert_eq!(settings(LOCALHOST, &local).foreign_origin(), None);
        assert_eq!(settings(LOCALHOST, &["http://[::1]:5173"]).foreign_origin(), Some("http://[::1]:5173"));
    }

    #[test]
    fn an_rp_id_is_a_domain() {
        assert_eq!(rp_id(" Example.ORG ").as_deref(), Ok("example.org"));
        assert_eq!(rp_id("localhost").as_deref(), Ok("localhost"));
        for wrong in
            ["", "https://example.org", "example.org:8443", "127.0.0.1", "::1", "a..b", "-a.org", "exa mple.org"]
        {
            assert!(rp_id(wrong).is_err(), "{wrong}");
        }
    }
}
