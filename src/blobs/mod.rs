//! The bytes of files: any S3, through aws-sdk-s3. Clients up- and download by signed URLs, past the server.

mod bucket;
mod connect;
mod failure;
mod multipart;
mod objects;
mod presign;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;

use crate::clock::Clock;
use crate::config::{S3Settings, Web};
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// A bucket of an S3. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    /// None where there is no S3: whatever is asked of it is unavailable.
    parts: Option<Arc<Parts>>,
}

struct Parts {
    /// As the server reaches it.
    client: Client,
    /// As clients reach it: signs, and never calls.
    public: Client,
    bucket: String,
    region: String,
    /// Whose pages may call it.
    origins: Vec<String>,
    transfer_timeout: Duration,
    clock: Clock,
    metrics: Metrics,
}

/// What a client is to store under one key, in one request.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    pub key: &'a str,
    pub content_type: &'a str,
    pub byte_size: u64,
    pub sha256: Option<[u8; 32]>,
}

/// A request that a client may make, until it expires.
#[derive(Clone, Debug)]
pub struct Presigned {
    pub url: String,
    pub method: &'static str,
    /// The client must send exactly these; a browser sends `content-length` by itself.
    pub headers: Vec<(String, String)>,
}

/// How a client is to get an object.
#[derive(Clone, Copy, Debug)]
pub struct Download<'a> {
    pub key: &'a str,
    pub content_type: &'a str,
    /// A whole Content-Disposition, RFC 6266.
    pub disposition: &'a str,
}

/// A part of a multipart upload that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub number: i32,
    pub etag: String,
    pub byte_size: u64,
}

/// What S3 knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub byte_size: u64,
    pub content_type: Option<String>,
    /// Of what was uploaded in one request with a checksum.
    pub sha256: Option<[u8; 32]>,
}

/// What the server stores by itself.
#[derive(Clone, Debug)]
pub enum Body {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Blobs {
    /// Makes the bucket where it is missing and may be made. A server does without an S3 that is away: it is looked
    /// for again until it is there, and what needs it is unavailable until then.
    pub async fn open(settings: &S3Settings, web: &Web, clock: Clock, metrics: Metrics) -> Result<Self> {
        let Some(clients) = connect::clients(settings)? else { return Ok(Self { parts: None }) };
        let parts = Arc::new(Parts {
            client: clients.own,
            public: clients.public,
            bucket: settings.s3_bucket.clone(),
            region: settings.s3_region.clone(),
            origins: web.bucket_origins(),
            transfer_timeout: settings.s3_transfer_timeout,
            clock,
            metrics,
        });
        if !settings.own {
            bucket::open(&parts).await;
        }
        Ok(Self { parts: Some(parts) })
    }

    /// Whether S3 answers and has the bucket.
    pub async fn is_ready(&self) -> bool {
        match self.parts() {
            Ok(parts) => bucket::exists(parts).await.is_ok_and(|exists| exists),
            Err(_) => false,
        }
    }

    fn parts(&self) -> Result<&Parts> {
        self.parts.as_deref().ok_or_else(|| Error::S3Away("there is none: set S3_ENDPOINT".to_owned()))
    }
}
