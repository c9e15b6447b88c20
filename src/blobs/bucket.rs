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
/// The id of our rule in the bucket.
const RULE: &str = "parlance";
/// What a page may do.
const METHODS: [&str; 3] = ["GET", "HEAD", "PUT"];
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

/// One rule, which follows the settings. Rules that are there beside it or in its place are the operator's.
async fn allow_browsers(parts: &Parts) -> Result<()> {
    let there = match parts.outcome(parts.client.get_bucket_cors().bucket(&parts.bucket).send().await) {
        Ok(there) => there.cors_rules.unwrap_or_default(),
        Err(Failure::Missing(_)) => Vec::new(),
        Err(failure) => return Err(failure.into()),
    };
    let origins = parts.origins.clone();
    if there.iter().any(|rule| !is_ours(rule)) {
        let kept_out: Vec<_> =
            origins.iter().filter(|origin| !METHODS.iter().all(|it| allow(&there, origin, it))).collect();
        if !kept_out.is_empty() {
            tracing::warn!(
                ?kept_out,
                "the bucket has CORS rules that are not ours, and keep out pages of CORS_ORIGINS"
            );
        }
        return Ok(());
    }
    if origins.is_empty() {
        if !there.is_empty() {
            parts.outcome(parts.client.delete_bucket_cors().bucket(&parts.bucket).send().await)?;
        }
        return Ok(());
    }
    let rule = rule(Some(RULE), origins)?;
    if there == [rule.clone()] {
        return Ok(());
    }
    let rules = CorsConfiguration::builder().cors_rules(rule).build().map_err(|error| Error::S3(error.to_string()))?;
    parts.outcome(parts.client.put_bucket_cors().bucket(&parts.bucket).cors_configuration(rules).send().await)?;
    Ok(())
}

/// Also where an S3 keeps no ids: nobody else would write the same.
fn is_ours(found: &CorsRule) -> bool {
    found.id() == Some(RULE) || rule(None, found.allowed_origins().to_vec()).is_ok_and(|ours| ours == *found)
}

fn rule(id: Option<&str>, origins: Vec<String>) -> Result<CorsRule> {
    CorsRule::builder()
        .set_id(id.map(str::to_owned))
        .set_allowed_origins(Some(origins))
        .set_allowed_methods(Some(METHODS.map(str::to_owned).to_vec()))
        .allowed_headers("*")
        .set_expose_headers(Some(EXPOSED.map(str::to_owned).to_vec()))
        .max_age_seconds(REMEMBERED)
        .build()
        .map_err(|error| Error::S3(error.to_string()))
}

fn allow(rules: &[CorsRule], origin: &str, method: &str) -> bool {
    // One star in a rule's origin stands for anything.
    let fits = |allowed: &String| match allowed.split_once('*') {
        Some((begin, end)) => {
            origin.len() >= begin.len() + end.len() && origin.starts_with(begin) && origin.ends_with(end)
        }
        None => allowed == origin,
    };
    rules.iter().any(|rule| {
        rule.allowed_methods().iter().any(|allowed| allowed == method)
            && rule.allowed_headers().iter().any(|allowed| allowed == "*")
            && rule.allowed_origins().iter().any(fits)
    })
}
