//! Refresh tokens: how a token is made, and how its successor is derived.
//!
//! Two tabs of a browser, or a client that lost a response, might send the same token twice. For a few seconds the
//! second request gets the same pair of tokens as the first request. The server does not store that pair. It derives
//! the new refresh token from the spent token, of which it stores only the hash, and from a random salt in the same
//! row. Every node can derive the new token without a shared secret, but a person who can only read the database
//! cannot. The access token is signed with the time of the first use, so that all nodes with the same key produce the
//! same bytes.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use sha2::{Digest as _, Sha256};

/// Time after its first use in which a refresh token can be used again. This time covers parallel requests of two tabs,
/// and retries. The repeated use gives a thief no advantage, because the thief could also have been the first to use
/// the token.
pub const REPEATABLE_FOR: TimeDelta = TimeDelta::seconds(10);

/// Prefix of each token, by which secret scanners recognise the token.
const PREFIX: &str = "parlance_rt_";
/// Size of a secret and of a salt in bytes. A SHA-256 hash has the same size.
pub(super) const SECRET_BYTES: usize = 32;
/// Precedes the salt in the input of the HMAC, so that another use of the same key gives other bytes.
const PURPOSE: &[u8] = b"parlance refresh token";

/// Formats a secret as a token.
pub(super) fn token(secret: [u8; SECRET_BYTES]) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))
}

/// Returns the stored form of a token, its SHA-256. A token has 256 random bits, so a hash without salt is enough.
pub(super) fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}

/// Derives the successor of a spent token: the HMAC-SHA256 (RFC 2104) of the salt, with the spent token as the key.
pub(super) fn successor(spent: &str, salt: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, spent.as_bytes()));
    context.update(PURPOSE);
    context.update(salt);
    let mut secret = [0; SECRET_BYTES];
    secret.copy_from_slice(context.sign().as_ref());
    token(secret)
}

#[cfg(test)]
mod tests {
    use super::{successor, token};

    #[test]
    fn a_successor_depends_on_the_token_and_on_the_salt() {
        let spent = token([1; 32]);
        let next = successor(&spent, &[2; 32]);
        assert_eq!(next, successor(&spent, &[2; 32]));
        assert_eq!(next.len(), spent.len());
        for other in [successor(&spent, &[3; 32]), successor(&token([2; 32]), &[2; 32])] {
            assert_ne!(other, next);
        }
    }
}
