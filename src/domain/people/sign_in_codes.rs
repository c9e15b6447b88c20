//! Sign-in codes: what a login in the browser hands to the client. The client sends the code in place of a token, so
//! the token itself appears in no address.
//!
//! A code works only together with the verifier of its login, as the codes of OAuth do with PKCE (RFC 7636). So a code
//! that another app has read is useless, and so is the code of an attacker in the address of the client's page. An
//! address in the history of a browser is useless after a minute.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use sha2::{Digest as _, Sha256};

use super::core::PeopleCore;
use crate::domain::error::Result;
use crate::issuers::Assertion;
use crate::store::people::sign_in_codes::{self, SignInCode};

/// Prefix of each code, which distinguishes it from a token.
const PREFIX: &str = "parlance_sc_";
/// Number of random bytes of a code.
const SECRET_BYTES: usize = 32;
/// Time for which a code is valid. The page of the client uses it at once.
const LIFETIME: TimeDelta = TimeDelta::seconds(60);

/// Whether the text is a sign-in code and no token.
pub(super) fn is_code(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// Whether the text can be the challenge of a login: a SHA-256 in Base64.
pub(super) fn is_challenge(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|hash| hash.len() == 32)
}

impl PeopleCore {
    /// Stores the assertion, and returns the code that stands for it. `challenge` is the hash of the verifier that the
    /// client sends with the code.
    pub(super) async fn make_sign_in_code(&self, assertion: &Assertion, challenge: &str) -> Result<String> {
        let code = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.base.random.bytes::<SECRET_BYTES>()));
        let row = SignInCode {
            code_hash: hash(&code, challenge),
            assertion: serde_json::to_string(assertion).unwrap_or_default(),
            expires_at: self.base.now() + LIFETIME,
        };
        sign_in_codes::insert(&mut *self.base.connection().await?, &row).await?;
        Ok(code)
    }

    /// Uses up a code, and returns its assertion. `text` is the code, a dot and the verifier. Returns None if the code
    /// is unknown, used or expired, or if the verifier is wrong.
    pub(super) async fn take_sign_in_code(&self, text: &str) -> Result<Option<Assertion>> {
        let (code, verifier) = text.split_once('.').unwrap_or((text, ""));
        let hash = hash(code, &URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)));
        let mut connection = self.base.connection().await?;
        let assertion = sign_in_codes::take(&mut connection, &hash, self.base.now()).await?;
        Ok(assertion.and_then(|json| serde_json::from_str(&json).ok()))
    }
}

/// Returns the stored form of a code and the challenge of its login, their SHA-256. A code has 256 random bits, so a
/// hash without salt is enough.
fn hash(code: &str, challenge: &str) -> Vec<u8> {
    Sha256::digest(format!("{code}.{challenge}")).to_vec()
}
