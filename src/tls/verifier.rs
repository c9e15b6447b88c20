//! Verifies the certificates of servers.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{Error, Verification, files};

/// Verifies as much of a certificate as `Verification` says. The signature of the handshake is always verified: the
/// server must have the private key of its certificate, because a login by SCRAM can be bound to the certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    /// The trusted CAs. None if no certificate is verified.
    roots: Option<RootCertStore>,
    checks_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Reads the certificates of the CAs.
    pub(super) fn new(verification: &Verification, algorithms: WebPkiSupportedAlgorithms) -> Result<Self, Error> {
        let (roots, checks_name) = match verification {
            Verification::Nothing => (None, false),
            Verification::Chain(roots) => (Some(roots), false),
            Verification::ChainAndName(roots) => (Some(roots), true),
        };
        let Some(roots) = roots else { return Ok(Self { roots: None, checks_name, algorithms }) };
        let mut store = RootCertStore::empty();
        for certificate in files::roots(roots)? {
            store.add(certificate).map_err(Error::Configuration)?;
        }
        Ok(Self { roots: Some(store), checks_name, algorithms })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, self.algorithms.all)?;
        if self.checks_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
