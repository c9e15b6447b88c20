//! The settings of S3.

use std::time::Duration;

use super::media::MAX_EXAMINATION;
use super::{milliseconds, seconds};

/// Where the bytes of files are.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub struct S3Settings {
    /// Any S3, as http://host:port or https://host; without it the server is one itself, with its files in the data directory
    #[arg(long, env, value_name = "URL", value_parser = endpoint, requires_all = ["s3_access_key_id", "s3_secret_access_key"])]
    pub s3_endpoint: Option<String>,
    /// The same S3 as clients reach it, in the URLs they are given; by default S3_ENDPOINT, or for the server's own what LISTEN_ADDR says
    #[arg(long, env, value_name = "URL", value_parser = endpoint)]
    pub s3_public_endpoint: Option<String>,
    /// Bucket of all files; it is made where it is missing and the key may do that
    #[arg(long, env, default_value = "parlance", value_name = "NAME", value_parser = bucket)]
    pub s3_bucket: String,
    /// Region that requests are signed for
    #[arg(long, env, default_value = "us-east-1", value_name = "NAME")]
    pub s3_region: String,
    /// Access key of S3_ENDPOINT; the server's own makes one
    #[arg(long, env, value_name = "ID")]
    pub s3_access_key_id: Option<String>,
    /// Its secret
    #[arg(long, env, hide_env_values = true, value_name = "SECRET")]
    pub s3_secret_access_key: Option<String>,
    /// Name the bucket in the path, http://host/bucket/key; false is in the host, http://bucket.host/key, as AWS wants it
    #[arg(long, env, default_value = "true", value_name = "true|false", action = clap::ArgAction::Set)]
    pub s3_path_style: bool,
    /// Milliseconds a connection to S3 may take to open
    #[arg(long, env, default_value = "1000", value_name = "MS", value_parser = milliseconds(10..=60_000))]
    pub s3_connect_timeout: Duration,
    /// Milliseconds S3 may take to answer, one further try included, before UNAVAILABLE is answered
    #[arg(long, env, default_value = "5000", value_name = "MS", value_parser = milliseconds(50..=60_000))]
    pub s3_timeout: Duration,
    /// Seconds a whole file may take between the server and S3, when it is looked at or a thumbnail is stored
    #[arg(long, env, default_value = "120", value_name = "SECONDS", value_parser = seconds(1..=MAX_EXAMINATION))]
    pub s3_transfer_timeout: Duration,
    /// The server's own: its bucket is there, and it answers once the server does.
    #[arg(skip)]
    pub own: bool,
}

/// Scheme and host alone: a signature covers the path.
fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or_default();
    if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
        Err("allowed is an address such as https://s3.example.org or http://127.0.0.1:9000, without a path".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// What every S3 takes for a name; dots would break the certificates of hosts named after buckets.
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
    fn a_bucket_has_a_name_that_every_s3_takes() {
        assert!(bucket("parlance-2").is_ok());
        for wrong in ["", "ab", "Parlance", "-ab", "ab-", "a.b", "a_b", &"a".repeat(64)] {
            assert!(bucket(wrong).is_err(), "{wrong}");
        }
    }
}
