//! Creates the bucket at start.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use tokio::time::sleep;

use super::Bucket;
use super::cors::allow_browsers;
use super::failure::Failure;
use super::request::Request;
use super::xml;
use crate::error::Result;

/// Interval between two attempts to reach an S3 that is unavailable at start.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The default region of AWS, which a request for a new bucket must not name.
const DEFAULT_REGION: &str = "us-east-1";

/// Prepares the bucket. If S3 is unavailable, retries in the background.
pub(super) async fn open(bucket: &Arc<Bucket>) {
    let Err(error) = prepare(bucket).await else { return };
    tracing::warn!(%error, "S3 is not ready: files are unavailable until it is reached");
    let bucket = Arc::downgrade(bucket);
    tokio::spawn(async move {
        loop {
            sleep(RETRY_INTERVAL).await;
            // The bucket is dropped when the server stops.
            let Some(bucket) = bucket.upgrade() else { return };
            if prepare(&bucket).await.is_ok() {
                tracing::info!("S3 is ready");
                return;
            }
        }
    });
}

async fn prepare(bucket: &Bucket) -> Result<()> {
    if !exists(bucket).await? {
        create(bucket).await?;
        tracing::info!(bucket = bucket.name, "created the bucket");
    }
    // A failure to set CORS rules is only logged, because clients other than browsers need no CORS rules.
    if let Err(error) = allow_browsers(bucket).await {
        tracing::warn!(%error, "the bucket's CORS rules cannot be set: set them as docs/files.md says");
    }
    Ok(())
}

pub(super) async fn exists(bucket: &Bucket) -> Result<bool> {
    match bucket.send(&Request::of_bucket(Method::HEAD)).await {
        Ok(_) => Ok(true),
        Err(Failure::Missing(_)) => Ok(false),
        Err(Failure::Other(error)) => Err(error),
    }
}

async fn create(bucket: &Bucket) -> Result<()> {
    let mut request = Request::of_bucket(Method::PUT);
    if bucket.region != DEFAULT_REGION {
        let region = xml::text("LocationConstraint", &bucket.region);
        request = request.xml(xml::document("CreateBucketConfiguration", &region));
    }
    match bucket.send(&request).await {
        Ok(_) => Ok(()),
        // Another node has created the bucket at the same time.
        Err(_) if exists(bucket).await? => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}
