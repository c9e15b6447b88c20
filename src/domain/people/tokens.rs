//! Access tokens: JWTs (RFC 7519) signed with EdDSA (RFC 8037) or HS256, and the public keys to verify them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::{Jwk, JwkSet, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::Auth;
use crate::domain::viewer::Viewer;
use crate::error::Result;
use crate::ids::{SessionId, UserId};
use crate::secret_file::load_or_create;

const ISSUER: &str = "parlance";
/// Input of the HMAC that derives the key for verification codes from the signing key.
const CODE_KEY: &[u8] = b"parlance verification codes";
const KEY_FILE: &str = "access-token-key.pem";

/// Maximum number of verified tokens that a node caches. The verification of a signature costs as much as the rest of a
/// small request.
const CACHED_TOKENS: usize = 100_000;

/// Maximum size of an access token in bytes. A longer text is not checked. Tokens of this server have about 350 bytes.
const MAX_TOKEN: usize = 4096;

/// Signs and verifies access tokens.
pub struct Tokens {
    header: Header,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    /// The public keys that the server publishes. Empty if tokens are signed with a shared secret.
    public_keys: JwkSet,
    /// Key of the hashes of verification codes. Derived from the signing key, so that all nodes that accept each
    /// other's tokens also accept each other's codes.
    pub(super) code_key: hmac::Key,
    /// Cache of verified access tokens: maps the SHA-256 of a token to its viewer.
    verified: Cache<[u8; 32], Viewer>,
    pub(super) access_ttl: Duration,
    pub(super) refresh_ttl: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// Id of the user.
    sub: String,
    /// Id of the session.
    sid: String,
    iat: i64,
    exp: i64,
}

/// The reason why the signing key cannot be loaded or created.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("JWT_PRIVATE_KEY_FILE ({0}) cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    #[error("JWT_PRIVATE_KEY_FILE ({0}) is not an Ed25519 private key in PKCS #8 PEM: {1}")]
    Malformed(PathBuf, jsonwebtoken::errors::Error),
    #[error("cannot create a key in {0}: {1}")]
    NotCreated(PathBuf, std::io::Error),
}

impl Tokens {
    /// Loads the secret or the key file of the settings. If neither is set, loads the key in `data_dir`, and creates
    /// the key on the first start.
    pub fn open(settings: &Auth, data_dir: &Path) -> Result<Self, KeyError> {
        if let Some(secret) = &settings.jwt_secret {
            let secret = secret.as_bytes();
            let keys = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
            return Ok(Self::new(settings, Algorithm::HS256, keys, None));
        }
        let path = settings.jwt_private_key_file.clone().unwrap_or_else(|| data_dir.join(KEY_FILE));
        let pem = match &settings.jwt_private_key_file {
            Some(_) => std::fs::read(&path),
            None => load_or_create(&path, create_key).map(String::into_bytes),
        };
        let pem = pem.map_err(|error| {
            if settings.jwt_private_key_file.is_some() || path.exists() {
                KeyError::Unreadable(path.clone(), error)
            } else {
                KeyError::NotCreated(data_dir.to_owned(), error)
            }
        })?;
        let malformed = |error| KeyError::Malformed(path.clone(), error);
        let signing = EncodingKey::from_ed_pem(&pem).map_err(malformed)?;
        let jwk = Jwk::from_encoding_key(&signing, Algorithm::EdDSA).map_err(malformed)?;
        let verifying = DecodingKey::from_jwk(&jwk).map_err(malformed)?;
        Ok(Self::new(settings, Algorithm::EdDSA, (signing, verifying), Some(jwk)))
    }

    fn new(
        settings: &Auth,
        algorithm: Algorithm,
        (signing, verifying): (EncodingKey, DecodingKey),
        jwk: Option<Jwk>,
    ) -> Self {
        let mut header = Header::new(algorithm);
        let mut public_keys = JwkSet { keys: Vec::new() };
        if let Some(mut jwk) = jwk {
            // The id of the key is its thumbprint (RFC 7638), so that the same key has the same id on all nodes.
            header.kid = jwk.thumbprint(ThumbprintHash::SHA256).ok();
            jwk.common.key_id.clone_from(&header.kid);
            jwk.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
            public_keys.keys.push(jwk);
        }
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[ISSUER]);
        // `verify` checks the expiry, by the clock of the node.
        validation.validate_exp = false;
        let signing_secret = hmac::Key::new(hmac::HMAC_SHA256, signing.as_bytes());
        let code_key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&signing_secret, CODE_KEY).as_ref());
        Self {
            header,
            signing,
            verifying,
            validation,
            public_keys,
            code_key,
            verified: Cache::new(CACHED_TOKENS),
            access_ttl: settings.access_token_ttl,
            refresh_ttl: settings.refresh_token_ttl,
        }
    }

    /// Returns the public keys that the server publishes, as a JWK set (RFC 7517).
    pub fn public_keys(&self) -> &JwkSet {
        &self.public_keys
    }

    pub(super) fn sign(&self, user: UserId, session: SessionId, now: DateTime<Utc>) -> Result<(String, DateTime<Utc>)> {
        // An access token does not outlive its session, which ends when its newest refresh token expires.
        let expires_at = now + self.access_ttl.min(self.refresh_ttl);
        let claims = Claims {
            iss: ISSUER.into(),
            sub: user.to_string(),
            sid: session.to_string(),
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.signing)?;
        // The time of expiry is in whole seconds, as in the claim `exp`.
        Ok((token, DateTime::from_timestamp(claims.exp, 0).unwrap_or(expires_at)))
    }

    /// Returns the viewer of a token. Returns None if the token is forged, malformed or expired.
    pub(super) fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Viewer> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let digest = Sha256::digest(token).into();
        let viewer = self.verified.get(&digest).or_else(|| {
            let viewer = self.decode(token)?;
            self.verified.insert(digest, viewer);
            Some(viewer)
        })?;
        (now < viewer.expires_at).then_some(viewer)
    }

    fn decode(&self, token: &str) -> Option<Viewer> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation).ok()?.claims;
        let expires_at = DateTime::from_timestamp(claims.exp, 0)?;
        Some(Viewer { user: claims.sub.parse().ok()?, session: claims.sid.parse().ok()?, expires_at })
    }
}

/// Creates a new private key. Returns the key as PEM.
fn create_key() -> std::io::Result<String> {
    let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(std::io::Error::other)?;
    let key = STANDARD.encode(document.as_ref());
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"))
}
