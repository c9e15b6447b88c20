//! The settings of browsers and explorers.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::within;

/// Word in CORS_ORIGINS that stands for every origin of this machine.
const LOOPBACK: &str = "loopback";
/// Patterns for the origins of this machine in the CORS rules of an S3 bucket. A star matches any text.
const LOOPBACK_PATTERNS: [&str; 4] =
    ["http://localhost:*", "https://localhost:*", "http://127.0.0.1:*", "https://127.0.0.1:*"];

/// Settings of browsers and explorers.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Web")]
pub struct Web {
    /// Origins whose pages may call the server, in addition to its own origin, separated by commas, such as https://chat.example.org; loopback allows every port of this machine, * allows any origin, none allows no other origin
    #[arg(long, env, default_value = LOOPBACK, value_name = "ORIGIN,…", value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<String>,
    /// Serve the explorers at /graphiql and /playground
    #[arg(long, env, default_value = "true", value_name = "true|false", action = clap::ArgAction::Set)]
    pub explorers: bool,
    /// Seconds that a CDN may cache the response to an anonymous query by GET; 0 turns caching off
    #[arg(long, env, default_value = "60", value_name = "SECONDS", value_parser = within::<u32>(0..=86_400))]
    pub public_max_age: u32,
}

impl Web {
    pub fn allows_any_origin(&self) -> bool {
        self.cors_origins.iter().any(|origin| origin == "*")
    }

    /// Whether pages of the origin may call the server. The server's own origin is not considered.
    pub fn allows(&self, origin: &str) -> bool {
        self.cors_origins.iter().any(|allowed| match allowed.as_str() {
            "*" => true,
            LOOPBACK => is_loopback(origin),
            allowed => allowed.eq_ignore_ascii_case(origin),
        })
    }

    /// Returns the origins in the form that the CORS rules of an S3 bucket need.
    pub fn bucket_origins(&self) -> Vec<String> {
        let patterns = |origin: &String| match origin.as_str() {
            "none" => Vec::new(),
            LOOPBACK => LOOPBACK_PATTERNS.map(str::to_owned).to_vec(),
            origin => vec![origin.to_owned()],
        };
        self.cors_origins.iter().flat_map(patterns).collect()
    }
}

/// Whether the pages of an origin (RFC 6454, section 6.2) come from this machine.
pub(super) fn is_loopback(origin: &str) -> bool {
    let Some(authority) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    // The colons of an IPv6 address are in brackets, so only digits can follow the colon of a port.
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || v6.is_some_and(|host| host.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback()))
}

/// Checks an origin, or one of the words that stand for several. Returns it in lower case.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (scheme, authority) = text.split_once("://").unwrap_or_default();
    // The pages inside a phone app have other schemes, such as capacitor://localhost.
    let fits = !scheme.is_empty() && !authority.is_empty() && !authority.contains(['/', '?', '#', '@', '*', ' ']);
    // No browser sends `none` as an origin, so the word allows no origin.
    if matches!(text, "*" | "none" | LOOPBACK) || fits {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("allowed are loopback, *, none, or origins such as https://chat.example.org without a path".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_origins_are_pages_of_this_machine() {
        for origin in [
            "http://localhost",
            "http://localhost:5173",
            "https://LOCALHOST:3000",
            "http://127.0.0.1:8080",
            "http://127.1.2.3",
            "http://[::1]:3000",
            "http://[::1]",
        ] {
            assert!(is_loopback(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://localhost.example.org",
            "http://example.org:80",
            "http://127.0.0.1.example.org",
            "http://128.0.0.1",
            "http://[::2]:3000",
            "http://::1",
            "file://localhost",
            "http://localhost:80@example.org",
        ] {
            assert!(!is_loopback(origin), "{origin}");
        }
    }

    #[test]
    fn a_list_allows_each_origin_in_it() {
        let web = Web {
            cors_origins: vec![LOOPBACK.to_owned(), "https://chat.example.org".to_owned()],
            explorers: true,
            public_max_age: 0,
        };
        assert!(web.allows("http://localhost:5173") && web.allows("https://Chat.example.org"));
        assert!(!web.allows("https://example.org") && !web.allows_any_origin());
        assert_eq!(web.bucket_origins().last().map(String::as_str), Some("https://chat.example.org"));
    }
}
