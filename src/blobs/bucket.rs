//! The bucket: created at start, with CORS rules for browsers.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::{BucketLocationConstraint, CorsConfiguration, CorsRule, CreateBucketConfiguration};
use tokio::time::sleep;

use super::Parts;
use super::failure::Failure;
use crate::error::{Error, Result};

/// Interval between two attempts to reach an S3 that is unavailable at start.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The only region that a request to AWS for a new bucket must not name.
const NAMELESS_REGION: &str = "us-east-1";
/// Id of the server's CORS rule in the bucket.
const RULE: &str = "parlance";
/// Methods that a page may use.
const METHODS: [&str; 3] = ["GET", "HEAD", "PUT"];
/// Response headers that a page may read, in addition to the few that browsers always allow.
const EXPOSED: [&str; 3] = ["ETag", "Content-Disposition", "x-amz-checksum-sha256"];
/// Seconds for which a browser caches the answer to a preflight.
const REMEMBERED: i32 = 7200;

/// Prepares the bucket. If S3 is unavailable, retries in the background.
pub(super) async fn open(parts: &Arc<Parts>) {
    let Err(error) = prepare(parts).await else { return };
    tracing::warn!(%error, "S3 is not ready: files are unavailable until it is reached");
    let parts = Arc::downgrade(parts);
    tokio::spawn(async move {
        loop {
            sleep(LOOK_AGAIN).await;
            // The server has stopped.
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
        tracing::info!(bucket = parts.bucket, "created the bucket");
    }
    // Clients other than browsers need no CORS rules.
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
        // Another node has created it at the same time.
        Err(_) if exists(parts).await? => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

/// Updates the server's CORS rule from the settings. If the bucket has other rules, they belong to the operator and
/// nothing is changed.
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
            tracing::warn!(?kept_out, "the bucket has CORS rules of the operator, which block pages of CORS_ORIGINS");
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

/// Whether the server wrote a rule. Some S3 servers store no ids, so a rule with the server's content counts as well.
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
    // An origin in a rule may have one `*`, which stands for any text.
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
