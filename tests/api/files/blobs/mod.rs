//! S3 operations of the server and its clients, tested against two servers: the embedded S3 and Garage.

mod away;
mod conditional;
mod own;
mod rules;
mod scenarios;

use std::time::Duration;

use chrono::TimeDelta;
use parlance::blobs::{Blobs, Presigned, Upload};
use parlance::clock::Clock;
use parlance::config::S3Settings;
use reqwest::{Method, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::support::{Node, unique};

/// Lifetime of presigned URLs, longer than any test.
const EXPIRES: Duration = Duration::from_mins(15);

/// A node whose bucket no other test uses, and an HTTP client for requests to S3.
struct Place {
    node: Node,
    http: reqwest::Client,
    /// Whether the node uses the embedded S3.
    own: bool,
}

impl Place {
    async fn own() -> Self {
        Self::of(Node::build().flag("--cors-origins=*").start_alone().await, true)
    }

    async fn garage() -> Self {
        Self::of(Node::build().flag("--cors-origins=*").s3(&garage()).start_alone().await, false)
    }

    /// Starts another node on the same S3, whose clock is one hour behind.
    async fn an_hour_ago(&self) -> Self {
        let slow = Node::build().clock(Clock::off_by(-TimeDelta::hours(1))).s3(&self.node.s3).start_alone().await;
        Self::of(slow, self.own)
    }

    fn of(node: Node, own: bool) -> Self {
        Self { node, http: reqwest::Client::new(), own }
    }

    fn blobs(&self) -> &Blobs {
        self.node.app.blobs()
    }

    /// Sends the presigned request with the presigned headers and this body.
    async fn send(&self, presigned: &Presigned, body: impl Into<reqwest::Body>) -> StatusCode {
        self.send_but(presigned, body, &[]).await
    }

    /// Like `send`, but the headers in `but` replace presigned headers.
    async fn send_but(
        &self,
        presigned: &Presigned,
        body: impl Into<reqwest::Body>,
        but: &[(&str, &str)],
    ) -> StatusCode {
        let method = Method::from_bytes(presigned.method.as_bytes()).unwrap();
        let mut request = self.http.request(method, &presigned.url).body(body);
        for (name, value) in &presigned.headers {
            let value = but.iter().find(|(other, _)| other == name).map_or(value.as_str(), |(_, value)| value);
            // reqwest sets the length of the body itself, as browsers do.
            if name != "content-length" {
                request = request.header(name, value);
            }
        }
        // Some S3 servers refuse a body that is too long, and close the connection before they have read the whole
        // body.
        request.send().await.map_or(StatusCode::BAD_REQUEST, |answer| answer.status())
    }

    /// Sends a request without body and without signed headers.
    async fn ask(&self, method: Method, url: &str) -> StatusCode {
        self.http.request(method, url).send().await.unwrap().status()
    }

    /// Returns the URL of the object without a signature.
    fn bare_url(&self, key: &str) -> String {
        format!("{}/{}/{key}", self.node.s3.s3_endpoint.as_ref().unwrap(), self.node.s3.s3_bucket)
    }
}

/// Returns settings for the Garage that `make test` starts, with a unique bucket that does not exist yet.
fn garage() -> S3Settings {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name}: run the tests with `make test`"));
    Node::s3_settings(&[
        format!("--s3-endpoint={}", variable("TEST_S3_ENDPOINT")),
        format!("--s3-access-key-id={}", variable("TEST_S3_ACCESS_KEY_ID")),
        format!("--s3-secret-access-key={}", variable("TEST_S3_SECRET_ACCESS_KEY")),
        format!("--s3-bucket=test-{}", unique().replace('_', "-")),
    ])
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Returns an upload of this text with its checksum.
fn upload<'a>(key: &'a str, text: &[u8]) -> Upload<'a> {
    let byte_size = text.len() as u64;
    Upload { key, content_type: "text/plain", byte_size, sha256: Some(sha256(text)) }
}
