//! Creates the bucket at start, and sets its CORS rules for browsers.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::{BucketLocationConstraint, CorsConfiguration, CorsRule, CreateBucketConfiguration};
use tokio::time::sleep;

use super::Bucket;
use super::failure::Failure;
use crate::error::{Error, Result};

/// Interval between two attempts to reach an S3 that is unavailable at start.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The default region of AWS, which a request for a new bucket must not name.
const DEFAULT_REGION: &str = "us-east-1";
/// Id of the server's CORS rule in the bucket.
const RULE_ID: &str = "parlance";
/// Methods that a web page may use.
const ALLOWED_METHODS: [&str; 3] = ["GET", "HEAD", "PUT"];
/// Response headers that a web page may read, in addition to the few headers that browsers always allow.
const EXPOSED_HEADERS: [&str; 3] = ["ETag", "Content-Disposition", "x-amz-checksum-sha256"];
/// Time for which a browser caches the response to a preflight request, in seconds.
const MAX_AGE_SECONDS: i32 = 7200;

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
    match bucket.outcome(bucket.client.head_bucket().bucket(&bucket.name).send().await) {
        Ok(_) => Ok(true),
        Err(Failure::Missing(_)) => Ok(false),
        Err(Failure::Other(error)) => Err(error),
    }
}

async fn create(bucket: &Bucket) -> Result<()> {
    let configuration = (bucket.region != DEFAULT_REGION).then(|| {
        let region = BucketLocationConstraint::from(bucket.region.as_str());
        CreateBucketConfiguration::builder().location_constraint(region).build()
    });
    let created =
        bucket.client.create_bucket().bucket(&bucket.name).set_create_bucket_configuration(configuration).send().await;
    match bucket.outcome(created) {
        Ok(_) => Ok(()),
        // Another node has created the bucket at the same time.
        Err(_) if exists(bucket).await? => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

/// Sets or deletes the server's CORS rule according to the settings. If the bucket has other rules, the operator wrote
/// them, and the function changes nothing.
async fn allow_browsers(bucket: &Bucket) -> Result<()> {
    let existing = match bucket.outcome(bucket.client.get_bucket_cors().bucket(&bucket.name).send().await) {
        Ok(existing) => existing.cors_rules.unwrap_or_default(),
        Err(Failure::Missing(_)) => Vec::new(),
        Err(failure) => return Err(failure.into()),
    };
    let origins = bucket.origins.clone();
    if existing.iter().any(|rule| !is_own_rule(rule)) {
        let blocked: Vec<_> = origins
            .iter()
            .filter(|origin| !ALLOWED_METHODS.iter().all(|method| allow(&existing, origin, method)))
            .collect();
        if !blocked.is_empty() {
            tracing::warn!(?blocked, "the bucket has CORS rules of the operator, which block pages of CORS_ORIGINS");
        }
        return Ok(());
    }
    if origins.is_empty() {
        if !existing.is_empty() {
            bucket.outcome(bucket.client.delete_bucket_cors().bucket(&bucket.name).send().await)?;
        }
        return Ok(());
    }
    let rule = rule(Some(RULE_ID), origins)?;
    if existing == [rule.clone()] {
        return Ok(());
    }
    let rules = CorsConfiguration::builder().cors_rules(rule).build().map_err(|error| Error::S3(error.to_string()))?;
    bucket.outcome(bucket.client.put_bucket_cors().bucket(&bucket.name).cors_configuration(rules).send().await)?;
    Ok(())
}

/// Whether the server wrote a rule. Some S3 servers do not store ids, so a rule without an id counts as well if it is
/// equal to a rule that the server would write.
fn is_own_rule(found: &CorsRule) -> bool {
    found.id() == Some(RULE_ID) || rule(None, found.allowed_origins().to_vec()).is_ok_and(|own| own == *found)
}

fn rule(id: Option<&str>, origins: Vec<String>) -> Result<CorsRule> {
    CorsRule::builder()
        .set_id(id.map(str::to_owned))
        .set_allowed_origins(Some(origins))
        .set_allowed_methods(Some(ALLOWED_METHODS.map(str::to_owned).to_vec()))
        .allowed_headers("*")
        .set_expose_headers(Some(EXPOSED_HEADERS.map(str::to_owned).to_vec()))
        .max_age_seconds(MAX_AGE_SECONDS)
        .build()
        .map_err(|error| Error::S3(error.to_string()))
}

fn allow(rules: &[CorsRule], origin: &str, method: &str) -> bool {
    // An origin in a rule may contain one `*`, which stands for any text.
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
