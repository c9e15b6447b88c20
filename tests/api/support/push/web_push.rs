//! A stand-in of a push service (RFC 8030), which serves Web Push and UnifiedPush.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use parlance::clock::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::CONTACT;
use super::receiver::Receiver;
use super::stand_in::{Device, Received, Shared, text_of};
use super::tls::{Certificate, TlsListener};
use crate::support::{free_port, unique};

/// Largest body that every push service accepts, in bytes (RFC 8030, section 7.2).
const MAX_BODY: usize = 4096;
/// Longest lifetime of a VAPID token in seconds (RFC 8292, section 2).
const MAX_LIFETIME: i64 = 24 * 60 * 60;
/// Longest topic in characters (RFC 8030, section 5.4).
const MAX_TOPIC: usize = 32;

pub struct PushService {
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    service: Arc<Service>,
    tasks: JoinSet<()>,
}

struct Service {
    /// The audience of VAPID tokens, such as `http://127.0.0.1:10000`.
    origin: String,
    shared: Shared,
    subscribers: Mutex<HashMap<String, Subscriber>>,
}

struct Subscriber {
    receiver: Receiver,
    /// The VAPID key of the only server that may send to the device (RFC 8292, section 4).
    server_key: String,
}

impl PushService {
    pub async fn start() -> Self {
        let mut service = Self::stopped();
        service.listen().await;
        service
    }

    /// Starts a service whose endpoints begin with `https://`.
    pub async fn start_with_tls(certificate: &Certificate) -> Self {
        let mut service = Self::new("https", Some(certificate.acceptor(b"http/1.1")));
        service.listen().await;
        service
    }

    /// Returns a service that does not accept connections before `listen` is called.
    pub fn stopped() -> Self {
        Self::new("http", None)
    }

    fn new(scheme: &str, acceptor: Option<TlsAcceptor>) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let service = Service {
            origin: format!("{scheme}://{address}"),
            shared: Shared::default(),
            subscribers: Mutex::default(),
        };
        Self { address, acceptor, service: Arc::new(service), tasks: JoinSet::new() }
    }

    pub async fn listen(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let router = Router::new().route("/push/{device}", post(receive)).with_state(Arc::clone(&self.service));
        match self.acceptor.clone() {
            Some(acceptor) => {
                let listener = TlsListener::new(listener, acceptor);
                self.tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
            }
            None => {
                self.tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
            }
        }
    }

    /// Makes an endpoint for a device. `transport` is the field of the input, and `server_key` the VAPID key of the
    /// server that may send to it.
    pub fn device(&self, transport: &str, server_key: &str) -> Device {
        let id = unique();
        let address = format!("{}/push/{id}", self.service.origin);
        let receiver = Receiver::generate();
        let input = json!({transport: {"endpoint": address, "p256dh": receiver.p256dh(), "auth": receiver.auth()}});
        let subscriber = Subscriber { receiver, server_key: server_key.to_owned() };
        self.service.subscribers.lock().unwrap().insert(id.clone(), subscriber);
        self.service.shared.add(id, address, input)
    }

    /// Replaces the keys of a device, as a browser does when it renews its subscription, and returns its new input.
    pub fn renew(&self, device: &Device, transport: &str) -> Value {
        let id = device.address.rsplit('/').next().unwrap();
        let receiver = Receiver::generate();
        let input =
            json!({transport: {"endpoint": device.address, "p256dh": receiver.p256dh(), "auth": receiver.auth()}});
        self.service.subscribers.lock().unwrap().get_mut(id).unwrap().receiver = receiver;
        input
    }
}

async fn receive(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !service.shared.has(&id) {
        return StatusCode::NOT_FOUND.into_response();
    }
    match service.open(&id, &headers, &body) {
        Ok(payload) => {
            let push = Received::new(payload, headers, body.len());
            service.shared.reply(&id, push, 201, |_| String::new()).await
        }
        Err(fault) => {
            service.shared.fault(fault);
            StatusCode::BAD_REQUEST.into_response()
        }
    }
}

impl Service {
    /// Checks a request and decrypts its body.
    fn open(&self, id: &str, headers: &HeaderMap, body: &[u8]) -> Result<Value, String> {
        let subscribers = self.subscribers.lock().unwrap();
        let subscriber = &subscribers[id];
        check_vapid(text_of(headers, "authorization"), &self.origin, &subscriber.server_key)?;
        text_of(headers, "ttl").parse::<u32>().map_err(|error| format!("TTL: {error}"))?;
        let urgency = text_of(headers, "urgency");
        if !["very-low", "low", "normal", "high"].contains(&urgency) {
            return Err(format!("Urgency: {urgency:?}"));
        }
        let topic = text_of(headers, "topic");
        let is_base64url = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if topic.is_empty() || topic.len() > MAX_TOPIC || !is_base64url {
            return Err(format!("Topic: {topic:?}"));
        }
        if text_of(headers, "content-encoding") != "aes128gcm" {
            return Err(format!("Content-Encoding: {:?}", text_of(headers, "content-encoding")));
        }
        if body.len() > MAX_BODY {
            return Err(format!("the body has {} bytes", body.len()));
        }
        let payload = subscriber.receiver.open(body)?;
        serde_json::from_slice(&payload).map_err(|error| error.to_string())
    }
}

/// Checks the header Authorization (RFC 8292, section 3).
fn check_vapid(header: &str, origin: &str, server_key: &str) -> Result<(), String> {
    let parameters = header.strip_prefix("vapid ").ok_or_else(|| format!("Authorization: {header:?}"))?;
    let parameter =
        |name: &str| parameters.split(',').find_map(|part| part.trim().strip_prefix(name)).unwrap_or_default();
    let (token, key) = (parameter("t="), parameter("k="));
    if key != server_key {
        return Err(format!("the VAPID key is {key:?} instead of {server_key:?}"));
    }
    let point = URL_SAFE_NO_PAD.decode(key).map_err(|error| error.to_string())?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_required_spec_claims(&["aud", "exp", "sub"]);
    validation.set_audience(&[origin]);
    validation.sub = Some(CONTACT.to_owned());
    let token = decode::<Value>(token, &DecodingKey::from_ec_der(&point), &validation);
    let claims = token.map_err(|error| format!("the VAPID token: {error}"))?.claims;
    let lifetime = claims["exp"].as_i64().unwrap_or(i64::MAX) - Clock::system().now().timestamp();
    if lifetime > MAX_LIFETIME { Err(format!("the VAPID token expires in {lifetime} s")) } else { Ok(()) }
}
