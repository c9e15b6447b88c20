//! CORS rules of a bucket. The rule that the server creates follows the settings. If the bucket has other rules, the
//! server does not change them.

use std::iter;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use parlance::clock::Clock;
use parlance::config::S3Settings;
use reqwest::{Method, StatusCode};

use super::garage;
use crate::support::Node;

const ONE: &str = "https://one.example.org";
const OTHER: &str = "https://other.example.org";

/// Sends a request for the CORS rules of the bucket, as an operator would send it.
async fn cors(settings: &S3Settings, method: Method, rules: &str) -> (StatusCode, String) {
    let (id, secret) = (settings.s3_access_key_id.clone().unwrap(), settings.s3_secret_access_key.clone().unwrap());
    let identity = Credentials::new(id, secret, None, None, "test").into();
    let mut with_hash = SigningSettings::default();
    with_hash.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&settings.s3_region)
        .name("s3")
        .time(Clock::system().now().into())
        .settings(with_hash)
        .build()
        .unwrap();
    let params = SigningParams::V4(params);
    let url = format!("{}/{}?cors", settings.s3_endpoint.as_ref().unwrap(), settings.s3_bucket);
    let body = SignableBody::Bytes(rules.as_bytes());
    let signable = SignableRequest::new(method.as_str(), url.as_str(), iter::empty(), body).unwrap();
    let signature = sign(signable, &params).unwrap().into_parts().0;
    let mut request = reqwest::Client::new().request(method, &url).body(rules.to_owned());
    for (name, value) in signature.headers() {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

async fn start(settings: &S3Settings, origins: &str) -> Node {
    Node::build().s3(settings).flag(&format!("--cors-origins={origins}")).start_alone().await
}

/// Reads the CORS rules of the bucket, and returns the allowed origins of each rule.
async fn rules(settings: &S3Settings) -> Vec<Vec<String>> {
    let (status, text) = cors(settings, Method::GET, "").await;
    if text.contains("NoSuchCORSConfiguration") {
        return Vec::new();
    }
    assert_eq!(status, StatusCode::OK, "{text}");
    let origins = |rule: &str| {
        let begun = rule.split("<AllowedOrigin>").skip(1);
        begun.map(|begun| begun.split_once("</AllowedOrigin>").unwrap().0.to_owned()).collect()
    };
    text.split("<CORSRule>").skip(1).map(origins).collect()
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
    let rules_of_both = format!(
        "<CORSConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <CORSRule><ID>parlance</ID><AllowedMethod>PUT</AllowedMethod><AllowedOrigin>{ONE}</AllowedOrigin></CORSRule>\
         <CORSRule><ID>ours</ID><AllowedMethod>GET</AllowedMethod>\
         <AllowedOrigin>https://*.example.com</AllowedOrigin></CORSRule></CORSConfiguration>"
    );
    let (status, text) = cors(&settings, Method::PUT, &rules_of_both).await;
    assert!(status.is_success(), "{status}: {text}");
    let before = rules(&settings).await;
    assert_eq!(before.len(), 2);
    start(&settings, OTHER).await;
    assert_eq!(rules(&settings).await, before);
}
