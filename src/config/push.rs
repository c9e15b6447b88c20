//! The settings of push notifications and e-mail digests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use super::seconds;
use crate::address::Networks;

/// Maximum number of pushes that a node sends at the same time.
pub const PUSH_CONCURRENCY: usize = 64;
/// Maximum number of pushes that a node sends to one host of Web Push or UnifiedPush at the same time, so that a slow
/// service does not delay the others.
pub const PUSH_CONCURRENCY_PER_HOST: usize = 16;
/// Maximum number of push subscriptions of a user. A further one replaces the oldest.
pub const MAX_PUSH_SUBSCRIPTIONS: usize = 20;
/// Maximum size of an endpoint or a token of a push subscription in bytes. An entry of an index in Postgres has at most
/// 2704 bytes. Tokens of FCM have about 160, and endpoints of browsers up to 500.
pub const MAX_PUSH_ADDRESS: usize = 2048;
/// Maximum time of an attempt to send a push, until the answer of the push service.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of characters of a key id and of a team id of Apple.
const APPLE_ID: usize = 10;

/// Settings of push notifications and e-mail digests.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Push")]
pub struct PushSettings {
    /// PEM file with the private key of the curve P-256 that signs Web Push and UnifiedPush (VAPID). If not set, the first start creates a key in Postgres. After a change of the key, browsers must subscribe again
    #[arg(long, env, value_name = "FILE")]
    pub push_vapid_key_file: Option<PathBuf>,
    /// Address at which the operators of push services reach you, such as mailto:admin@example.org. Apple refuses Web Push without it. If not set, the server uses PUBLIC_URL, if that begins with https://
    #[arg(long, env, value_name = "URL", value_parser = contact)]
    pub push_contact: Option<String>,
    /// Private networks to which the server may send Web Push and UnifiedPush, also without TLS: networks and addresses, separated by commas, such as 10.1.2.0/24. The word loopback stands for the loopback networks, and private for the private networks
    #[arg(long, env, default_value = "none", value_name = "NETWORK,…")]
    pub push_allowed_networks: Networks,
    /// JSON file with the key of a service account of Firebase, for pushes to Android by FCM
    #[arg(long, env, value_name = "FILE")]
    pub fcm_service_account_file: Option<PathBuf>,
    /// Key file (.p8) from Apple's developer site, for pushes to iOS, iPadOS and macOS by APNs. Needs APNS_KEY_ID, APNS_TEAM_ID and APNS_TOPIC
    #[arg(long, env, value_name = "FILE", requires_all = ["apns_key_id", "apns_team_id", "apns_topic"])]
    pub apns_key_file: Option<PathBuf>,
    /// Id of the key in APNS_KEY_FILE, of 10 characters
    #[arg(long, env, value_name = "ID", value_parser = apple_id, requires = "apns_key_file")]
    pub apns_key_id: Option<String>,
    /// Id of the team at Apple that owns the key in APNS_KEY_FILE, of 10 characters
    #[arg(long, env, value_name = "ID", value_parser = apple_id, requires = "apns_key_file")]
    pub apns_team_id: Option<String>,
    /// Bundle id of the app, such as org.example.chat
    #[arg(long, env, value_name = "ID", value_parser = topic, requires = "apns_key_file")]
    pub apns_topic: Option<String>,
    /// The most that push notifications and digests show of a message: full shows the sender and the text, sender only the sender, and nothing only that there is a message. Users can choose less. Google and Apple can read what FCM and APNs carry. Web Push and UnifiedPush are encrypted for the device
    #[arg(long, env, default_value = "full", value_name = "full|sender|nothing")]
    pub push_content: PushContent,
    /// Seconds for which a message is unread before it causes an e-mail digest. Needs SMTP_URL. Users can turn their digests off; 0 turns all digests off
    #[arg(long, env, default_value = "0", value_name = "SECONDS", value_parser = seconds(0..=2_592_000))]
    pub email_digest_after: Duration,
    /// Address of a stand-in for FCM
    #[arg(long, hide = true)]
    pub push_fcm_url: Option<Url>,
    /// Address of a stand-in for APNs. With http:// the connection is HTTP/2 without TLS
    #[arg(long, hide = true)]
    pub push_apns_url: Option<Url>,
}

/// What push notifications and digests show of a message. A greater value shows more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum PushContent {
    /// Only that there is a message.
    Nothing,
    /// The sender and the group, without the text.
    Sender,
    /// The sender and the text.
    Full,
}

/// The key for APNs, with its ids and the topic.
#[derive(Clone, Copy, Debug)]
pub struct ApnsKey<'a> {
    pub file: &'a Path,
    pub id: &'a str,
    pub team: &'a str,
    /// Bundle id of the app.
    pub topic: &'a str,
}

impl PushSettings {
    /// Uses the address of the server as the contact if PUSH_CONTACT is not set and the address has TLS.
    #[must_use]
    pub fn with_public_url(mut self, public_url: Option<&Url>) -> Self {
        let encrypted = public_url.filter(|url| url.scheme() == "https");
        self.push_contact = self.push_contact.or_else(|| encrypted.map(ToString::to_string));
        self
    }

    /// Returns the key for APNs. None if APNs is not configured.
    pub fn apns(&self) -> Option<ApnsKey<'_>> {
        Some(ApnsKey {
            file: self.apns_key_file.as_deref()?,
            id: self.apns_key_id.as_deref()?,
            team: self.apns_team_id.as_deref()?,
            topic: self.apns_topic.as_deref()?,
        })
    }

    /// Returns the age of unread messages that cause a digest. None if digests are turned off.
    pub fn digest_after(&self) -> Option<Duration> {
        (!self.email_digest_after.is_zero()).then_some(self.email_digest_after)
    }
}

/// Checks a contact by RFC 8292, section 2.1.
fn contact(text: &str) -> Result<String, String> {
    let url = Url::parse(text.trim()).ok().filter(|url| match url.scheme() {
        "mailto" => url.path().split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty()),
        "https" => url.has_host(),
        _ => false,
    });
    url.map(|url| url.to_string())
        .ok_or_else(|| "allowed are addresses such as mailto:admin@example.org and https://example.org/contact".into())
}

fn apple_id(text: &str) -> Result<String, String> {
    let fits = text.len() == APPLE_ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits { Ok(text.to_owned()) } else { Err(format!("allowed are {APPLE_ID} letters and digits")) }
}

/// Checks a bundle id: letters, digits, hyphens and periods.
fn topic(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if !text.is_empty() && text.bytes().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err("allowed is the bundle id of an app, such as org.example.chat".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parsed(flags: &[&str]) -> Result<PushSettings, clap::Error> {
        let command = PushSettings::augment_args(Command::new("parlance"));
        let matches = command.try_get_matches_from(["parlance"].iter().chain(flags))?;
        PushSettings::from_arg_matches(&matches)
    }

    #[test]
    fn push_works_without_settings() {
        let settings = parsed(&[]).unwrap();
        assert!(settings.apns().is_none() && settings.fcm_service_account_file.is_none());
        assert!(settings.push_allowed_networks.is_none() && settings.push_contact.is_none());
        assert_eq!((settings.push_content, settings.digest_after()), (PushContent::Full, None));
        let digests = parsed(&["--email-digest-after", "3600"]).unwrap();
        assert_eq!(digests.digest_after(), Some(Duration::from_hours(1)));
    }

    #[test]
    fn apns_needs_all_four_settings() {
        let flags = ["--apns-key-file", "key.p8", "--apns-key-id", "ABC123DEFG", "--apns-team-id", "DEF123GHIJ"];
        assert!(parsed(&flags).is_err());
        assert!(parsed(&["--apns-topic", "org.example.chat"]).is_err());
        let all = parsed(&[&flags[..], &["--apns-topic", "org.example.chat"]].concat()).unwrap();
        let key = all.apns().unwrap();
        assert_eq!((key.id, key.team, key.topic), ("ABC123DEFG", "DEF123GHIJ", "org.example.chat"));
        for wrong in ["", "ABC", "ABC123DEF/"] {
            assert!(apple_id(wrong).is_err(), "{wrong}");
        }
        assert!(topic("org.example/../chat").is_err() && topic("").is_err());
    }

    #[test]
    fn the_contact_is_an_address_of_the_operator() {
        for good in ["mailto:admin@example.org", "https://example.org/contact"] {
            assert_eq!(contact(good).as_deref(), Ok(good));
        }
        for wrong in ["", "admin@example.org", "mailto:admin", "mailto:@", "http://example.org", "https://"] {
            assert!(contact(wrong).unwrap_err().starts_with("allowed"), "{wrong}");
        }
        let public = Url::parse("https://chat.example.org").unwrap();
        let with_default = parsed(&[]).unwrap().with_public_url(Some(&public));
        assert_eq!(with_default.push_contact.as_deref(), Some("https://chat.example.org/"));
        let own = parsed(&["--push-contact", "mailto:a@example.org"]).unwrap().with_public_url(Some(&public));
        assert_eq!(own.push_contact.as_deref(), Some("mailto:a@example.org"));
        let local = Url::parse("http://localhost:8080").unwrap();
        assert_eq!(parsed(&[]).unwrap().with_public_url(Some(&local)).push_contact, None);
    }

    #[test]
    fn a_greater_content_says_more() {
        assert!(PushContent::Nothing < PushContent::Sender && PushContent::Sender < PushContent::Full);
        assert_eq!(parsed(&["--push-content", "sender"]).unwrap().push_content, PushContent::Sender);
        assert!(parsed(&["--push-content", "all"]).is_err());
    }
}
