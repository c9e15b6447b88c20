//! Stores the bytes of files in any S3. Clients upload files to S3 and download them from S3 directly, with signed
//! URLs. docs/decisions/0026-a-light-s3-client.md says why the server does not use the SDK of AWS.

mod address;
mod bucket;
mod client;
mod cors;
mod failure;
mod file_body;
mod multipart;
mod objects;
mod presign;
mod request;
mod signer;
mod xml;

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{S3Settings, Web};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use client::Client;

/// The object storage of the server. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    /// None if no S3 is configured. All requests then fail with [`Error::S3Unavailable`].
    bucket: Option<Arc<Bucket>>,
}

/// A bucket of an S3, with its client.
struct Bucket {
    client: Client,
    name: String,
    region: String,
    /// Origins of the web pages that may use the bucket.
    origins: Vec<String>,
    /// The clock for the URLs that clients get.
    clock: Clock,
    metrics: Metrics,
}

/// An object that a client uploads in one request.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    pub key: &'a str,
    pub content_type: &'a str,
    pub byte_size: u64,
    pub sha256: Option<[u8; 32]>,
}

/// A signed request that a client may send until it expires.
#[derive(Clone, Debug)]
pub struct Presigned {
    pub url: String,
    pub method: &'static str,
    /// Headers that the client must send unchanged. A browser sends `content-length` by itself.
    pub headers: Vec<(String, String)>,
}

/// An object that a client downloads, with the headers of the response.
#[derive(Clone, Copy, Debug)]
pub struct Download<'a> {
    pub key: &'a str,
    pub content_type: &'a str,
    /// The complete value of Content-Disposition (RFC 6266).
    pub disposition: &'a str,
}

/// A stored part of a multipart upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of the part. The first part has the number 1.
    pub number: i32,
    pub etag: String,
    pub byte_size: u64,
}

/// The metadata of an object in S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub byte_size: u64,
    pub content_type: Option<String>,
    /// The SHA-256 of an object that was uploaded in one request with a checksum. None for other objects.
    pub sha256: Option<[u8; 32]>,
}

/// The content of an object that the server itself stores.
#[derive(Clone, Debug)]
pub enum Body {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Blobs {
    /// Connects to S3, and creates the bucket if it does not exist. If S3 is unavailable, this is not an error: the
    /// server retries in the background, and files are unavailable until a retry succeeds.
    pub async fn open(settings: &S3Settings, web: &Web, clock: Clock, metrics: Metrics) -> Result<Self> {
        let Some(client) = Client::new(settings)? else { return Ok(Self { bucket: None }) };
        let bucket = Arc::new(Bucket {
            client,
            name: settings.s3_bucket.clone(),
            region: settings.s3_region.clone(),
            origins: web.bucket_origins(),
            clock,
            metrics,
        });
        if !settings.own {
            bucket::open(&bucket).await;
        }
        Ok(Self { bucket: Some(bucket) })
    }

    /// Whether S3 is available and has the bucket.
    pub async fn is_ready(&self) -> bool {
        match self.bucket() {
            Ok(bucket) => bucket::exists(bucket).await.is_ok_and(|exists| exists),
            Err(_) => false,
        }
    }

    fn bucket(&self) -> Result<&Bucket> {
        self.bucket.as_deref().ok_or_else(|| Error::S3Unavailable("no S3 is configured, set S3_ENDPOINT".to_owned()))
    }
}
