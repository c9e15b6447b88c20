//! What media goes through where two devices cannot reach each other, or are too many.

use std::time::Duration;

use super::seconds;

/// The servers beside this one that calls go through. Without any, calls connect within one network.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Calls: STUN, TURN and LiveKit")]
pub struct Webrtc {
    /// STUN servers that clients find their public address by, such as stun:turn.example.org:3478, separated by commas
    #[arg(long, env, value_name = "URL,…", value_delimiter = ',', value_parser = stun_url)]
    pub stun_urls: Vec<String>,
    /// TURN servers that media is relayed by, such as turn:turn.example.org:3478?transport=udp, separated by commas
    #[arg(long, env, value_name = "URL,…", value_delimiter = ',', value_parser = turn_url, requires = "turn_secret")]
    pub turn_urls: Vec<String>,
    /// Secret shared with the TURN servers, coturn's static-auth-secret: credentials are made with it
    #[arg(long, env, hide_env_values = true, value_name = "SECRET", value_parser = not_empty)]
    pub turn_secret: Option<String>,
    /// Seconds that TURN credentials are good for; a client asks for new ones at each call
    #[arg(long, env, default_value = "3600", value_name = "SECONDS", value_parser = seconds(60..=86_400))]
    pub turn_ttl: Duration,
    /// LiveKit server for calls of any size, as wss://host; without it calls are a mesh of few sessions
    #[arg(long, env, value_name = "URL", value_parser = socket_url, requires_all = ["livekit_api_key", "livekit_api_secret"])]
    pub livekit_url: Option<String>,
    /// API key of the LiveKit server
    #[arg(long, env, value_name = "KEY", value_parser = not_empty)]
    pub livekit_api_key: Option<String>,
    /// Secret of that API key, which signs what lets clients into a room
    #[arg(long, env, hide_env_values = true, value_name = "SECRET", value_parser = not_empty)]
    pub livekit_api_secret: Option<String>,
}

/// A LiveKit server, and what signs its access tokens.
#[derive(Clone, Copy)]
pub struct LiveKit<'a> {
    pub url: &'a str,
    pub api_key: &'a str,
    pub api_secret: &'a str,
}

impl Webrtc {
    /// The server that carries the media of calls, where there is one.
    pub fn livekit(&self) -> Option<LiveKit<'_>> {
        Some(LiveKit {
            url: self.livekit_url.as_deref()?,
            api_key: self.livekit_api_key.as_deref()?,
            api_secret: self.livekit_api_secret.as_deref()?,
        })
    }
}

/// RFC 7064.
fn stun_url(text: &str) -> Result<String, String> {
    ice_url(text, &["stun", "stuns"], false)
        .ok_or_else(|| "allowed are addresses such as stun:turn.example.org:3478".to_owned())
}

/// RFC 7065.
fn turn_url(text: &str) -> Result<String, String> {
    ice_url(text, &["turn", "turns"], true)
        .ok_or_else(|| "allowed are addresses such as turn:turn.example.org:3478?transport=udp".to_owned())
}

/// Of the form `scheme:host[:port][?transport=udp|tcp]`: a browser throws at any other, and no call comes about.
fn ice_url(text: &str, schemes: &[&str], with_transport: bool) -> Option<String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once(':')?;
    let (authority, query) = rest.split_once('?').map_or((rest, None), |(authority, query)| (authority, Some(query)));
    let transport = match query {
        None => true,
        Some(query) => with_transport && matches!(query, "transport=udp" | "transport=tcp"),
    };
    // An IPv6 address has colons of its own, and stands in brackets.
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
    if text.is_empty() { Err("allowed is anything but nothing".to_owned()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::{stun_url, turn_url};

    #[test]
    fn addresses_are_those_that_browsers_take() {
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
