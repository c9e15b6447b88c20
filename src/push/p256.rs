//! Private keys of the curve P-256, which Web Push uses to encrypt (RFC 8291) and to sign (RFC 8292).

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};

use crate::random::Random;

/// Number of bytes of a private key: a scalar.
pub(super) const SCALAR: usize = 32;
/// Number of bytes of a public key: an uncompressed point (SEC 1, section 2.3.3).
pub(super) const POINT: usize = 65;

/// Creates a private key. One of about 2^32 random numbers is too large for a private key and is replaced.
pub(super) fn generate(random: &Random) -> PrivateKey {
    loop {
        if let Ok(key) = PrivateKey::from_private_key(&ECDH_P256, &random.bytes::<SCALAR>()) {
            return key;
        }
    }
}
