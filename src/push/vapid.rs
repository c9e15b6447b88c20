//! Signatures that identify this server to push services (VAPID, RFC 8292).

use std::sync::Arc;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::encoding::{AsBigEndian as _, AsDer as _, EcPrivateKeyBin, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quick_cache::sync::Cache;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;

use super::files::{self, OpenError};
use super::p256::{self, SCALAR};
use crate::config::PushSettings;
use crate::random::Random;

/// Lifetime of a token. Push services refuse tokens with more than 24 hours (RFC 8292, section 2).
const LIFETIME: TimeDelta = TimeDelta::hours(12);
/// Time before the end of a token after which another one is signed, because clocks differ.
const RENEWAL: TimeDelta = TimeDelta::hours(1);
/// Maximum number of origins whose tokens are cached. A signature costs less than a millisecond.
const CACHED_ORIGINS: usize = 1000;
const KEY_FILE: &str = "PUSH_VAPID_KEY_FILE";

/// The key that signs Web Push. All nodes use the same one, and browsers store its public part with each subscription.
#[derive(Clone)]
pub struct VapidKey {
    scalar: [u8; SCALAR],
    signing: EncodingKey,
    public: String,
}

/// The bytes are not a private key of the curve P-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a private key of the curve P-256")]
pub struct InvalidKey;

impl From<Unspecified> for InvalidKey {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

impl VapidKey {
    pub fn generate(random: &Random) -> Self {
        loop {
            if let Ok(key) = Self::new(&p256::generate(random)) {
                return key;
            }
        }
    }

    /// Reads the scalar of 32 bytes that [`Self::to_bytes`] returns.
    pub fn from_bytes(scalar: &[u8]) -> Result<Self, InvalidKey> {
        Self::new(&PrivateKey::from_private_key(&ECDH_P256, scalar).map_err(|_| InvalidKey)?)
    }

    /// Reads the file of PUSH_VAPID_KEY_FILE: a private key in PEM, by PKCS #8 or SEC 1. Returns None if it is not set.
    pub fn from_settings(settings: &PushSettings) -> Result<Option<Self>, OpenError> {
        let Some(path) = &settings.push_vapid_key_file else { return Ok(None) };
        let text = files::read(KEY_FILE, path)?;
        let key = PrivateKeyDer::from_pem_slice(&text).ok();
        let key = key.and_then(|key| PrivateKey::from_private_key_der(&ECDH_P256, key.secret_der()).ok());
        let key = key.and_then(|key| Self::new(&key).ok());
        key.map(Some).ok_or_else(|| {
            files::malformed(KEY_FILE, path, "is not a private key of the curve P-256 in PEM (PKCS #8 or SEC 1)")
        })
    }

    fn new(key: &PrivateKey) -> Result<Self, InvalidKey> {
        let scalar: EcPrivateKeyBin<'_> = key.as_be_bytes()?;
        let scalar: &[u8] = scalar.as_ref();
        let document: Pkcs8V1Der<'_> = key.as_der()?;
        let public = key.compute_public_key()?;
        Ok(Self {
            scalar: scalar.try_into().map_err(|_| InvalidKey)?,
            signing: EncodingKey::from_ec_der(document.as_ref()),
            public: URL_SAFE_NO_PAD.encode(public.as_ref()),
        })
    }

    /// Returns the private key: a scalar of 32 bytes.
    pub fn to_bytes(&self) -> [u8; SCALAR] {
        self.scalar
    }

    /// Returns the public key in Base64url, as `applicationServerKey` of a browser: an uncompressed point of 65 bytes.
    pub fn public_key(&self) -> String {
        self.public.clone()
    }
}

/// The claims of a token. RFC 8292, section 2.
#[derive(Serialize)]
struct Claims<'a> {
    /// Origin of the push service.
    aud: &'a str,
    exp: i64,
    /// Contact of the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
}

/// Signs tokens, and caches one for each origin.
pub(super) struct VapidTokens {
    key: VapidKey,
    contact: Option<String>,
    cached: Cache<String, Token>,
}

#[derive(Clone)]
struct Token {
    authorization: Arc<str>,
    renew_at: DateTime<Utc>,
}

impl VapidTokens {
    pub(super) fn new(key: VapidKey, contact: Option<String>) -> Self {
        Self { key, contact, cached: Cache::new(CACHED_ORIGINS) }
    }

    pub(super) fn public_key(&self) -> String {
        self.key.public_key()
    }

    /// Returns the header `Authorization` for a push service.
    pub(super) fn authorization(&self, origin: &str, now: DateTime<Utc>) -> jsonwebtoken::errors::Result<Arc<str>> {
        if let Some(token) = self.cached.get(origin)
            && now < token.renew_at
        {
            return Ok(token.authorization);
        }
        let expires_at = now + LIFETIME;
        let claims = Claims { aud: origin, exp: expires_at.timestamp(), sub: self.contact.as_deref() };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.key.signing)?;
        let authorization = Arc::from(format!("vapid t={token}, k={}", self.key.public));
        let token = Token { authorization: Arc::clone(&authorization), renew_at: expires_at - RENEWAL };
        self.cached.insert(origin.to_owned(), token);
        Ok(authorization)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::{Args as _, Command, FromArgMatches as _};
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::{Value, json};

    use super::*;

    const ORIGIN: &str = "https://push.example.net";
    const CONTACT: &str = "mailto:push@example.com";

    fn at(timestamp: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(timestamp, 0).unwrap()
    }

    /// Returns the claims of the header `Authorization`, if the key in it has signed them.
    fn verified(authorization: &str) -> Value {
        let (token, key) = authorization.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        let key = DecodingKey::from_ec_der(&URL_SAFE_NO_PAD.decode(key).unwrap());
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[ORIGIN]);
        validation.validate_exp = false;
        jsonwebtoken::decode(token, &key, &validation).unwrap().claims
    }

    /// RFC 8292, section 2.4. A signature of ES256 differs each time, so the header and the claims are compared.
    #[test]
    fn a_token_is_that_of_the_specification() {
        let example = concat!(
            "vapid t=eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAi",
            "OjE0NTM1MjM3NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCG",
            "SK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA, k=BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxH",
            "F6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs",
        );
        let claims = json!({"aud": ORIGIN, "exp": 1_453_523_768, "sub": CONTACT});
        assert_eq!(verified(example), claims);
        let tokens = VapidTokens::new(VapidKey::generate(&Random::system()), Some(CONTACT.into()));
        let own = tokens.authorization(ORIGIN, at(1_453_523_768) - LIFETIME).unwrap();
        assert_eq!(verified(&own), claims);
        let without_signature = |text: &str| text.rsplit_once('.').map(|(start, _)| start.to_owned());
        assert_eq!(without_signature(&own), without_signature(example));
    }

    #[test]
    fn a_token_is_renewed_before_its_end() {
        let tokens = VapidTokens::new(VapidKey::generate(&Random::system()), None);
        let first = tokens.authorization(ORIGIN, at(0)).unwrap();
        assert!(verified(&first).get("sub").is_none());
        let eleven_hours = (LIFETIME - RENEWAL).num_seconds();
        assert_eq!(tokens.authorization(ORIGIN, at(eleven_hours - 1)).unwrap(), first);
        let second = tokens.authorization(ORIGIN, at(eleven_hours)).unwrap();
        assert_eq!(verified(&second)["exp"], json!(eleven_hours + LIFETIME.num_seconds()));
        let other = tokens.authorization("https://other.example.net", at(0)).unwrap();
        assert_ne!(other, first);
    }

    #[test]
    fn a_key_is_the_same_after_it_was_stored() {
        let key = VapidKey::generate(&Random::system());
        let stored = VapidKey::from_bytes(&key.to_bytes()).unwrap();
        assert_eq!(stored.public_key(), key.public_key());
        assert_eq!(URL_SAFE_NO_PAD.decode(key.public_key()).unwrap().len(), 65);
        for wrong in [&[][..], &[0; SCALAR], &[255; SCALAR], &[1; SCALAR - 1], &[1; SCALAR + 1]] {
            assert_eq!(VapidKey::from_bytes(wrong).err(), Some(InvalidKey), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_file_has_pkcs8_or_sec1() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let read = |path: &PathBuf| {
            let flags = ["parlance", "--push-vapid-key-file", path.to_str().unwrap()];
            let matches = PushSettings::augment_args(Command::new("parlance")).try_get_matches_from(flags).unwrap();
            VapidKey::from_settings(&PushSettings::from_arg_matches(&matches).unwrap())
        };
        // `openssl ecparam -name prime256v1 -genkey` writes SEC 1, and `openssl genpkey` writes PKCS #8.
        let sec1 = concat!(
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
            "-----BEGIN EC PRIVATE KEY-----\n",
            "MHcCAQEEIMn1j4mBPp+Ohy5x9CqmThdXySVNzGK3LdwBC7QEPqEcoAoGCCqGSM49\n",
            "AwEHoUQDQgAE/jP0qw3qcZFNtVgj9ztUlI9BMG2SBzLbuaWaUyhkgiAOWXp7e8Jg\n",
            "uhwieZhYCZLpOXMALzASooro8Gu7eOXsDw==\n",
            "-----END EC PRIVATE KEY-----\n",
        );
        let pkcs8 = concat!(
            "-----BEGIN PRIVATE KEY-----\n",
            "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyfWPiYE+n46HLnH0\n",
            "KqZOF1fJJU3MYrct3AELtAQ+oRyhRANCAAT+M/SrDepxkU21WCP3O1SUj0EwbZIH\n",
            "Mtu5pZpTKGSCIA5Zent7wmC6HCJ5mFgJkuk5cwAvMBKiiujwa7t45ewP\n",
            "-----END PRIVATE KEY-----\n",
        );
        let keys = [sec1, pkcs8].map(|text| {
            std::fs::write(&path, text).unwrap();
            read(&path).unwrap().unwrap().public_key()
        });
        assert_eq!(
            keys,
            ["BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"; 2]
        );
        std::fs::write(&path, "no key").unwrap();
        let error = read(&path).err().unwrap().to_string();
        assert!(error.starts_with("PUSH_VAPID_KEY_FILE (") && error.contains("P-256"), "{error}");
        let error = read(&directory.path().join("missing")).err().unwrap().to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }
}
