//! Opens connections to Postgres, over TLS if DATABASE_URL says so.

use std::error::Error as _;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Connection;
use crate::config::PostgresUrl;
use crate::error::{Error, Result};
use crate::tls;

/// Maximum time to connect, including the TLS handshake and the login. A server that is overloaded or starting answers
/// sooner, so after this time another attempt is better.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Name of Postgres' protocol in TLS, which servers require if TLS begins without a request.
const ALPN: &[u8] = b"postgresql";

type Driver = tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Opens connections to one Postgres.
pub(super) struct Connector {
    url: PostgresUrl,
    tls: MakeRustlsConnect,
}

impl Connector {
    /// Parses the URL and reads the files of certificates.
    pub(super) fn new(url: &str) -> Result<Self> {
        let url: PostgresUrl = url.parse().map_err(Error::Connection)?;
        let mut tls = url.tls.client_config().map_err(|error| Error::Connection(error.to_string()))?;
        if url.config.get_ssl_negotiation() == SslNegotiation::Direct {
            tls.alpn_protocols = vec![ALPN.to_vec()];
        }
        Ok(Self { url, tls: MakeRustlsConnect::new(tls) })
    }

    /// Opens a connection for Diesel. The error is one line.
    pub(super) async fn open(&self) -> Result<Connection, String> {
        // On the heap, because this future contains the state of the TLS session several times.
        let connecting = Box::pin(async {
            let (client, driver) = self.start().await?;
            let connection = Connection::try_from_client_and_connection(client, driver).await;
            connection.map_err(|error| error.to_string())
        });
        within_deadline(connecting).await
    }

    /// Opens a connection for what Diesel has no interface for, such as COPY.
    pub(super) async fn open_client(&self) -> Result<Client> {
        let (client, driver) = within_deadline(Box::pin(self.start())).await.map_err(Error::Connection)?;
        tokio::spawn(async move {
            // A statement in flight also fails and returns its own error, so this error is only logged.
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to Postgres ended");
            }
        });
        Ok(client)
    }

    async fn start(&self) -> Result<(Client, Driver), String> {
        Box::pin(self.url.config.connect(self.tls.clone())).await.map_err(|error| self.reason(&error))
    }

    /// Says in one line why connecting failed, and which parameter of the URL corrects it.
    fn reason(&self, error: &tokio_postgres::Error) -> String {
        if let Some(error) = error.as_db_error() {
            return format!("{}{}", error.message(), self.advice(error.message()));
        }
        if let Some(reason) = tls::failure(error) {
            return reason;
        }
        let cause = error.source().map(ToString::to_string);
        if cause.as_deref() == Some("server does not support TLS") {
            return "the server does not offer TLS: turn it on there, or change sslmode".to_owned();
        }
        let text = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        // A server closes the connection at once if it does not accept a client certificate. Its alert may be lost.
        let was_closed = error.is_closed() || tls::was_closed(error);
        if was_closed && self.url.tls.identity.is_some() {
            return format!("{text}; perhaps the server does not accept the client certificate of sslcert");
        }
        text
    }

    /// Returns an addition to an error of Postgres, which names the parameter to set. Empty if no parameter helps.
    fn advice(&self, message: &str) -> &'static str {
        let has_tls = self.url.config.get_ssl_mode() != SslMode::Disable;
        if message.contains("requires a valid client certificate") {
            ": set sslcert and sslkey"
        } else if !has_tls && message.starts_with("no pg_hba.conf entry") {
            ": perhaps the server requires TLS; set sslmode=verify-full or sslmode=require"
        } else {
            ""
        }
    }
}

async fn within_deadline<T>(connecting: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = |_| Err(format!("the server did not answer within {} s", CONNECT_TIMEOUT.as_secs()));
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(late)
}
