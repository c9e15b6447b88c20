//! TLS of the stand-ins, with a certificate that openssl makes for one test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The certificate is for this machine, and is its own issuer.
const REQUEST: &str = "[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = push.test
[extensions]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1
";

/// A certificate for 127.0.0.1, and its private key.
pub struct Certificate {
    directory: TempDir,
}

impl Certificate {
    pub async fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("request.cnf"), REQUEST).unwrap();
        let made = Command::new("openssl")
            .current_dir(directory.path())
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-config", "request.cnf", "-keyout", "key.pem", "-out", "certificate.pem"])
            .stderr(Stdio::null())
            .status()
            .await;
        assert!(made.unwrap().success(), "openssl made no certificate");
        Self { directory }
    }

    /// The file with the certificate, for clients that trust it.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    /// Returns an acceptor of connections that speak this protocol above TLS (RFC 7301).
    pub(super) fn acceptor(&self, protocol: &[u8]) -> TlsAcceptor {
        let certificate = CertificateDer::from_pem_file(self.path()).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.directory.path().join("key.pem")).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Accepts connections with TLS.
pub(super) struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl TlsListener {
    pub(super) fn new(listener: TcpListener, acceptor: TlsAcceptor) -> Self {
        Self { listener, acceptor }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // A client that does not trust the certificate ends the handshake.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
