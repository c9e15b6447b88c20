//! Reads the answers of issuers, up to a size.

use std::error::Error;
use std::iter;

use reqwest::{Response, Url};
use serde::de::DeserializeOwned;

use crate::config::{MAX_ISSUER_ANSWER, is_private};

/// Reads the body as JSON. The error says what is wrong, for the log.
pub(super) async fn json<T: DeserializeOwned>(mut response: Response) -> Result<T, String> {
    let status = response.status();
    if !status.is_success() {
        return Err(format!("the answer is {status}"));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(with_causes)? {
        if body.len() + chunk.len() > MAX_ISSUER_ANSWER {
            return Err(format!("the answer has more than {MAX_ISSUER_ANSWER} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| format!("the answer is not the expected JSON: {error}"))
}

/// Parses an address of an issuer. TLS is required, except for a host in a private network.
pub(super) fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let allowed = match url.scheme() {
        "https" => url.has_host(),
        "http" => url.host_str().is_some_and(is_private),
        _ => false,
    };
    allowed.then_some(url)
}

/// Returns the text of an error with the texts of its causes, which the `Display` of reqwest omits. Leaves out the
/// address.
pub(super) fn with_causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = iter::successors(Some(&error as &(dyn Error + 'static)), |&cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
