//! Sends signed requests to S3.

use std::time::Duration;

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, RequestBuilder};
use tokio::time::{sleep, timeout};

use super::address::Address;
use super::failure::Failure;
use super::file_body::{FileBody, STALL, Unsent};
use super::request::{Answer, Request};
use super::signer::Signer;
use super::xml::Element;
use super::{Body, Bucket};
use crate::clock::Clock;
use crate::config::S3Settings;
use crate::error::{Error, Result};
use crate::metrics::S3Outcome;
use crate::outbound::{body, untimed_client_builder, with_causes};
use crate::random::Random;

/// Maximum number of attempts of a request. A request is retried only once, because a user waits for the response.
const ATTEMPTS: u32 = 2;
/// Maximum delay before the retry.
const BACKOFF: Duration = Duration::from_millis(200);
/// Maximum time to open a connection to S3.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum bytes of an answer that is read into memory. The longest answers are lists of 1000 parts or of 1000 objects
/// that cannot be deleted.
const MAX_ANSWER: usize = 2 * 1024 * 1024;

/// A client of one bucket.
pub(super) struct Client {
    http: reqwest::Client,
    pub(super) signer: Signer,
    /// The bucket at the endpoint that the server uses.
    own: Address,
    /// The bucket at the endpoint that clients of the server use.
    pub(super) public: Address,
    timeout: Duration,
    pub(super) transfer_timeout: Duration,
    /// The clock of the machine. The clock of `Bucket`, which a test may simulate, applies only to URLs for clients.
    clock: Clock,
    random: Random,
}

impl Client {
    /// Creates a client. None if S3_ENDPOINT is not set.
    pub(super) fn new(settings: &S3Settings) -> Result<Option<Self>> {
        let Some(endpoint) = &settings.s3_endpoint else { return Ok(None) };
        let (Some(id), Some(secret)) = (&settings.s3_access_key_id, &settings.s3_secret_access_key) else {
            return Err(Error::S3("S3_ACCESS_KEY_ID or S3_SECRET_ACCESS_KEY is missing".to_owned()));
        };
        let http = untimed_client_builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // S3 is a part of the installation. Only settings with the prefix S3 apply to it.
            .no_proxy()
            .build()
            .map_err(|error| Error::S3(with_causes(error)))?;
        let public = settings.s3_public_endpoint.as_ref().unwrap_or(endpoint);
        let at = |endpoint: &str| Address::new(endpoint, &settings.s3_bucket, settings.s3_path_style);
        Ok(Some(Self {
            http,
            signer: Signer::new(id, secret, &settings.s3_region),
            own: at(endpoint)?,
            public: at(public)?,
            timeout: settings.s3_timeout,
            transfer_timeout: settings.s3_transfer_timeout,
            clock: Clock::system(),
            random: Random::system(),
        }))
    }

    /// Sends a request, and once more if S3 was unavailable. All requests may be repeated: they have the same effect
    /// twice, or begin another upload without parts, which a lifecycle rule deletes.
    async fn send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        for _ in 1..ATTEMPTS {
            match self.attempt(request).await {
                Err(failure) if failure.is_unavailable() => sleep(self.random.jittered(BACKOFF)).await,
                result => return result,
            }
        }
        self.attempt(request).await
    }

    async fn attempt(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let (sending, unsent) = self.signed(request).await?;
        let mut response = tokio::select! {
            response = sending.send() => response?,
            () = unsent.stalled() => {
                return Err(Error::S3Unavailable(format!("takes no bytes for {} s", STALL.as_secs())).into());
            }
        };
        let status = response.status();
        if status.is_success() && request.is_download {
            return Ok(Answer { response, root: None });
        }
        let body = body(&mut response, MAX_ANSWER).await?;
        let body = body.ok_or_else(|| Error::S3(format!("an answer has more than {MAX_ANSWER} bytes")))?;
        let root = Element::parse(&body);
        let error = root.as_ref().filter(|root| root.name() == "Error");
        if status.is_success() && error.is_none() {
            Ok(Answer { response, root })
        } else {
            Err(Failure::reported(status, error))
        }
    }

    /// Returns the request with its signature and its content, and the number of bytes of a file that are not sent yet.
    async fn signed(&self, request: &Request<'_>) -> Result<(RequestBuilder, Unsent)> {
        let url = self.own.url(request.key, &request.query)?;
        let signature = self.signer.headers(request, &url, self.clock.now().into())?;
        let (body, length, unsent) = match &request.content {
            Body::Bytes(bytes) => (reqwest::Body::from(bytes.clone()), bytes.len() as u64, Unsent::default()),
            Body::File(path) => {
                let file = FileBody::open(path).await.map_err(|error| Error::S3(error.to_string()))?;
                let unsent = file.unsent();
                (reqwest::Body::wrap(file), unsent.bytes(), unsent)
            }
        };
        let mut sending = self.http.request(request.method.clone(), url).body(body);
        // S3 requires the length also if it is 0.
        if request.method == Method::PUT || request.method == Method::POST {
            sending = sending.header(CONTENT_LENGTH, length);
        }
        for (name, value) in &request.headers {
            sending = sending.header(*name, value.as_str());
        }
        for (name, value) in &signature {
            sending = sending.header(name.as_str(), value.as_str());
        }
        Ok((sending, unsent))
    }
}

impl Bucket {
    /// Sends a request, and counts its outcome in the metrics.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let client = &self.client;
        let limit = if request.is_long { client.transfer_timeout } else { client.timeout };
        let result = timeout(limit, client.send(request))
            .await
            .unwrap_or_else(|_| Err(Error::S3Unavailable(format!("no answer within {} ms", limit.as_millis())).into()));
        self.metrics.s3_request(match &result {
            Ok(_) => S3Outcome::Done,
            Err(failure) if failure.is_unavailable() => S3Outcome::Unavailable,
            Err(_) => S3Outcome::Refused,
        });
        result
    }
}
