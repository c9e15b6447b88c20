//! The settings of servers for the media of calls, for devices that cannot reach each other and for large calls.

use std::time::Duration;

use super::seconds;

/// Settings of the STUN, TURN and LiveKit servers of calls. Without any server, calls connect only within one network.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Calls: STUN, TURN and LiveKit")]
pub struct Webrtc {
    /// STUN servers from which clients learn their public address, such as stun:turn.example.org:3478, separated by commas
    #[arg(long, env, value_name = "URL,…", value_delimiter = ',', value_parser = stun_url)]
    pub stun_urls: Vec<String>,
    /// TURN servers that relay media, such as turn:turn.example.org:3478?transport=udp, separated by commas
    #[arg(long, env, value_name = "URL,…", value_delimiter = ',', value_parser = turn_url, requires = "turn_secret")]
    pub turn_urls: Vec<String>,
    /// Secret that is shared with the TURN servers (static-auth-secret of coturn) and from which credentials are derived
    #[arg(long, env, hide_env_values = true, value_name = "SECRET", value_parser = not_empty)]
    pub turn_secret: Option<String>,
    /// Lifetime of TURN credentials in seconds. A client queries new credentials for each call
    #[arg(long, env, default_value = "3600", value_name = "SECONDS", value_parser = seconds(60..=86_400))]
    pub turn_ttl: Duration,
    /// LiveKit server for calls of any size, as wss://host. If not set, the devices of a call connect directly to each other, up to a small number of devices
    #[arg(long, env, value_name = "URL", value_parser = socket_url, requires_all = ["livekit_api_key", "livekit_api_secret"])]
    pub livekit_url: Option<String>,
    /// API key of the LiveKit server
    #[arg(long, env, value_name = "KEY", value_parser = not_empty)]
    pub livekit_api_key: Option<String>,
    /// Secret of LIVEKIT_API_KEY, which signs the access tokens of clients for a room
    #[arg(long, env, hide_env_values = true, value_name = "SECRET", value_parser = not_empty)]
    pub livekit_api_secret: Option<String>,
}

/// A LiveKit server, with the key that signs its access tokens.
#[derive(Clone, Copy)]
pub struct LiveKit<'a> {
    pub url: &'a str,
    pub api_key: &'a str,
    pub api_secret: &'a str,
}

impl Webrtc {
    /// Returns the LiveKit server that forwards the media of calls. None if no LiveKit server is configured.
    pub fn livekit(&self) -> Option<LiveKit<'_>> {
        Some(LiveKit {
            url: self.livekit_url.as_deref()?,
            api_key: self.livekit_api_key.as_deref()?,
            api_secret: self.livekit_api_secret.as_deref()?,
        })
    }
}

/// Checks a STUN URL by RFC 7064.
fn stun_url(text: &str) -> Result<String, String> {
    ice_url(text, &["stun", "stuns"], false)
        .ok_or_else(|| "allowed are addresses such as stun:turn.example.org:3478".to_owned())
}

/// Checks a TURN URL by RFC 7065.
fn turn_url(text: &str) -> Result<String, String> {
    ice_url(text, &["turn", "turns"], true)
        .ok_or_else(|| "allowed are addresses such as turn:turn.example.org:3478?transport=udp".to_owned())
}

/// Checks the form `scheme:host[:port][?transport=udp|tcp]`. For other URLs, a browser throws an error, and no call
/// connects.
fn ice_url(text: &str, schemes: &[&str], with_transport: bool) -> Option<String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once(':')?;
    let (authority, query) = rest.split_once('?').map_or((rest, None), |(authority, query)| (authority, Some(query)));
    let transport = match query {
        None => true,
        Some(query) => with_transport && matches!(query, "transport=udp" | "transport=tcp"),
    };
    // An IPv6 address contains colons, so it must be in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host = !host.is_empty() && (bracketed || !host.contains(':')) && !host.contains(['/', '@', '#', ' ']);
    let port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    (schemes.contains(&scheme) && host && port && transport).then(|| text.to_owned())
}

fn socket_url(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(("ws" | "wss" | "http" | "https", host)) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("allowed is an address such as wss://livekit.example.org".to_owned()),
    }
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("allowed is any text that is not empty".to_owned()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::{stun_url, turn_url};

    #[test]
    fn urls_are_valid_only_if_browsers_accept_them() {
        for good in ["stun:a.example", "stun:a.example:3478", "stuns:192.0.2.1:5349", "stun:[2001:db8::1]:3478"] {
            assert_eq!(stun_url(good).as_deref(), Ok(good));
        }
        for good in ["turn:a.example", "turns:a.example:5349?transport=tcp", "turn:[::1]?transport=udp"] {
            assert_eq!(turn_url(good).as_deref(), Ok(good));
        }
        for bad in
            ["", "a.example", "stun:", "stun://a.example", "stun:a.example:0", "stun:a:b", "stun:a?transport=udp"]
        {
            assert!(stun_url(bad).is_err(), "{bad}");
        }
        for bad in ["stun:a.example", "turn:a.example?transport=sctp", "turn:user@a.example", "turn:a.example:99999"] {
            assert!(turn_url(bad).is_err(), "{bad}");
        }
    }
}
