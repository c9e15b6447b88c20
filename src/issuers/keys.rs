//! The keys of an issuer, and how a token selects one of them.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header, Validation, decode};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Maximum number of keys of an issuer that are read. Issuers publish fewer than ten.
const MAX_KEYS: usize = 100;
/// Minimum length of the modulus of an RSA key in Base64: 2048 bits, by RFC 7518, section 3.3.
const MIN_RSA_MODULUS: usize = 342;

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
    /// Reads a public key in PEM. Returns None if it is no such key, or too short.
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        let pem = pem.as_bytes();
        let decoding = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem));
        Some(Self { id: None, algorithm: None, decoding: decoding.ok().filter(is_long)? })
    }

    /// Returns the key of a secret that the issuer and this server share.
    pub(super) fn from_secret(secret: &str) -> Self {
        Self { id: None, algorithm: None, decoding: DecodingKey::from_secret(secret.as_bytes()) }
    }

    /// Reads a key of a JWK set. Returns None if it is not a public key for signatures that the server knows.
    fn from_jwk(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let verifies = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !verifies {
            return None;
        }
        let stated = common.key_algorithm.map(Algorithm::try_from).transpose().ok()?;
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => stated,
            AlgorithmParameters::EllipticCurve(key) => Some(algorithm_of(&key.curve)?),
            AlgorithmParameters::OctetKeyPair(key) => Some(algorithm_of(&key.curve)?),
            // A symmetric key that is published is no secret.
            _ => return None,
        };
        let decoding = DecodingKey::from_jwk(&jwk).ok().filter(is_long)?;
        let contradicts = |stated: Algorithm| Some(stated) != algorithm || stated.family() != decoding.family();
        if stated.is_some_and(contradicts) {
            return None;
        }
        Some(Self { id: common.key_id.clone(), algorithm, decoding })
    }

    /// Whether the key can verify a signature of this algorithm.
    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        self.decoding.family() == algorithm.family() && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// Whether the key can verify a token with this header. The type of the key limits the algorithms, so a token
    /// cannot choose to be verified by HMAC with a public key.
    fn fits(&self, header: &Header) -> bool {
        let same_id = match (&self.id, &header.kid) {
            (Some(own), Some(wanted)) => own == wanted,
            _ => true,
        };
        same_id && self.allows(header.alg)
    }
}

/// Returns the only algorithm of a curve. None if the server does not know the curve.
fn algorithm_of(curve: &EllipticCurve) -> Option<Algorithm> {
    match curve {
        EllipticCurve::P256 => Some(Algorithm::ES256),
        EllipticCurve::P384 => Some(Algorithm::ES384),
        EllipticCurve::Ed25519 => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// Whether an RSA key is long enough. The curve of another key determines its length. A key that hides its length
/// behind leading zeros is refused when it verifies a signature.
fn is_long(key: &DecodingKey) -> bool {
    if key.family() != AlgorithmFamily::Rsa {
        return true;
    }
    let jwk = Jwk::from_decoding_key(key, None);
    jwk.is_ok_and(|jwk| matches!(jwk.algorithm, AlgorithmParameters::RSA(rsa) if rsa.n.len() >= MIN_RSA_MODULUS))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns the algorithms of the keys of a JWK set that the server uses.
    fn algorithms(key: &Value) -> Vec<Option<Algorithm>> {
        parse_set(json!({"keys": [key]})).unwrap().iter().map(|key| key.algorithm).collect()
    }

    fn rsa(characters: usize) -> Value {
        json!({"kty": "RSA", "kid": "1", "e": "AQAB", "n": format!("{}w", "u".repeat(characters - 1))})
    }

    fn with(mut key: Value, more: &Value) -> Value {
        for (name, value) in more.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    #[test]
    fn only_keys_that_verify_signatures_are_used() {
        let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let p384 = json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"});
        for (key, algorithm) in [
            (rsa(342), None),
            (with(rsa(683), &json!({"alg": "PS256", "use": "sig", "key_ops": ["verify"]})), Some(Algorithm::PS256)),
            (ed25519.clone(), Some(Algorithm::EdDSA)),
            (p384.clone(), Some(Algorithm::ES384)),
        ] {
            assert_eq!(algorithms(&key), [algorithm], "{key}");
        }
        for key in [
            rsa(171),
            with(rsa(342), &json!({"use": "enc"})),
            with(rsa(342), &json!({"key_ops": ["encrypt", "wrapKey"]})),
            with(rsa(342), &json!({"alg": "RSA-OAEP"})),
            with(rsa(342), &json!({"alg": "HS256"})),
            with(ed25519.clone(), &json!({"alg": "ES256"})),
            with(ed25519, &json!({"crv": "X25519"})),
            with(p384.clone(), &json!({"alg": "ES256"})),
            with(p384.clone(), &json!({"crv": "P-521"})),
            with(p384, &json!({"crv": "secp256k1"})),
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            json!({"kty": "RSA"}),
            json!("key"),
        ] {
            assert!(algorithms(&key).is_empty(), "{key}");
        }
    }

    #[test]
    fn a_set_with_many_keys_is_read_in_part() {
        let set = json!({"keys": vec![rsa(342); 10_000]});
        assert_eq!(parse_set(set).unwrap().len(), MAX_KEYS);
        for wrong in [json!({}), json!({"keys": 1}), json!([]), json!(null)] {
            assert!(parse_set(wrong).is_none());
        }
    }
}
