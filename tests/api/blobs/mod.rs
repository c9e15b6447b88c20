//! What the server and its clients do with S3, against each of two: the server's own, and Garage.

mod away;
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

/// Long enough for every test.
const EXPIRES: Duration = Duration::from_mins(15);

/// A node with a bucket of its own.
struct Place {
    node: Node,
    http: reqwest::Client,
    /// The server's own S3.
    own: bool,
}

impl Place {
    async fn own() -> Self {
        Self::of(Node::build().flag("--cors-origins=*").start_alone().await, true)
    }

    async fn garage() -> Self {
        Self::of(Node::build().flag("--cors-origins=*").s3(&garage()).start_alone().await, false)
    }

    /// The same S3 as a node sees it whose clock is an hour behind.
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

    /// Exactly as it was presigned, with this body.
    async fn send(&self, presigned: &Presigned, body: impl Into<reqwest::Body>) -> StatusCode {
        self.send_but(presigned, body, &[]).await
    }

    /// With other headers in the place of some.
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
            // The client library says how long a body is, as browsers do.
            if name != "content-length" {
                request = request.header(name, value);
            }
        }
        // Some refuse what is too long, and hang up, before all of it has come.
        request.send().await.map_or(StatusCode::BAD_REQUEST, |answer| answer.status())
    }

    /// Asks as anybody would who knows the URL.
    async fn ask(&self, method: Method, url: &str) -> StatusCode {
        self.http.request(method, url).send().await.unwrap().status()
    }

    /// Where the object is, for who has no signature.
    fn bare_url(&self, key: &str) -> String {
        format!("{}/{}/{key}", self.node.s3.s3_endpoint.as_ref().unwrap(), self.node.s3.s3_bucket)
    }
}

/// The tests' Garage, with a bucket that nobody else has and that is still to be made.
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

/// Of a text, with its checksum.
fn upload<'a>(key: &'a str, text: &[u8]) -> Upload<'a> {
    let byte_size = text.len() as u64;
    Upload { key, content_type: "text/plain", byte_size, sha256: Some(sha256(text)) }
}
