//! The bucket itself: made at the start, with rules for browsers.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::{BucketLocationConstraint, CorsConfiguration, CorsRule, CreateBucketConfiguration};
use tokio::time::sleep;

use super::Parts;
use super::failure::Failure;
use crate::error::{Error, Result};

/// Between two looks for an S3 that is away at the start.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The one region that AWS does not want named when a bucket is made.
const NAMELESS_REGION: &str = "us-east-1";
/// What browsers let a page read, beside the few that they always do.
const EXPOSED: [&str; 3] = ["ETag", "Content-Disposition", "x-amz-checksum-sha256"];
/// Seconds a browser remembers the answer to a preflight.
const REMEMBERED: i32 = 7200;

/// Looks once, and goes on looking in the background where S3 is away.
pub(super) async fn open(parts: &Arc<Parts>) {
    let Err(error) = prepare(parts).await else { return };
    tracing::warn!(%error, "S3 is not ready: files are unavailable until it is");
    let parts = Arc::downgrade(parts);
    tokio::spawn(async move {
        loop {
            sleep(LOOK_AGAIN).await;
            // The server is gone.
            let Some(parts) = parts.upgrade() else { return };
            if prepare(&parts).await.is_ok() {
                tracing::info!("S3 is ready");
                return;
            }
        }
    });
}

async fn prepare(parts: &Parts) -> Result<()> {
    if !exists(parts).await? {
        make(parts).await?;
        tracing::info!(bucket = parts.bucket, "made the bucket");
    }
    // A client that is no browser does without.
    if let Err(error) = allow_browsers(parts).await {
        tracing::warn!(%error, "the bucket's CORS rules cannot be set: set them as docs/files.md says");
    }
    Ok(())
}

pub(super) async fn exists(parts: &Parts) -> Result<bool> {
    match parts.outcome(parts.client.head_bucket().bucket(&parts.bucket).send().await) {
        Ok(_) => Ok(true),
        Err(Failure::Missing(_)) => Ok(false),
        Err(Failure::Other(error)) => Err(error),
    }
}

async fn make(parts: &Parts) -> Result<()> {
    let place = (parts.region != NAMELESS_REGION).then(|| {
        let region = BucketLocationConstraint::from(parts.region.as_str());
        CreateBucketConfiguration::builder().location_constraint(region).build()
    });
    let made = parts.client.create_bucket().bucket(&parts.bucket).set_create_bucket_configuration(place).send().await;
    match parts.outcome(made) {
        Ok(_) => Ok(()),
        // Another node was faster.
        Err(_) if exists(parts).await? => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

/// Rules that are there are the operator's.
async fn allow_browsers(parts: &Parts) -> Result<()> {
    match parts.outcome(parts.client.get_bucket_cors().bucket(&parts.bucket).send().await) {
        Ok(there) if !there.cors_rules().is_empty() => return Ok(()),
        Ok(_) | Err(Failure::Missing(_)) => {}
        Err(failure) => return Err(failure.into()),
    }
    let origins: Vec<_> = parts.origins.iter().filter(|origin| *origin != "none").cloned().collect();
    if origins.is_empty() {
        return Ok(());
    }
    let rule = CorsRule::builder()
        .set_allowed_origins(Some(origins))
        .set_allowed_methods(Some(["GET", "HEAD", "PUT"].map(str::to_owned).to_vec()))
        .allowed_headers("*")
        .set_expose_headers(Some(EXPOSED.map(str::to_owned).to_vec()))
        .max_age_seconds(REMEMBERED)
        .build()
        .map_err(|error| Error::S3(error.to_string()))?;
    let rules = CorsConfiguration::builder().cors_rules(rule).build().map_err(|error| Error::S3(error.to_string()))?;
    parts.outcome(parts.client.put_bucket_cors().bucket(&parts.bucket).cors_configuration(rules).send().await)?;
    Ok(())
}
