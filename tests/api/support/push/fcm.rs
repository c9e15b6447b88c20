//! A stand-in of Firebase Cloud Messaging: the token endpoint of Google, and the method `messages:send` of HTTP v1.

use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use parlance::clock::Clock;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::pem_of;
use super::stand_in::{Device, Received, Shared, text_of};
use crate::support::unique;

const PROJECT: &str = "parlance-test";
const ACCOUNT: &str = "push@parlance-test.iam.gserviceaccount.com";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Largest content of a message in bytes.
const MAX_CONTENT: usize = 4096;
/// Longest lifetime of a grant in seconds.
const MAX_GRANT_LIFETIME: i64 = 60 * 60;

pub struct Fcm {
    service: Arc<Service>,
    /// Directory of the file of the service account.
    directory: TempDir,
    _tasks: JoinSet<()>,
}

struct Service {
    url: String,
    /// Public key of the service account, as DER of PKCS #1.
    public_key: Vec<u8>,
    shared: Shared,
    tokens: Mutex<Tokens>,
}

#[derive(Default)]
struct Tokens {
    valid: Vec<String>,
    /// Number of tokens that the stand-in has given.
    given: usize,
}

#[derive(Deserialize)]
struct Grant {
    grant_type: String,
    assertion: String,
}

impl Fcm {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let private_key: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let account = json!({
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "first",
            "private_key": pem_of(private_key.as_ref()),
            "client_email": ACCOUNT,
            "token_uri": format!("{url}/token"),
        });
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("account.json"), account.to_string()).unwrap();
        let public_key = key.public_key().as_ref().to_vec();
        let service = Service { url, public_key, shared: Shared::default(), tokens: Mutex::default() };
        let service = Arc::new(service);
        let router = Router::new()
            .route("/token", post(token))
            .route(&format!("/v1/projects/{PROJECT}/messages:send"), post(send))
            .with_state(Arc::clone(&service));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { service, directory, _tasks: tasks }
    }

    /// Returns the flags of a node that uses this stand-in.
    pub fn flags(&self) -> [String; 2] {
        [
            format!("--fcm-service-account-file={}", self.directory.path().join("account.json").display()),
            format!("--push-fcm-url={}", self.service.url),
        ]
    }

    /// Makes the token of an app.
    pub fn device(&self) -> Device {
        let token = format!("{}:APA91b{}", unique(), "x".repeat(120));
        self.service.shared.add(token.clone(), token.clone(), json!({"fcm": {"token": token}}))
    }

    /// Returns the number of access tokens that the server has got.
    pub fn tokens_given(&self) -> usize {
        self.service.tokens.lock().unwrap().given
    }

    /// Ends the validity of all access tokens.
    pub fn revoke_tokens(&self) {
        self.service.tokens.lock().unwrap().valid.clear();
    }
}

/// Gives an access token for a signed grant (RFC 7523, section 2.1).
async fn token(State(service): State<Arc<Service>>, Form(grant): Form<Grant>) -> Response {
    match service.check_grant(&grant) {
        Ok(()) => {
            let token = format!("ya29.{}", unique());
            let mut tokens = service.tokens.lock().unwrap();
            tokens.valid.push(token.clone());
            tokens.given += 1;
            Json(json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})).into_response()
        }
        Err(fault) => {
            service.shared.fault(fault);
            (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response()
        }
    }
}

async fn send(State(service): State<Arc<Service>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let bearer = text_of(&headers, "authorization").strip_prefix("Bearer ").unwrap_or_default().to_owned();
    if !service.tokens.lock().unwrap().valid.contains(&bearer) {
        return (StatusCode::UNAUTHORIZED, answer(401)).into_response();
    }
    let message = body["message"].clone();
    match check_message(&message) {
        Ok(size) => {
            let token = message["token"].as_str().unwrap_or_default().to_owned();
            if !service.shared.has(&token) {
                return (StatusCode::NOT_FOUND, answer(404)).into_response();
            }
            service.shared.reply(&token, Received::new(message, headers, size), 200, answer).await
        }
        Err(fault) => {
            service.shared.fault(fault);
            (StatusCode::BAD_REQUEST, answer(400)).into_response()
        }
    }
}

/// Returns the body of a response with this status.
fn answer(status: u16) -> String {
    let (name, code) = match status {
        200 => return json!({"name": format!("projects/{PROJECT}/messages/1")}).to_string(),
        400 => ("INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        401 => ("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
        403 => ("PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
        404 => ("NOT_FOUND", "UNREGISTERED"),
        429 => ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
        503 => ("UNAVAILABLE", "UNAVAILABLE"),
        _ => ("INTERNAL", "INTERNAL"),
    };
    let detail = json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code});
    json!({"error": {"code": status, "message": name, "status": name, "details": [detail]}}).to_string()
}

impl Service {
    fn check_grant(&self, grant: &Grant) -> Result<(), String> {
        if grant.grant_type != GRANT {
            return Err(format!("grant_type: {:?}", grant.grant_type));
        }
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_required_spec_claims(&["aud", "exp", "iss"]);
        validation.set_audience(&[format!("{}/token", self.url)]);
        validation.set_issuer(&[ACCOUNT]);
        let grant = decode::<Value>(&grant.assertion, &DecodingKey::from_rsa_der(&self.public_key), &validation);
        let claims = grant.map_err(|error| format!("the grant: {error}"))?.claims;
        let [issued, expires] = ["iat", "exp"].map(|name| claims[name].as_i64().unwrap_or_default());
        let now = Clock::system().now().timestamp();
        if claims["scope"] != SCOPE || issued > now || expires - issued > MAX_GRANT_LIFETIME {
            return Err(format!("the claims of the grant: {claims}"));
        }
        Ok(())
    }
}

/// Checks a message and returns the size of its content in bytes.
fn check_message(message: &Value) -> Result<usize, String> {
    let data = message["data"].as_object().ok_or_else(|| format!("no data in {message}"))?;
    let mut size = 0;
    for (name, value) in data {
        let value = value.as_str().ok_or_else(|| format!("{name} is not a string in {message}"))?;
        size += name.len() + value.len();
    }
    for (name, value) in message["notification"].as_object().into_iter().flatten() {
        size += name.len() + value.as_str().unwrap_or_default().len();
    }
    if size > MAX_CONTENT {
        return Err(format!("the content has {size} bytes"));
    }
    let android = &message["android"];
    if !["HIGH", "NORMAL", "high", "normal"].contains(&android["priority"].as_str().unwrap_or_default()) {
        return Err(format!("android.priority: {}", android["priority"]));
    }
    // A duration of protocol buffers in JSON, such as `3.5s`.
    let ttl = android["ttl"].as_str().and_then(|ttl| ttl.strip_suffix('s'));
    if ttl.and_then(|ttl| ttl.parse::<f64>().ok()).is_none() {
        return Err(format!("android.ttl: {}", android["ttl"]));
    }
    Ok(size)
}
