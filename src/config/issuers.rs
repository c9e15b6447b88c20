//! The settings of issuers: OpenID Connect providers and other services whose users may sign in.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::milliseconds;
use super::web::is_loopback;

/// Maximum size of a token of an issuer in bytes. A longer token is not read.
pub const MAX_ISSUER_TOKEN: usize = 8192;
/// Maximum size of an answer of an issuer in bytes. A longer answer is not read.
pub const MAX_ISSUER_ANSWER: usize = 262_144;
/// Maximum time of a request to an issuer, with its answer.
pub const ISSUER_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of logins in browsers that wait for an answer of one issuer at the same time. A further login fails.
pub const ISSUER_EXCHANGES: usize = 32;
/// Maximum number of identities that are linked to one account.
pub const MAX_IDENTITIES: usize = 20;
/// Word in AUTH_REDIRECTS that stands for the server's own origin.
const OWN: &str = "own";

/// Settings of issuers whose users may sign in.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Issuers")]
pub struct IssuerSettings {
    /// JSON file with the issuers whose users may sign in, with tokens or in the browser. docs/issuers.md describes its format
    #[arg(long, env, value_name = "FILE")]
    pub issuers_file: Option<PathBuf>,
    /// Origin of the server for browsers, such as https://chat.example.org. Issuers return to an address below it. If not set, logins in the browser work only on this machine
    #[arg(long, env, value_name = "URL", value_parser = public_url)]
    pub public_url: Option<Url>,
    /// Addresses to which a login in the browser may return, separated by commas; each allows the paths below it, such as https://app.example.org/chat. The word own stands for the origin of the server, and without PUBLIC_URL for every port of this machine
    #[arg(long, env, default_value = OWN, value_name = "URL,…", value_delimiter = ',', value_parser = redirect)]
    pub auth_redirects: Vec<RedirectPrefix>,
    /// Minimum milliseconds between two requests for the keys of one issuer
    #[arg(long, hide = true, default_value = "30000", value_parser = milliseconds(0..=3_600_000))]
    pub issuer_refetch_interval: Duration,
}

/// An address in AUTH_REDIRECTS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPrefix {
    Own,
    /// Allows this address and the paths below it.
    Below(Url),
}

impl IssuerSettings {
    /// Whether browsers reach this server over TLS.
    pub fn has_tls(&self) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    /// Returns the origin of this server in the browser. Without PUBLIC_URL this is the `host` of the request. Returns
    /// None if that host is not this machine: a client can send any host, so no other one is trusted.
    pub fn origin(&self, host: Option<&str>) -> Option<String> {
        if let Some(url) = &self.public_url {
            return Some(url.origin().ascii_serialization());
        }
        let origin = Url::parse(&format!("http://{}", host?)).ok()?.origin().ascii_serialization();
        is_loopback(&origin).then_some(origin)
    }

    /// Whether a login in the browser may return to the address. `own` is the origin of this server.
    pub fn allows_redirect(&self, redirect: &Url, own: &str) -> bool {
        if redirect.fragment().is_some() || !redirect.username().is_empty() || redirect.password().is_some() {
            return false;
        }
        let origin = redirect.origin().ascii_serialization();
        self.auth_redirects.iter().any(|prefix| match prefix {
            RedirectPrefix::Own => origin == own || self.public_url.is_none() && is_loopback(&origin),
            RedirectPrefix::Below(prefix) => is_below(prefix, redirect),
        })
    }
}

/// Whether the address has the scheme and the authority of `prefix`, and a path at or below its path.
fn is_below(prefix: &Url, address: &Url) -> bool {
    let rest = address.path().strip_prefix(prefix.path());
    prefix.scheme() == address.scheme()
        && prefix.host_str() == address.host_str()
        && prefix.port_or_known_default() == address.port_or_known_default()
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.path().ends_with('/'))
}

fn public_url(text: &str) -> Result<Url, String> {
    let allowed = || "allowed are origins such as https://chat.example.org, or http:// and this machine".to_owned();
    let url = Url::parse(text).map_err(|_| allowed())?;
    let origin = url.origin().ascii_serialization();
    let fits = url.scheme() == "https" && url.has_host() || url.scheme() == "http" && is_loopback(&origin);
    // A URL without further parts is its origin and a slash.
    if fits && url.as_str() == format!("{origin}/") { Ok(url) } else { Err(allowed()) }
}

/// Checks an address to which a login may return. The scheme of an app has a dot (RFC 8252, section 7.1), so
/// `javascript` and `data` are refused.
fn redirect(text: &str) -> Result<RedirectPrefix, String> {
    if text.trim() == OWN {
        return Ok(RedirectPrefix::Own);
    }
    let url = Url::parse(text.trim()).ok().filter(|url| {
        let fits = match url.scheme() {
            "https" | "http" => url.has_host(),
            scheme => scheme.contains('.'),
        };
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        fits && plain && url.password().is_none()
    });
    url.map(RedirectPrefix::Below).ok_or_else(|| {
        "allowed are own, and addresses such as https://app.example.org/chat or org.example.app:/signed-in".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(public_url: Option<&str>, redirects: &[&str]) -> IssuerSettings {
        IssuerSettings {
            issuers_file: None,
            public_url: public_url.map(|url| super::public_url(url).unwrap()),
            auth_redirects: redirects.iter().map(|text| redirect(text).unwrap()).collect(),
            issuer_refetch_interval: Duration::ZERO,
        }
    }

    fn allows(settings: &IssuerSettings, address: &str) -> bool {
        let own = settings.origin(Some("127.0.0.1:8080")).unwrap();
        settings.allows_redirect(&Url::parse(address).unwrap(), &own)
    }

    #[test]
    fn a_login_returns_only_to_addresses_of_the_list() {
        let listed = settings(
            Some("https://chat.example.org"),
            &["own", "https://app.example.org/chat", "org.example.app:/signed-in"],
        );
        for good in [
            "https://chat.example.org/any/path?a=b",
            "https://app.example.org/chat",
            "https://app.example.org:443/chat/in?state=1",
            "org.example.app:/signed-in",
        ] {
            assert!(allows(&listed, good), "{good}");
        }
        for bad in [
            "http://chat.example.org/",
            "https://chat.example.org:8443/",
            "https://chat.example.org.evil.example/",
            "https://ada@chat.example.org/",
            "https://chat.example.org/#code=1",
            "https://app.example.org/chatter",
            "https://app.example.org/chat/../admin",
            "http://localhost:3000/",
            "org.example.app:/other",
            "javascript:alert(1)",
        ] {
            assert!(!allows(&listed, bad), "{bad}");
        }
    }

    #[test]
    fn without_a_public_url_logins_work_on_this_machine() {
        let local = settings(None, &["own"]);
        assert!(allows(&local, "http://localhost:5173/signed-in") && allows(&local, "http://127.0.0.1:8080/"));
        assert!(!allows(&local, "https://example.org/"));
        assert_eq!(local.origin(Some("localhost:8080")).as_deref(), Some("http://localhost:8080"));
        for host in [None, Some("example.org"), Some("127.0.0.1.example.org"), Some("localhost@example.org"), Some("")]
        {
            assert_eq!(local.origin(host), None, "{host:?}");
        }
    }

    #[test]
    fn wrong_addresses_are_refused_at_the_start() {
        for bad in
            ["chat.example.org", "http://chat.example.org", "https://chat.example.org/path", "https://a@b.example"]
        {
            assert!(public_url(bad).is_err(), "{bad}");
        }
        for bad in ["", "javascript:alert(1)", "data:text/html,x", "https://a.example/?next=", "app.example.org"] {
            assert!(redirect(bad).is_err(), "{bad}");
        }
    }
}
