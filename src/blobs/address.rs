//! The URLs of the bucket and its objects.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;

use crate::error::{Error, Result};

/// The characters that signatures require to be encoded in a query: all except the unreserved ones of RFC 3986.
pub(super) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The characters that signatures require to be encoded in a key.
const ENCODED_IN_KEY: &AsciiSet = &ENCODED.remove(b'/');

/// The URL of the bucket at one endpoint, which ends with `/`.
pub(super) struct Address(Url);

impl Address {
    /// With `path_style`, or if the host of the endpoint is an IP address, the bucket is in the path. Otherwise it is
    /// in the host.
    pub(super) fn new(endpoint: &str, bucket: &str, path_style: bool) -> Result<Self> {
        let invalid = |error| Error::S3(format!("{endpoint}: {error}"));
        let mut url = Url::parse(endpoint).map_err(invalid)?;
        match url.domain() {
            Some(domain) if !path_style => {
                let host = format!("{bucket}.{domain}");
                url.set_host(Some(&host)).map_err(invalid)?;
            }
            _ => url.set_path(&format!("/{bucket}/")),
        }
        Ok(Self(url))
    }

    /// Returns the URL of an object, or of the bucket if `key` is None. An empty value in `query` stands for a
    /// parameter without a value.
    pub(super) fn url(&self, key: Option<&str>, query: &[(&str, String)]) -> Result<Url> {
        let mut url = self.0.clone();
        if let Some(key) = key {
            // A URL cannot have such segments: `Url` would remove them, and the request would concern another object.
            if key.is_empty() || key.split('/').any(|segment| segment == "." || segment == "..") {
                return Err(Error::S3(format!("{key:?} is no valid key of an object")));
            }
            url.set_path(&format!("{}{}", self.0.path(), utf8_percent_encode(key, ENCODED_IN_KEY)));
        }
        if !query.is_empty() {
            url.set_query(Some(&query.iter().map(parameter).collect::<Vec<_>>().join("&")));
        }
        Ok(url)
    }
}

fn parameter((name, value): &(&str, String)) -> String {
    if value.is_empty() { (*name).to_owned() } else { format!("{name}={}", utf8_percent_encode(value, ENCODED)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(endpoint: &str, path_style: bool, key: Option<&str>) -> String {
        Address::new(endpoint, "files", path_style).unwrap().url(key, &[]).unwrap().into()
    }

    #[test]
    fn the_bucket_is_in_the_path_or_in_the_host() {
        assert_eq!(url("http://s3.example.org:9000", true, None), "http://s3.example.org:9000/files/");
        assert_eq!(url("http://s3.example.org:9000", true, Some("a/b")), "http://s3.example.org:9000/files/a/b");
        assert_eq!(url("https://s3.example.org", false, None), "https://files.s3.example.org/");
        assert_eq!(url("https://s3.example.org:443", false, Some("a/b")), "https://files.s3.example.org/a/b");
        for host in ["127.0.0.1:9000", "[::1]:9000"] {
            let endpoint = format!("http://{host}");
            assert_eq!(url(&endpoint, false, Some("a")), format!("{endpoint}/files/a"));
        }
    }

    #[test]
    fn keys_and_parameters_are_encoded() {
        let address = Address::new("http://s3", "files", true).unwrap();
        let query = [("delete", String::new()), ("id", "a/b c+d~ü".to_owned())];
        assert_eq!(
            address.url(Some("/a//b c\\?#%2e"), &query).unwrap().as_str(),
            "http://s3/files//a//b%20c%5C%3F%23%252e?delete&id=a%2Fb%20c%2Bd~%C3%BC"
        );
    }

    #[test]
    fn keys_that_a_url_cannot_express_are_refused() {
        let address = Address::new("http://s3", "files", true).unwrap();
        for key in ["", ".", "..", "../a", "./a", "a/../../b", "a/.."] {
            assert!(address.url(Some(key), &[]).is_err(), "{key}");
        }
        assert!(address.url(Some("a/..b/.c/d."), &[]).is_ok());
    }
}
