//! A stand-in of the Apple Push Notification service, which accepts only HTTP/2.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use parlance::clock::Clock;
use parlance::random::Random;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::KeyFile;
use super::stand_in::{Device, Received, Shared, text_of};
use super::tls::Certificate;

const KEY_ID: &str = "ABC123DEFG";
const TEAM_ID: &str = "DEF123GHIJ";
const TOPIC: &str = "org.example.chat";
/// First bytes of every HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI";
/// Name of HTTP/2 in TLS (RFC 9113, section 3.1).
const ALPN: &[u8] = b"h2";
/// Largest payloads in bytes: of VoIP pushes, and of all others.
const MAX_VOIP_PAYLOAD: usize = 5120;
const MAX_PAYLOAD: usize = 4096;
/// Longest apns-collapse-id in bytes.
const MAX_COLLAPSE_ID: usize = 64;
/// Greatest age of a provider token in seconds.
const MAX_AGE: i64 = 60 * 60;

pub struct Apns {
    url: String,
    service: Arc<Service>,
    /// Directory of the file of the key.
    directory: TempDir,
    _tasks: JoinSet<()>,
}

struct Service {
    /// Public key of the provider: an uncompressed point of P-256.
    public_key: Vec<u8>,
    shared: Shared,
}

impl Apns {
    /// Starts a stand-in without TLS, where clients must know that the server speaks HTTP/2.
    pub async fn start() -> Self {
        Self::start_as("http", None).await
    }

    /// Starts a stand-in where clients negotiate HTTP/2 by TLS, as with Apple.
    pub async fn start_with_tls(certificate: &Certificate) -> Self {
        Self::start_as("https", Some(certificate.acceptor(ALPN))).await
    }

    async fn start_as(scheme: &str, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let key = KeyFile::generate();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key.p8"), key.pem).unwrap();
        let service = Arc::new(Service { public_key: key.public_key, shared: Shared::default() });
        let router = Router::new().route("/3/device/{token}", post(receive)).with_state(Arc::clone(&service));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, router, service.shared.clone()));
        Self { url, service, directory, _tasks: tasks }
    }

    /// Returns the flags of a node that uses this stand-in.
    pub fn flags(&self) -> [String; 5] {
        [
            format!("--apns-key-file={}", self.directory.path().join("key.p8").display()),
            format!("--apns-key-id={KEY_ID}"),
            format!("--apns-team-id={TEAM_ID}"),
            format!("--apns-topic={TOPIC}"),
            format!("--push-apns-url={}", self.url),
        ]
    }

    /// Makes the token of an app.
    pub fn device(&self) -> Device {
        let token = device_token();
        self.service.shared.add(token.clone(), token.clone(), json!({"apns": {"token": token}}))
    }

    /// Makes the tokens of an app that shows calls by PushKit. The first device gets all pushes except calls, and the
    /// second one gets the calls. Only the first one has the input of the registration.
    pub fn device_with_voip(&self) -> [Device; 2] {
        let [token, voip] = [device_token(), device_token()];
        let input = json!({"apns": {"token": token, "environment": "SANDBOX", "voipToken": voip}});
        [token, voip].map(|token| self.service.shared.add(token.clone(), token, input.clone()))
    }
}

fn device_token() -> String {
    let bytes: [u8; 32] = Random::system().bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, router: Router, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, router, shared) = (acceptor.clone(), router.clone(), shared.clone());
        connections.spawn(async move {
            match acceptor {
                Some(acceptor) => serve_tls(stream, &acceptor, router, &shared).await,
                None => serve_plain(stream, router, &shared).await,
            }
        });
    }
}

async fn serve_tls(stream: TcpStream, acceptor: &TlsAcceptor, router: Router, shared: &Shared) {
    match acceptor.accept(stream).await {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN) => serve(stream, router).await,
        Ok(_) => shared.fault("the client of APNs did not negotiate HTTP/2".to_owned()),
        Err(error) => shared.fault(format!("the TLS of APNs: {error}")),
    }
}

async fn serve_plain(stream: TcpStream, router: Router, shared: &Shared) {
    let mut start = [0; PREFACE.len()];
    match stream.peek(&mut start).await {
        Ok(length) if length > 0 && !PREFACE.starts_with(&start[..length]) => {
            shared.fault("APNs got a connection that is not HTTP/2".to_owned());
        }
        Ok(_) => serve(stream, router).await,
        // The server has closed its connection.
        Err(_) => {}
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let builder = http2::Builder::new(TokioExecutor::new());
    // The server may close its connection in the middle of a request.
    let _ = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
}

async fn receive(
    State(service): State<Arc<Service>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !service.shared.has(&token) {
        return (StatusCode::BAD_REQUEST, answer(400)).into_response();
    }
    match service.check(&headers, &body) {
        Ok(payload) => service.shared.reply(&token, Received::new(payload, headers, body.len()), 200, answer).await,
        Err(fault) => {
            service.shared.fault(fault);
            StatusCode::BAD_REQUEST.into_response()
        }
    }
}

/// Returns the body of a response with this status.
fn answer(status: u16) -> String {
    let reason = match status {
        200 => return String::new(),
        400 => "BadDeviceToken",
        403 => "ExpiredProviderToken",
        410 => return json!({"reason": "Unregistered", "timestamp": 1_700_000_000_000_u64}).to_string(),
        413 => "PayloadTooLarge",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalServerError",
    };
    json!({"reason": reason}).to_string()
}

impl Service {
    fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<Value, String> {
        self.check_token(text_of(headers, "authorization"))?;
        let header = |name: &str| text_of(headers, name);
        let kind = header("apns-push-type");
        let topic = if kind == "voip" { format!("{TOPIC}.voip") } else { TOPIC.to_owned() };
        if header("apns-topic") != topic {
            return Err(format!("apns-topic: {:?}", header("apns-topic")));
        }
        let priorities: &[&str] = match kind {
            "alert" | "voip" => &["5", "10"],
            "background" => &["5"],
            other => return Err(format!("apns-push-type: {other:?}")),
        };
        if !priorities.contains(&header("apns-priority")) {
            return Err(format!("apns-priority of {kind}: {:?}", header("apns-priority")));
        }
        header("apns-expiration").parse::<i64>().map_err(|error| format!("apns-expiration: {error}"))?;
        if header("apns-collapse-id").len() > MAX_COLLAPSE_ID {
            return Err(format!("apns-collapse-id: {:?}", header("apns-collapse-id")));
        }
        if body.len() > if kind == "voip" { MAX_VOIP_PAYLOAD } else { MAX_PAYLOAD } {
            return Err(format!("the payload has {} bytes", body.len()));
        }
        let payload: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let aps = payload["aps"].as_object().ok_or_else(|| format!("no aps in {payload}"))?;
        if kind == "background" && (aps.get("content-available") != Some(&json!(1)) || aps.contains_key("alert")) {
            return Err(format!("a background push with {payload}"));
        }
        Ok(payload)
    }

    fn check_token(&self, header: &str) -> Result<(), String> {
        let token = header.strip_prefix("bearer ").ok_or_else(|| format!("authorization: {header:?}"))?;
        let mut validation = Validation::new(Algorithm::ES256);
        // Provider tokens have no `exp`.
        validation.set_required_spec_claims(&["iss"]);
        validation.validate_exp = false;
        validation.set_issuer(&[TEAM_ID]);
        let token = decode::<Value>(token, &DecodingKey::from_ec_der(&self.public_key), &validation);
        let token = token.map_err(|error| format!("the provider token: {error}"))?;
        let age = Clock::system().now().timestamp() - token.claims["iat"].as_i64().unwrap_or_default();
        if token.header.kid.as_deref() != Some(KEY_ID) || !(0..MAX_AGE).contains(&age) {
            return Err(format!("the provider token: {:?}, {}", token.header.kid, token.claims));
        }
        Ok(())
    }
}
