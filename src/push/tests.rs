//! Tests of the transports against a server that answers as push services do.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::agreement::PrivateKey;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, Version};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::{Args as _, Command, FromArgMatches as _};
use jsonwebtoken::dangerous::insecure_decode_claims;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::encryption::decrypt;
use super::notification::tests::push;
use super::*;
use crate::metrics::Metrics;

/// A push service on this machine, which speaks HTTP/1 and HTTP/2.
#[derive(Clone)]
struct Service {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<VecDeque<Response>>>,
}

/// A request that the service has got.
#[derive(Clone)]
struct Seen {
    path: String,
    version: Version,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name} is missing")).to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = Self { address, seen: Arc::default(), answers: Arc::default() };
        let own = service.clone();
        let router = axum::Router::new().fallback(move |request: Request| {
            let service = own.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 1_000_000).await.unwrap().to_vec();
                let (path, version, headers) = (parts.uri.path().to_owned(), parts.version, parts.headers);
                service.seen.lock().push(Seen { path, version, headers, body });
                let next = service.answers.lock().pop_front();
                next.unwrap_or_else(|| status(201))
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        service
    }

    /// Answers the next request like this. Further ones get 201.
    fn answer_next(&self, answer: Response) {
        self.answers.lock().push_back(answer);
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock())
    }
}

/// An answer without a body.
fn status(code: u16) -> Response {
    axum::http::StatusCode::from_u16(code).unwrap().into_response()
}

fn with_json(code: u16, body: Value) -> Response {
    (axum::http::StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response()
}

fn settings(flags: &[&str]) -> PushSettings {
    let flags = ["parlance", "--push-allowed-networks", "loopback"].iter().chain(flags);
    let matches = PushSettings::augment_args(Command::new("parlance")).try_get_matches_from(flags).unwrap();
    PushSettings::from_arg_matches(&matches).unwrap()
}

fn pusher(flags: &[&str]) -> Pusher {
    let random = Random::system();
    Pusher::open(&settings(flags), VapidKey::generate(&random), Clock::system(), &random).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn public_key(key: &PrivateKey) -> Vec<u8> {
    let key = key.compute_public_key().unwrap();
    let bytes: &[u8] = key.as_ref();
    bytes.to_vec()
}

/// A browser: its private key, its secret, and its subscription at the service.
fn browser(service: &Service) -> (PrivateKey, Vec<u8>, Target) {
    let (key, auth) = (p256::generate(&Random::system()), vec![7; 16]);
    let keys = ReceiverKeys::new(public_key(&key), auth.clone()).unwrap();
    let endpoint = format!("{}/push/1?secret", service.address);
    (key, auth, Target::WebPush { endpoint, keys })
}

#[tokio::test]
async fn a_browser_gets_an_encrypted_and_signed_push() {
    let (service, pusher) = (Service::start().await, pusher(&["--push-contact", "mailto:ada@example.org"]));
    let (key, auth, target) = browser(&service);
    let push = push("Hello");
    assert_eq!(pusher.send(&target, &push).await, Outcome::Delivered);
    let seen = service.seen().remove(0);
    let content: Value = serde_json::from_slice(&decrypt(&seen.body, &key, &auth).unwrap()).unwrap();
    assert_eq!(content, serde_json::to_value(&push.notification).unwrap());
    assert_eq!((seen.path.as_str(), seen.header("content-encoding")), ("/push/1", "aes128gcm"));
    assert_eq!((seen.header("ttl"), seen.header("urgency")), ("86400", "high"));
    assert_eq!(seen.header("topic"), push.topic());
    let (token, public) = seen.header("authorization").strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
    assert_eq!(public, pusher.vapid_public_key());
    let claims: Value = insecure_decode_claims(token).unwrap();
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!(service.address), &json!("mailto:ada@example.org")));
}

#[tokio::test]
async fn the_answer_of_a_push_service_decides() {
    let (service, pusher) = (Service::start().await, pusher(&[]));
    let (_, _, target) = browser(&service);
    let redirect = (axum::http::StatusCode::TEMPORARY_REDIRECT, [("location", service.address.clone())]);
    let busy = (axum::http::StatusCode::TOO_MANY_REQUESTS, [("retry-after", "120")]);
    for (answer, outcome) in [
        (status(202), Outcome::Delivered),
        (status(404), Outcome::Gone),
        (status(410), Outcome::Gone),
        (status(403), Outcome::refused("a push service answered 403 Forbidden")),
        (redirect.into_response(), Outcome::refused("a push service answered 307 Temporary Redirect")),
        (status(503), Outcome::Retry { after: None }),
        (busy.into_response(), Outcome::Retry { after: Some(Duration::from_mins(2)) }),
    ] {
        service.answer_next(answer);
        assert_eq!(pusher.send(&target, &push("Hello")).await, outcome);
        assert_eq!(service.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_push_that_is_too_large_is_sent_without_its_text() {
    let (service, pusher) = (Service::start().await, pusher(&[]));
    let (key, auth, target) = browser(&service);
    service.answer_next(status(413));
    assert_eq!(pusher.send(&target, &push(&"a".repeat(100_000))).await, Outcome::Delivered);
    let contents: Vec<Value> = service
        .seen()
        .iter()
        .map(|seen| serde_json::from_slice(&decrypt(&seen.body, &key, &auth).unwrap()).unwrap())
        .collect();
    assert!(contents[0]["body"].as_str().unwrap().len() > 3500 && contents[1].get("body").is_none());
    for _ in 0..2 {
        service.answer_next(status(413));
    }
    assert!(matches!(pusher.send(&target, &push("Hello")).await, Outcome::Refused { .. }));
    assert_eq!(service.seen().len(), 2);
}

#[tokio::test]
async fn an_endpoint_is_public_or_in_an_allowed_network() {
    let random = Random::system();
    let private = PushSettings { push_allowed_networks: "none".parse().unwrap(), ..settings(&[]) };
    let private = Pusher::open(&private, VapidKey::generate(&random), Clock::system(), &random).unwrap();
    let local = pusher(&[]);
    for endpoint in ["http://127.0.0.1:8080/push", "http://localhost/push", "https://[::1]/push"] {
        assert!(private.check_endpoint(endpoint).await.is_err(), "{endpoint}");
        assert_eq!(local.check_endpoint(endpoint).await, Ok(()), "{endpoint}");
    }
    let long = format!("https://127.0.0.1/{}", "a".repeat(MAX_PUSH_ADDRESS));
    for endpoint in ["", "push", "/push", "ftp://127.0.0.1/", "https://ada@127.0.0.1/", &long] {
        let error = local.check_endpoint(endpoint).await.unwrap_err();
        assert!(error.starts_with("The ") && error.ends_with('.'), "{error}");
    }
    let service = Service::start().await;
    let (_, _, target) = browser(&service);
    assert!(matches!(private.send(&target, &push("Hello")).await, Outcome::Refused { .. }));
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let keys = ReceiverKeys::new(public_key(&p256::generate(&Random::system())), vec![7; 16]).unwrap();
    let metrics = Metrics::default();
    let pusher = pusher(&[]).with_metrics(metrics.push());
    let target = Target::UnifiedPush { endpoint, keys };
    assert_eq!(pusher.send(&target, &push("Hello")).await, Outcome::Retry { after: None });
    let text = metrics.text();
    let counted = text.lines().find(|line| {
        line.starts_with("parlance_push_sent_total{") && line.contains("unified_push") && line.contains("\"retry\"")
    });
    assert!(counted.is_some_and(|line| line.ends_with(" 1")), "{counted:?}");
    assert!(text.contains("parlance_push_duration_seconds_count 1"));
}

/// Writes the file of a service account whose tokens the service gives, and returns a pusher with it.
fn with_fcm(service: &Service, directory: &Path) -> Pusher {
    let key: Pkcs8V1Der<'_> = KeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
    let account = json!({
        "type": "service_account", "project_id": "chat-1", "private_key_id": "key-1",
        "private_key": pem("PRIVATE KEY", key.as_ref()), "client_email": "chat@example.org",
        "token_uri": format!("{}/token", service.address),
    });
    let path = directory.join("account.json");
    std::fs::write(&path, account.to_string()).unwrap();
    pusher(&["--fcm-service-account-file", path.to_str().unwrap(), "--push-fcm-url", &service.address])
}

#[tokio::test]
async fn fcm_gets_a_message_with_an_access_token() {
    let (service, directory) = (Service::start().await, tempfile::tempdir().unwrap());
    let pusher = with_fcm(&service, directory.path());
    assert!(pusher.supports(Transport::Fcm) && !pusher.supports(Transport::Apns));
    service.answer_next(with_json(200, json!({"access_token": "ya29.1", "expires_in": 3599, "token_type": "Bearer"})));
    let target = Target::Fcm { token: "device".to_owned() };
    let push = push("Hello");
    let sent = futures_util::future::join_all((0..3).map(|_| pusher.send(&target, &push))).await;
    assert_eq!(sent, vec![Outcome::Delivered; 3]);
    let seen = service.seen();
    assert_eq!(seen.len(), 4, "one request for the token, and one for each push");
    let form = String::from_utf8(seen[0].body.clone()).unwrap();
    let assertion = form.split_once("&assertion=").unwrap().1;
    assert!(form.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&"), "{form}");
    let claims: Value = insecure_decode_claims(assertion).unwrap();
    assert_eq!(
        (&claims["iss"], &claims["aud"]),
        (&json!("chat@example.org"), &json!(service.address.clone() + "/token"))
    );
    assert_eq!(seen[1].path, "/v1/projects/chat-1/messages:send");
    assert_eq!(seen[1].header("authorization"), "Bearer ya29.1");
    assert_eq!(seen[1].json()["message"]["token"], "device");
}

#[tokio::test]
async fn the_answer_of_fcm_decides() {
    let (service, directory) = (Service::start().await, tempfile::tempdir().unwrap());
    let pusher = with_fcm(&service, directory.path());
    service.answer_next(with_json(200, json!({"access_token": "ya29.1", "expires_in": 3599})));
    let unregistered = json!({"error": {"status": "NOT_FOUND", "details": [{"errorCode": "UNREGISTERED"}]}});
    for (answer, outcome) in [
        (with_json(404, unregistered), Outcome::Gone),
        (
            with_json(404, json!({"error": {"status": "NOT_FOUND"}})),
            Outcome::refused("FCM answered 404 Not Found: NOT_FOUND"),
        ),
        (status(503), Outcome::Retry { after: None }),
        (status(401), Outcome::Retry { after: None }),
    ] {
        service.answer_next(answer);
        assert_eq!(pusher.send(&Target::Fcm { token: "device".to_owned() }, &push("Hello")).await, outcome);
    }
    assert_eq!(service.seen().len(), 5);
    // The refused token is dropped, and the next one is not fetched at once.
    let target = Target::Fcm { token: "device".to_owned() };
    assert_eq!(pusher.send(&target, &push("Hello")).await, Outcome::Retry { after: None });
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn apns_gets_a_push_over_http2() {
    let (service, directory) = (Service::start().await, tempfile::tempdir().unwrap());
    let key: Pkcs8V1Der<'_> = p256::generate(&Random::system()).as_der().unwrap();
    let path = directory.path().join("key.p8");
    std::fs::write(&path, pem("PRIVATE KEY", key.as_ref())).unwrap();
    let key = ["--apns-key-file", path.to_str().unwrap(), "--apns-key-id", "ABC123DEFG"];
    let app = ["--apns-team-id", "DEF123GHIJ", "--apns-topic", "org.example.chat", "--push-apns-url", &service.address];
    let pusher = pusher(&[&key[..], &app[..]].concat());
    assert!(pusher.supports(Transport::Apns));
    let target = |is_voip| Target::Apns { token: "0af9".repeat(16), environment: ApnsEnvironment::Production, is_voip };
    for (is_voip, topic, push_type) in [(false, "org.example.chat", "alert"), (true, "org.example.chat.voip", "voip")] {
        service.answer_next(status(200));
        assert_eq!(pusher.send(&target(is_voip), &push("Hello")).await, Outcome::Delivered);
        let seen = service.seen().remove(0);
        assert_eq!((seen.version, seen.path), (Version::HTTP_2, format!("/3/device/{}", "0af9".repeat(16))));
        let header = |name: &str| seen.headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!((header("apns-topic"), header("apns-push-type")), (topic.to_owned(), push_type.to_owned()));
        assert_eq!(header("apns-collapse-id"), push("Hello").collapse_key);
        let token = header("authorization");
        let claims: Value = insecure_decode_claims(token.strip_prefix("bearer ").unwrap()).unwrap();
        assert_eq!(claims["iss"], "DEF123GHIJ");
    }
    for (code, reason, outcome) in [
        (400, "BadDeviceToken", Outcome::Gone),
        (410, "Unregistered", Outcome::Gone),
        (400, "BadTopic", Outcome::refused("APNs answered 400 Bad Request: BadTopic")),
        (403, "ExpiredProviderToken", Outcome::Retry { after: None }),
        (429, "TooManyRequests", Outcome::Retry { after: None }),
    ] {
        service.answer_next(with_json(code, json!({ "reason": reason })));
        assert_eq!(pusher.send(&target(false), &push("Hello")).await, outcome, "{reason}");
    }
    let other_path =
        Target::Apns { token: "../../x".to_owned(), environment: ApnsEnvironment::Sandbox, is_voip: false };
    drop(service.seen());
    assert!(matches!(pusher.send(&other_path, &push("Hello")).await, Outcome::Refused { .. }));
    assert!(service.seen().is_empty());
}

#[test]
fn an_error_names_the_setting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "{}").unwrap();
    let path = path.to_str().unwrap();
    let random = Random::system();
    let apns = ["--apns-key-file", path, "--apns-key-id", "ABC123DEFG", "--apns-team-id", "DEF123GHIJ"];
    let apns = [&apns[..], &["--apns-topic", "org.example.chat"]].concat();
    for (flags, setting) in
        [(&["--fcm-service-account-file", path][..], "FCM_SERVICE_ACCOUNT_FILE"), (&apns[..], "APNS_KEY_FILE")]
    {
        let opened = Pusher::open(&settings(flags), VapidKey::generate(&random), Clock::system(), &random);
        let error = opened.err().unwrap().to_string();
        assert!(error.starts_with(&format!("{setting} ({path}) ")), "{error}");
    }
    let encoded = pusher(&[]).vapid_public_key();
    assert_eq!(URL_SAFE_NO_PAD.decode(encoded).unwrap().len(), 65);
}
