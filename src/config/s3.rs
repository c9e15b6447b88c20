//! The settings of S3.

use std::time::Duration;

use super::media::MAX_EXAMINATION;
use super::{milliseconds, seconds};

/// Settings of the S3 that stores the bytes of files.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub struct S3Settings {
    /// URL of any S3, as http://host:port or https://host. If not set, the server runs its own S3, with the files in the data directory
    #[arg(long, env, value_name = "URL", value_parser = endpoint, requires_all = ["s3_access_key_id", "s3_secret_access_key"])]
    pub s3_endpoint: Option<String>,
    /// URL of the same S3 for clients. The default is S3_ENDPOINT, or for the server's own S3 the address of LISTEN_ADDR
    #[arg(long, env, value_name = "URL", value_parser = endpoint)]
    pub s3_public_endpoint: Option<String>,
    /// Bucket of all files. The server creates it if it does not exist and the access key allows that
    #[arg(long, env, default_value = "parlance", value_name = "NAME", value_parser = bucket)]
    pub s3_bucket: String,
    /// Region that requests are signed for
    #[arg(long, env, default_value = "us-east-1", value_name = "NAME")]
    pub s3_region: String,
    /// Access key of S3_ENDPOINT. The server's own S3 creates its own key
    #[arg(long, env, value_name = "ID")]
    pub s3_access_key_id: Option<String>,
    /// Secret of S3_ACCESS_KEY_ID
    #[arg(long, env, hide_env_values = true, value_name = "SECRET")]
    pub s3_secret_access_key: Option<String>,
    /// Put the bucket into the path of URLs, http://host/bucket/key. If false, the bucket is in the host, http://bucket.host/key, as AWS requires
    #[arg(long, env, default_value = "true", value_name = "true|false", action = clap::ArgAction::Set)]
    pub s3_path_style: bool,
    /// Maximum milliseconds until S3 answers, including one retry. Otherwise the client gets UNAVAILABLE
    #[arg(long, env, default_value = "5000", value_name = "MS", value_parser = milliseconds(50..=60_000))]
    pub s3_timeout: Duration,
    /// Maximum seconds to transfer a whole file between the server and S3, for an inspection or to store a thumbnail
    #[arg(long, env, default_value = "120", value_name = "SECONDS", value_parser = seconds(1..=MAX_EXAMINATION))]
    pub s3_transfer_timeout: Duration,
    /// Whether the server runs its own S3, because S3_ENDPOINT is not set. Then the bucket always exists, and S3 is
    /// available whenever the server is.
    #[arg(skip)]
    pub own: bool,
}

/// Parses a URL with only a scheme and a host. A path is not allowed, because the signatures of requests cover the
/// path.
fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or_default();
    if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
        Err("allowed is an address such as https://s3.example.org or http://127.0.0.1:9000, without a path".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Parses the name of a bucket. Allows only names that every S3 accepts. A name must not have a dot, because the TLS
/// certificate would not cover the host `bucket.host`.
fn bucket(text: &str) -> Result<String, String> {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = (3..=63).contains(&text.len())
        && text.chars().all(|c| ends(c) || c == '-')
        && text.starts_with(ends)
        && text.ends_with(ends);
    if fits { Ok(text.to_owned()) } else { Err("allowed are 3 to 63 of a-z, 0-9 and - within".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::{bucket, endpoint};

    #[test]
    fn an_endpoint_is_a_scheme_and_a_host() {
        assert_eq!(endpoint("https://s3.example.org/").unwrap(), "https://s3.example.org");
        assert!(endpoint("http://127.0.0.1:9000").is_ok());
        for wrong in ["", "s3.example.org", "ftp://s3", "http://", "http://s3/bucket", "http://id:secret@s3"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bucket_name_is_valid_for_every_s3() {
        assert!(bucket("parlance-2").is_ok());
        for wrong in ["", "ab", "Parlance", "-ab", "ab-", "a.b", "a_b", &"a".repeat(64)] {
            assert!(bucket(wrong).is_err(), "{wrong}");
        }
    }
}
