//! REDIS_URL, with the parameters of TLS that DATABASE_URL has too.

use std::str::FromStr;

use bb8_redis::redis::IntoConnectionInfo as _;

use super::url_parameters::UrlParameters;
use crate::tls::{Roots, Settings, Verification};

/// The address of Redis, and how to connect to it over TLS.
#[derive(Clone)]
pub struct RedisUrl {
    /// The URL without the parameters of TLS. It may contain a password.
    pub address: String,
    /// None if the connection does not use TLS.
    pub tls: Option<Settings>,
}

impl FromStr for RedisUrl {
    type Err = String;

    /// Parses the URL. The error begins with the word "allowed" and contains nothing of the URL, because it may be
    /// secret.
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |reason: &str| Err(format!("allowed is {reason}"));
        let address = "an address such as redis://host:6379, or rediss://host:6379 for TLS";
        let has_tls = text.starts_with("rediss://");
        if !has_tls && !text.starts_with("redis://") {
            return refused(address);
        }
        if text.contains('#') {
            return refused("an address without the character #: certificates are always verified");
        }
        let (rest, parameters) = UrlParameters::take(text, 0)?;
        if parameters.mode.is_some() {
            return refused("no sslmode for Redis: rediss:// is as strict as verify-full, and redis:// uses no TLS");
        }
        if !has_tls && parameters.has_files() {
            return refused("sslrootcert, sslcert or sslkey only with rediss://");
        }
        if rest.as_str().into_connection_info().is_err() {
            return refused(address);
        }
        let verification = Verification::ChainAndName(parameters.roots().unwrap_or(Roots::System));
        let identity = parameters.identity()?;
        Ok(Self { address: rest, tls: has_tls.then_some(Settings { verification, identity }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Identity;

    #[test]
    fn rediss_always_verifies_the_chain_and_the_name() {
        let plain: RedisUrl = "redis://:s3cret@host:6379/1".parse().unwrap();
        assert_eq!((plain.address.as_str(), plain.tls), ("redis://:s3cret@host:6379/1", None));
        let public: RedisUrl = "rediss://host".parse().unwrap();
        let verification = Verification::ChainAndName(Roots::System);
        assert_eq!(public.tls, Some(Settings { verification, identity: None }));
        let url = "rediss://u:s3cret@host:1/2?sslrootcert=/ca.pem&protocol=resp3&sslcert=/me.pem&sslkey=/me.key";
        let own: RedisUrl = url.parse().unwrap();
        assert_eq!(own.address, "rediss://u:s3cret@host:1/2?protocol=resp3");
        let verification = Verification::ChainAndName(Roots::File("/ca.pem".into()));
        let identity = Some(Identity { certificate: "/me.pem".into(), key: "/me.key".into() });
        assert_eq!(own.tls, Some(Settings { verification, identity }));
    }

    #[test]
    fn wrong_addresses_and_parameters_are_refused() {
        for (text, reason) in [
            ("http://:s3cret@host", "redis://"),
            ("rediss://:s3cret@host#insecure", "character #"),
            ("rediss://:s3cret@host?sslmode=require", "no sslmode"),
            ("redis://:s3cret@host?sslrootcert=/ca.pem", "only with rediss://"),
            ("rediss://:s3cret@host?sslkey=/me.key", "only together"),
            ("redis://:s3cret@host:port", "redis://"),
        ] {
            let error = text.parse::<RedisUrl>().err().unwrap();
            assert!(error.starts_with("allowed") && error.contains(reason), "{text}: {error}");
            assert!(!error.contains("s3cret"));
        }
    }
}
