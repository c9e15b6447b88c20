//! CORS rules of a bucket. The rule that the server creates follows the settings. If the bucket has other rules, the
//! server does not change them.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::{CorsConfiguration, CorsRule};
use parlance::config::S3Settings;

use super::garage;
use crate::support::Node;

const ONE: &str = "https://one.example.org";
const OTHER: &str = "https://other.example.org";

/// Returns an S3 client as an operator would use it.
fn client(settings: &S3Settings) -> Client {
    let (id, secret) = (settings.s3_access_key_id.clone().unwrap(), settings.s3_secret_access_key.clone().unwrap());
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.s3_region.clone()))
        .credentials_provider(Credentials::new(id, secret, None, None, "test"))
        .endpoint_url(settings.s3_endpoint.clone().unwrap())
        .force_path_style(true);
    Client::from_conf(config.build())
}

async fn start(settings: &S3Settings, origins: &str) -> Node {
    Node::build().s3(settings).flag(&format!("--cors-origins={origins}")).start_alone().await
}

/// Reads the CORS rules of the bucket, and returns the allowed origins of each rule.
async fn rules(settings: &S3Settings) -> Vec<Vec<String>> {
    let found = client(settings).get_bucket_cors().bucket(&settings.s3_bucket).send().await;
    let rules = match found.map_err(SdkError::into_service_error) {
        Ok(found) => found.cors_rules.unwrap_or_default(),
        Err(error) if error.meta().code() == Some("NoSuchCORSConfiguration") => Vec::new(),
        Err(error) => panic!("{error:?}"),
    };
    rules.into_iter().map(|rule| rule.allowed_origins).collect()
}

#[tokio::test]
async fn the_cors_rule_of_the_server_follows_the_settings() {
    let settings = garage();
    for (origins, expected) in [
        (ONE.to_owned(), vec![vec![ONE]]),
        (format!("{ONE},{OTHER}"), vec![vec![ONE, OTHER]]),
        (OTHER.to_owned(), vec![vec![OTHER]]),
        ("none".to_owned(), vec![]),
        ("*".to_owned(), vec![vec!["*"]]),
    ] {
        let _node = start(&settings, &origins).await;
        assert_eq!(rules(&settings).await, expected, "{origins}");
    }
}

#[tokio::test]
async fn a_bucket_with_cors_rules_of_an_operator_is_left_unchanged() {
    let settings = garage();
    start(&settings, ONE).await;
    let operators = CorsRule::builder().id("ours").allowed_origins("https://*.example.com").allowed_methods("GET");
    let rules_of_both = CorsConfiguration::builder()
        .cors_rules(CorsRule::builder().id("parlance").allowed_origins(ONE).allowed_methods("PUT").build().unwrap())
        .cors_rules(operators.build().unwrap());
    let put = client(&settings).put_bucket_cors().bucket(&settings.s3_bucket);
    put.cors_configuration(rules_of_both.build().unwrap()).send().await.unwrap();
    let before = rules(&settings).await;
    assert_eq!(before.len(), 2);
    start(&settings, OTHER).await;
    assert_eq!(rules(&settings).await, before);
}
