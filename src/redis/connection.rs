//! Prepares connections to Redis, over TLS if REDIS_URL says so.

use bb8_redis::redis::{Client, ClientTlsConfig, RedisError, TlsCertificates};

use crate::config::RedisUrl;
use crate::error::{Error, Result};
use crate::tls;

/// Parses the URL and reads the files of certificates. Does not connect yet.
pub fn client(url: &str) -> Result<Client> {
    let url: RedisUrl = url.parse().map_err(Error::RedisConnection)?;
    let Some(settings) = url.tls else { return Ok(Client::open(url.address)?) };
    let pem = settings.pem().map_err(|error| Error::RedisConnection(error.to_string()))?;
    let client_tls = pem
        .identity
        .map(|tls::PemIdentity { certificate, key }| ClientTlsConfig { client_cert: certificate, client_key: key });
    // The client library uses the cryptography that the process has selected.
    tls::install_provider();
    // The CAs are always passed. Otherwise the client library trusts those that it was built with.
    let certificates = TlsCertificates { client_tls, root_cert: Some(pem.roots) };
    Ok(Client::build_with_tls(url.address, certificates)?)
}

/// Connects once, so that a wrong setting is reported at start. The error says in one line what is wrong.
pub(super) async fn check(client: &Client, url: &str) -> Result<()> {
    let connected = client.get_multiplexed_async_connection().await;
    connected.map(drop).map_err(|error| Error::RedisConnection(reason(&error, url)))
}

fn reason(error: &RedisError, url: &str) -> String {
    if let Some(reason) = tls::failure(error) {
        return reason;
    }
    let advice = if !tls::was_closed(error) {
        ""
    } else if !url.starts_with("rediss://") {
        "; perhaps the server requires TLS: then the address begins with rediss://"
    } else if url.contains(tls::CERTIFICATE) {
        "; perhaps the server does not accept the client certificate of sslcert"
    } else {
        "; perhaps the server requires a client certificate: then set sslcert and sslkey"
    };
    format!("{error}{advice}")
}
