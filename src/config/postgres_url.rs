//! DATABASE_URL, with the parameters of TLS that libpq has and the client library does not.

use std::net::IpAddr;
use std::str::FromStr;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::url_parameters::UrlParameters;
use crate::tls::{Roots, Settings, Verification};

const ADDRESS: &str = "allowed is an address such as postgres://user:password@host:5432/name, with parameters such as \
                       ?sslmode=verify-full";
const MODES: &str = "allowed for sslmode are disable, prefer, require, verify-ca and verify-full";

/// The address of Postgres, and how to connect to it over TLS. `Debug` omits the password.
#[derive(Clone, Debug)]
pub struct PostgresUrl {
    pub config: Config,
    pub tls: Settings,
    /// Whether someone in the network could turn TLS off without notice: the URL has no `sslmode`, and a host that is not
    /// this machine.
    pub is_strippable: bool,
}

/// The values of `sslmode`. Each one has the meaning that the documentation of libpq describes.
#[derive(Clone, Copy)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl FromStr for PostgresUrl {
    type Err = String;

    /// Parses the URL. The error begins with the word "allowed" and contains nothing of the URL, because it may be
    /// secret.
    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(ADDRESS.to_owned());
        }
        // The client library also reads everything before the first @ as the name and the password.
        let (rest, parameters) = UrlParameters::take(text, text.find('@').unwrap_or(0))?;
        let mut config = rest.parse::<Config>().map_err(|_| ADDRESS.to_owned())?;
        let mode = mode(&parameters)?;
        let verification = verification(mode, parameters.roots())?;
        let identity = parameters.identity()?;
        // A name is needed for TLS. With `hostaddr` alone it is the address.
        if config.get_hosts().is_empty() {
            let addresses: Vec<_> = config.get_hostaddrs().iter().map(ToString::to_string).collect();
            for address in addresses {
                config.host(address);
            }
        }
        let is_unix = |host: &Host| matches!(host, Host::Unix(_));
        let is_chosen = parameters.mode.is_some() || !matches!(mode, Mode::Prefer);
        let is_strippable = !is_chosen && !config.get_hosts().iter().all(is_this_machine);
        if matches!(mode, Mode::Disable) || config.get_hosts().iter().all(is_unix) {
            // A Unix socket never uses TLS, as in libpq.
            config.ssl_mode(SslMode::Disable);
            return Ok(Self { config, tls: Settings::default(), is_strippable });
        }
        config.ssl_mode(if matches!(mode, Mode::Prefer) { SslMode::Prefer } else { SslMode::Require });
        Ok(Self { config, tls: Settings { verification, identity }, is_strippable })
    }
}

/// Whether a connection to the host stays on this machine.
fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

fn mode(parameters: &UrlParameters) -> Result<Mode, String> {
    match parameters.mode.as_deref() {
        // libpq has the same default.
        None if parameters.roots() == Some(Roots::System) => Ok(Mode::VerifyFull),
        None | Some("prefer") => Ok(Mode::Prefer),
        Some("disable") => Ok(Mode::Disable),
        Some("require") => Ok(Mode::Require),
        Some("verify-ca") => Ok(Mode::VerifyCa),
        Some("verify-full") => Ok(Mode::VerifyFull),
        Some("allow") => Err(format!("{MODES}. Instead of allow, use prefer: it also works with and without TLS")),
        Some(_) => Err(MODES.to_owned()),
    }
}

fn verification(mode: Mode, roots: Option<Roots>) -> Result<Verification, String> {
    match (mode, roots) {
        (Mode::Disable | Mode::Prefer, Some(_)) => {
            Err("allowed is sslrootcert only with sslmode=require, verify-ca or verify-full, because the other modes \
                 verify no certificate"
                .to_owned())
        }
        (Mode::Disable | Mode::Prefer | Mode::Require, None) => Ok(Verification::Nothing),
        (Mode::Require | Mode::VerifyCa, Some(Roots::System)) | (Mode::VerifyCa, None) => {
            Err("allowed with the CAs of the system is only sslmode=verify-full, because they sign certificates for \
                 everyone. For verify-ca, set sslrootcert to the file of your CA"
                .to_owned())
        }
        (Mode::Require | Mode::VerifyCa, Some(roots)) => Ok(Verification::Chain(roots)),
        (Mode::VerifyFull, roots) => Ok(Verification::ChainAndName(roots.unwrap_or(Roots::System))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Identity;

    fn parse(parameters: &str) -> Result<PostgresUrl, String> {
        format!("postgres://ada:s3cret@db.example.org:5433/chat{parameters}").parse()
    }

    fn file() -> Roots {
        Roots::File("/ca.pem".into())
    }

    #[test]
    fn each_mode_verifies_what_libpq_verifies() {
        for (parameters, mode, verification) in [
            ("", SslMode::Prefer, Verification::Nothing),
            ("?sslmode=disable", SslMode::Disable, Verification::Nothing),
            ("?sslmode=prefer", SslMode::Prefer, Verification::Nothing),
            ("?sslmode=require", SslMode::Require, Verification::Nothing),
            ("?sslmode=require&sslrootcert=/ca.pem", SslMode::Require, Verification::Chain(file())),
            ("?sslmode=verify-ca&sslrootcert=/ca.pem", SslMode::Require, Verification::Chain(file())),
            ("?sslmode=verify-full&sslrootcert=%2Fca.pem", SslMode::Require, Verification::ChainAndName(file())),
            ("?sslmode=verify-full", SslMode::Require, Verification::ChainAndName(Roots::System)),
            ("?sslrootcert=system", SslMode::Require, Verification::ChainAndName(Roots::System)),
        ] {
            let url = parse(parameters).unwrap();
            assert_eq!(url.config.get_ssl_mode(), mode, "{parameters}");
            assert_eq!(url.tls.verification, verification, "{parameters}");
        }
    }

    #[test]
    fn tls_can_be_stripped_only_without_a_mode_and_from_another_host() {
        for (parameters, is_strippable) in
            [("", true), ("?sslmode=prefer", false), ("?sslmode=require", false), ("?sslrootcert=system", false)]
        {
            assert_eq!(parse(parameters).unwrap().is_strippable, is_strippable, "{parameters}");
        }
        for text in [
            "postgres://ada@localhost/chat",
            "postgres://ada@127.0.0.1/chat",
            "postgres:///chat?hostaddr=127.0.0.1&user=ada",
            "postgres:///chat?host=/run&user=ada",
        ] {
            assert!(!text.parse::<PostgresUrl>().unwrap().is_strippable, "{text}");
        }
    }

    #[test]
    fn wrong_parameters_are_refused_with_the_allowed_ones() {
        for (parameters, reason) in [
            ("?sslmode=verify", "verify-ca and verify-full"),
            ("?sslmode=allow", "Instead of allow, use prefer"),
            ("?sslrootcert=/ca.pem", "only with sslmode=require"),
            ("?sslmode=disable&sslrootcert=system", "only with sslmode=require"),
            ("?sslmode=require&sslrootcert=system", "only sslmode=verify-full"),
            ("?sslmode=verify-ca", "only sslmode=verify-full"),
            ("?sslmode=verify-full&sslcert=/me.pem", "only together"),
            ("?unknown=1", "postgres://user:password"),
            ("?sslrootcert=%FF", "UTF-8"),
        ] {
            let error = parse(parameters).unwrap_err();
            assert!(error.starts_with("allowed") && error.contains(reason), "{parameters}: {error}");
            assert!(!error.contains("s3cret"));
        }
        assert!("host=db user=ada sslmode=require".parse::<PostgresUrl>().is_err());
    }

    #[test]
    fn other_parts_of_the_url_reach_the_client_library() {
        let url = parse("?application_name=chat&sslmode=require&sslcert=/me.pem&sslkey=/me.key&connect_timeout=3");
        let PostgresUrl { config, tls, .. } = url.unwrap();
        assert_eq!(config.get_hosts(), [Host::Tcp("db.example.org".to_owned())]);
        assert_eq!((config.get_ports(), config.get_dbname()), ([5433].as_slice(), Some("chat")));
        assert_eq!((config.get_user(), config.get_password()), (Some("ada"), Some(b"s3cret".as_slice())));
        assert_eq!(config.get_application_name(), Some("chat"));
        assert_eq!(tls.identity, Some(Identity { certificate: "/me.pem".into(), key: "/me.key".into() }));
    }

    #[test]
    fn a_unix_socket_never_uses_tls() {
        for text in
            ["postgres://ada@%2Frun%2Fpostgresql/chat?sslmode=verify-full", "postgres:///chat?host=/run&user=ada"]
        {
            let url: PostgresUrl = text.parse().unwrap();
            assert_eq!((url.config.get_ssl_mode(), url.tls), (SslMode::Disable, Settings::default()));
        }
    }

    #[test]
    fn an_address_without_a_name_is_its_own_name() {
        let url: PostgresUrl = "postgres:///chat?hostaddr=127.0.0.1&user=ada&sslmode=require".parse().unwrap();
        assert_eq!(url.config.get_hosts(), [Host::Tcp("127.0.0.1".to_owned())]);
    }
}
