//! TLS to Postgres and Redis: which certificates are trusted, and what is wrong if a connection fails.

mod files;
mod reason;
mod verifier;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;

pub use reason::{failure, was_closed};
use verifier::Verifier;

/// Name of the parameter in DATABASE_URL and REDIS_URL for the file of the CAs.
pub const ROOTS: &str = "sslrootcert";
/// Name of the parameter for the file of the client certificate.
pub const CERTIFICATE: &str = "sslcert";
/// Name of the parameter for the file of the private key of the client certificate.
pub const KEY: &str = "sslkey";

/// The CAs that are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The CAs that the system trusts.
    System,
    /// The CAs in a PEM file.
    File(PathBuf),
}

/// How the certificate of the server is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// Every certificate is accepted. Readers on the network see nothing, but another server can pretend to be the
    /// right one.
    #[default]
    Nothing,
    /// The certificate must be signed by one of the CAs. The name of the server is not compared.
    Chain(Roots),
    /// The certificate must be signed by one of the CAs, and be valid for the name of the server.
    ChainAndName(Roots),
}

/// The files of a client certificate and its private key, in PEM format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How this node connects to a server over TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub verification: Verification,
    pub identity: Option<Identity>,
}

/// The contents of the files of `Settings`, in PEM format.
pub struct Pem {
    /// The CAs. Empty if no certificate is verified.
    pub roots: Vec<u8>,
    pub identity: Option<PemIdentity>,
}

/// A client certificate and its private key, in PEM format.
pub struct PemIdentity {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

/// A file that TLS needs and that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{parameter}: {} cannot be read: {reason}", .path.display())]
    Unreadable { parameter: &'static str, path: PathBuf, reason: std::io::Error },
    #[error("{parameter}: {} has no {wanted} in PEM format", .path.display())]
    Missing { parameter: &'static str, path: PathBuf, wanted: &'static str },
    #[error("{parameter}: {} is malformed: {reason}", .path.display())]
    Malformed { parameter: &'static str, path: PathBuf, reason: String },
    #[error(
        "the system has no CA certificates: install them, such as Debian's package ca-certificates, or set \
         sslrootcert to a file"
    )]
    NoSystemRoots,
    #[error("sslkey: {} is not the private key of the certificate in {}", .key.display(), .certificate.display())]
    WrongKey { certificate: PathBuf, key: PathBuf },
    #[error("TLS: {0}")]
    Configuration(rustls::Error),
}

impl Settings {
    /// Reads the files and returns the settings for rustls.
    pub fn client_config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier::new(&self.verification, provider.signature_verification_algorithms)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::Configuration)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let Some(identity) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = files::certificates(CERTIFICATE, &identity.certificate)?;
        let key = files::private_key(&identity.key)?;
        builder.with_client_auth_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                Error::WrongKey { certificate: identity.certificate.clone(), key: identity.key.clone() }
            }
            rustls::Error::InvalidCertificate(_) => files::malformed(
                CERTIFICATE,
                &identity.certificate,
                "its first certificate is not X.509 version 3".to_owned(),
            ),
            error => files::malformed(KEY, &identity.key, error.to_string()),
        })
    }

    /// Reads and checks the files, for a client that builds its own settings for rustls.
    pub fn pem(&self) -> Result<Pem, Error> {
        self.client_config()?;
        let roots = match &self.verification {
            Verification::Nothing => Vec::new(),
            Verification::Chain(roots) | Verification::ChainAndName(roots) => files::encode(&files::roots(roots)?),
        };
        let read = |identity: &Identity| -> Result<PemIdentity, Error> {
            let certificate = files::read(CERTIFICATE, &identity.certificate)?;
            Ok(PemIdentity { certificate, key: files::read(KEY, &identity.key)? })
        };
        Ok(Pem { roots, identity: self.identity.as_ref().map(read).transpose()? })
    }
}

/// Selects the cryptography of clients that build their own settings for rustls.
pub fn install_provider() {
    // An error says that the process has a provider already.
    let _ = aws_lc_rs::default_provider().install_default();
}
