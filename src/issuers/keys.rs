//! The keys of an issuer, and how a token selects one of them.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Maximum number of keys of an issuer that are read. Issuers publish fewer than ten.
const MAX_KEYS: usize = 100;

/// A key that verifies signatures.
pub(super) struct Key {
    /// Id of the key. None for a single key of the settings.
    id: Option<String>,
    /// The only algorithm of the key. None if every algorithm of its type is possible.
    algorithm: Option<Algorithm>,
    decoding: DecodingKey,
}

/// Why the claims of a token cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// No key fits the header of the token, or more than one does.
    NoKey,
    /// The signature is wrong, or the claims are no object.
    Forged,
    /// The keys are not known, because the issuer does not answer.
    Unavailable,
}

impl Key {
    /// Reads a public key in PEM.
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        let pem = pem.as_bytes();
        let decoding = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem));
        Some(Self { id: None, algorithm: None, decoding: decoding.ok()? })
    }

    /// Returns the key of a secret that the issuer and this server share.
    pub(super) fn from_secret(secret: &str) -> Self {
        Self { id: None, algorithm: None, decoding: DecodingKey::from_secret(secret.as_bytes()) }
    }

    /// Reads a key of a JWK set. Returns None if it is not a public key for signatures that the server knows.
    fn from_jwk(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        // A symmetric key that is published is no secret.
        if !for_signatures || matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
            return None;
        }
        let algorithm = jwk.common.key_algorithm.map(Algorithm::try_from).transpose().ok()?;
        Some(Self { id: jwk.common.key_id.clone(), algorithm, decoding: DecodingKey::from_jwk(&jwk).ok()? })
    }

    /// Whether the key can verify a token with this header. The type of the key limits the algorithms, so a token
    /// cannot choose to be verified by HMAC with a public key.
    fn fits(&self, header: &Header) -> bool {
        let same_id = match (&self.id, &header.kid) {
            (Some(own), Some(wanted)) => own == wanted,
            _ => true,
        };
        same_id && self.decoding.family() == header.alg.family() && self.algorithm.is_none_or(|own| own == header.alg)
    }
}

/// Reads a JWK set (RFC 7517). Leaves out keys that the server cannot use. Returns None if it is no JWK set.
pub(super) fn parse_set(set: Value) -> Option<Vec<Key>> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_value(set).ok()?;
    Some(set.keys.into_iter().take(MAX_KEYS).filter_map(Key::from_jwk).collect())
}

/// Returns the claims of the token if one key fits its header and has signed it.
pub(super) fn read(token: &str, header: &Header, keys: &[Key]) -> Result<Map<String, Value>, Unread> {
    let mut fitting = keys.iter().filter(|key| key.fits(header));
    let (Some(key), None) = (fitting.next(), fitting.next()) else { return Err(Unread::NoKey) };
    let mut validation = Validation::new(header.alg);
    // `claims` checks these by the clock of the node and the settings of the issuer.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let data = decode::<Map<String, Value>>(token, &key.decoding, &validation).map_err(|_| Unread::Forged)?;
    Ok(data.claims)
}
