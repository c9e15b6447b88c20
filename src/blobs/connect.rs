//! Creates the S3 clients from the settings.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};

use crate::config::S3Settings;
use crate::error::{Error, Result};

/// Maximum number of attempts of a request. A request is retried only once, because a user waits for the response.
const ATTEMPTS: u32 = 2;
/// Maximum delay before the retry.
const BACKOFF: Duration = Duration::from_millis(200);
/// Maximum time to open a connection to S3.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Clients for the endpoint of S3 that the server uses (`own`), and for the endpoint that its clients use (`public`).
pub(super) struct Clients {
    pub(super) own: Client,
    pub(super) public: Client,
}

/// Creates the clients. None if S3_ENDPOINT is not set.
pub(super) fn clients(settings: &S3Settings) -> Result<Option<Clients>> {
    let Some(endpoint) = &settings.s3_endpoint else { return Ok(None) };
    let (Some(id), Some(secret)) = (&settings.s3_access_key_id, &settings.s3_secret_access_key) else {
        return Err(Error::S3("S3_ACCESS_KEY_ID or S3_SECRET_ACCESS_KEY is missing".to_owned()));
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(settings.s3_timeout)
        .operation_timeout(settings.s3_timeout)
        .build();
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(BACKOFF);
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.s3_region.clone()))
        .credentials_provider(Credentials::new(id, secret, None, None, "settings"))
        .force_path_style(settings.s3_path_style)
        // Many S3 servers do not support newer checksums, so only requests that need a checksum send it.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .timeout_config(timeouts)
        .retry_config(retries);
    let public = settings.s3_public_endpoint.as_ref().unwrap_or(endpoint);
    let at = |url: &str| Client::from_conf(config.clone().endpoint_url(url).build());
    Ok(Some(Clients { own: at(endpoint), public: at(public) }))
}

/// Returns a configuration with timeouts for requests that transfer a whole file. S3_TIMEOUT is too short for them.
pub(super) fn transfer(time: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(time).operation_timeout(time).build();
    Builder::new()
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().upload_enabled(true).build())
}
