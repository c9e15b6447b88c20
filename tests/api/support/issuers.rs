//! An issuer whose users sign in to a node: it publishes keys, and answers the requests of logins in the browser.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto, encode};
use parlance::clock::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::client::{Answer, User};
use super::node::{Node, NodeBuilder};

/// The audience of the tokens: the id of the node as a client of the issuer.
pub const AUDIENCE: &str = "chat";

const SIGN_IN: &str = "mutation ($input: SignInWithTokenInput!) { signInWithToken(input: $input) {
    accessToken refreshToken isNewAccount session { id deviceName }
    viewer { hasPassword email emailVerified user { id username displayName isGuest } }
} }";

/// A private key of an issuer, and its public key as a JWK.
pub struct SigningKey {
    header: Header,
    encoding: EncodingKey,
    pub jwk: Value,
}

impl SigningKey {
    pub fn ed25519(id: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let pem = STANDARD.encode(document.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
        Self::new(id, Algorithm::EdDSA, EncodingKey::from_ed_pem(pem.as_bytes()).unwrap())
    }

    pub fn p256(id: &str) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self::new(id, Algorithm::ES256, EncodingKey::from_ec_der(document.as_ref()))
    }

    fn new(id: &str, algorithm: Algorithm, encoding: EncodingKey) -> Self {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&encoding, algorithm).unwrap()).unwrap();
        (jwk["kid"], jwk["use"]) = (json!(id), json!("sig"));
        let mut header = Header::new(algorithm);
        header.kid = Some(id.to_owned());
        Self { header, encoding, jwk }
    }

    pub fn sign(&self, claims: &Value) -> String {
        encode(&self.header, claims, &self.encoding).unwrap()
    }

    /// Signs a token whose claims are this text.
    pub fn sign_text(&self, claims: &str) -> String {
        let parts = [serde_json::to_string(&self.header).unwrap(), claims.to_owned()];
        let message = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = crypto::sign(message.as_bytes(), &self.encoding, self.header.alg).unwrap();
        format!("{message}.{signature}")
    }

    /// Signs a token whose header does not name the key.
    pub fn sign_without_id(&self, claims: &Value) -> String {
        encode(&Header::new(self.header.alg), claims, &self.encoding).unwrap()
    }
}

/// The answers of the issuer.
pub struct Answers {
    /// The public keys.
    pub keys: Vec<Value>,
    /// Whether the issuer works. Otherwise each answer is 503.
    pub is_up: bool,
    /// Time until the keys are sent.
    pub delay: Duration,
    /// Number of bytes that are added to the keys.
    pub padding: usize,
    /// Whether the issuer says that its answers to logins name it.
    pub names_itself: bool,
    /// The ID token of the next login.
    pub id_token: String,
    /// Number of requests for the keys.
    pub key_requests: usize,
    /// The form of the newest request for tokens.
    pub token_form: HashMap<String, String>,
}

/// Returns the flag with an issuer that signs with a shared secret, and that needs no server.
pub fn secret_issuer() -> String {
    format!("--issuers-file={}/tests/issuers.json", env!("CARGO_MANIFEST_DIR"))
}

/// Returns a token of the issuer of `secret_issuer`.
pub fn secret_token(subject: &str) -> String {
    let issuers: Value = serde_json::from_str(include_str!("../../issuers.json")).unwrap();
    let (issuer, now) = (&issuers[0], Clock::system().now().timestamp());
    let secret = issuer["secret"].as_str().unwrap();
    let claims = json!({"iss": issuer["issuer"], "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

type Shared = Arc<Mutex<Answers>>;

pub struct TestIssuer {
    pub url: String,
    pub key: SigningKey,
    answers: Shared,
    directory: TempDir,
    _tasks: JoinSet<()>,
}

impl TestIssuer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = SigningKey::ed25519("first");
        let answers = Arc::new(Mutex::new(Answers {
            keys: vec![key.jwk.clone()],
            is_up: true,
            delay: Duration::ZERO,
            padding: 0,
            names_itself: false,
            id_token: String::new(),
            key_requests: 0,
            token_form: HashMap::new(),
        }));
        let metadata = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/keys"),
        });
        let published = move |State(answers): State<Shared>| {
            let (mut metadata, answers) = (metadata, answers.lock().unwrap());
            metadata["authorization_response_iss_parameter_supported"] = json!(answers.names_itself);
            std::future::ready(if answers.is_up { Ok(Json(metadata)) } else { Err(UNAVAILABLE) })
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(published))
            .route("/keys", get(keys))
            .route("/token", post(tokens))
            .with_state(Arc::clone(&answers));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, key, answers, directory: tempfile::tempdir().unwrap(), _tasks: tasks }
    }

    /// Changes or reads what the issuer answers.
    pub fn answers<T>(&self, change: impl FnOnce(&mut Answers) -> T) -> T {
        change(&mut self.answers.lock().unwrap())
    }

    /// Returns the settings of a node that accepts the tokens of this issuer, whose name there is `test`. `changes` are
    /// further fields of the issuer in the file.
    pub fn node(&self, changes: &Value) -> NodeBuilder {
        let mut entry = json!({
            "name": "test", "issuer": self.url, "clientId": AUDIENCE, "clientSecret": "a secret",
        });
        for (name, value) in changes.as_object().unwrap() {
            entry[name] = value.clone();
        }
        let file = self.directory.path().join("issuers.json");
        std::fs::write(&file, json!([entry]).to_string()).unwrap();
        Node::build().flag(&format!("--issuers-file={}", file.display())).flag("--issuer-refetch-interval=0")
    }

    /// Returns the claims of a token, with further ones.
    pub fn claims(&self, subject: &str, more: &Value) -> Value {
        let now = Clock::system().now().timestamp();
        let mut claims = json!({"iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    /// Returns a token, with further claims.
    pub fn token(&self, subject: &str, more: &Value) -> String {
        self.key.sign(&self.claims(subject, more))
    }
}

const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

async fn keys(State(answers): State<Shared>) -> Result<Json<Value>, StatusCode> {
    let (answer, delay) = {
        let mut answers = answers.lock().unwrap();
        answers.key_requests += 1;
        let set = json!({"keys": answers.keys, "padding": "a".repeat(answers.padding)});
        (if answers.is_up { Ok(Json(set)) } else { Err(UNAVAILABLE) }, answers.delay)
    };
    tokio::time::sleep(delay).await;
    answer
}

async fn tokens(
    State(answers): State<Shared>,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Json<Value>, StatusCode> {
    let mut answers = answers.lock().unwrap();
    answers.token_form = form;
    if !answers.is_up {
        return Err(UNAVAILABLE);
    }
    if answers.token_form["code"] != "a code" {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(Json(json!({"id_token": answers.id_token, "token_type": "Bearer", "access_token": "unused"})))
}

impl Node {
    /// Signs in with a token or a sign-in code.
    pub async fn sign_in_with_token(&self, token: &str) -> Answer {
        self.call(None, SIGN_IN, json!({"input": {"token": token}})).await
    }

    /// Signs in with a token, which must be accepted.
    pub async fn user_by_token(&self, token: &str) -> User {
        User::from_payload(self, &self.sign_in_with_token(token).await.data()["signInWithToken"])
    }
}

impl User {
    pub async fn link_identity(&self, token: &str) -> Answer {
        let query = "mutation ($token: String!) { linkIdentity(input: {token: $token}) { viewer {
            identities { id issuer issuerName createdAt lastUsedAt } user { isGuest }
        } } }";
        self.call(query, json!({"token": token})).await
    }

    pub async fn unlink_identity(&self, id: &Value) -> Answer {
        let query = "mutation ($id: ID!) { unlinkIdentity(input: {identityId: $id}) { viewer { identities { id } } } }";
        self.call(query, json!({"id": id})).await
    }

    pub async fn confirm_by_token(&self, token: &str) -> Answer {
        let query = "mutation ($token: String!) { confirmIdentity(input: {token: $token}) { confirmedUntil } }";
        self.call(query, json!({"token": token})).await
    }
}
