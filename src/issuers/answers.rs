//! Reads the answers of issuers, up to a size.

use reqwest::{Response, Url};
use serde::de::DeserializeOwned;

use crate::config::{MAX_ISSUER_ANSWER, server_url};
use crate::outbound::{body, with_causes};

/// Maximum number of characters of an answer that an error quotes.
const MAX_QUOTED: usize = 200;

/// Reads the body as JSON. The error says what is wrong, for the log.
pub(super) async fn json<T: DeserializeOwned>(mut response: Response) -> Result<T, String> {
    let status = response.status();
    if !status.is_success() {
        return Err(format!("the answer is {status}"));
    }
    let body = body(&mut response, MAX_ISSUER_ANSWER).await.map_err(with_causes)?;
    let body = body.ok_or_else(|| format!("the answer has more than {MAX_ISSUER_ANSWER} bytes"))?;
    serde_json::from_slice(&body).map_err(|error| {
        // The error can quote a value, which can be as long as the answer.
        format!("the answer is not the expected JSON: {}", start(&error.to_string()))
    })
}

/// Parses an address that the issuer with this URL has published. An issuer with TLS may publish only addresses with
/// TLS. Otherwise it could choose a service of the private network, and make the server send requests to it.
pub(super) fn published(text: &str, issuer: &str) -> Option<Url> {
    server_url(text).filter(|url| url.scheme() == "https" || issuer.starts_with("http://"))
}

/// Returns the start of a text that the issuer has chosen, for the log.
pub(super) fn start(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_with_tls_names_no_address_without() {
        let private =
            ["http://169.254.169.254/latest", "http://localhost:6379/", "http://redis:6379", "http://10.0.0.1/"];
        for text in private {
            assert!(published(text, "https://id.example.org").is_none(), "{text}");
            assert!(published(text, "http://localhost:8080/realms/acme").is_some(), "{text}");
        }
        for text in ["http://example.org/keys", "ftp://example.org/keys", "file:///etc/passwd", "/keys", ""] {
            assert!(published(text, "https://id.example.org").is_none(), "{text}");
            assert!(published(text, "http://localhost:8080/realms/acme").is_none(), "{text}");
        }
        assert!(published("https://keys.example.com/", "https://id.example.org").is_some());
    }
}
