//! Logins in the browser: the authorization code flow with PKCE (OpenID Connect Core 1.0, section 3.1, and RFC 7636).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::AUTHORIZATION;
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::answers::{json, published};
use super::claims::Expected;
use super::provider::Metadata;
use super::settings::Client;
use super::{Assertion, Issuer, Refusal, Result};
use crate::outbound::with_causes;
use crate::random::Random;

/// Characters that are encoded in a form. Some issuers do not decode the parts of the header Authorization, so no more
/// characters are encoded than necessary.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');
const NO_LOGIN: Refusal = Refusal::Invalid("This issuer has no login in the browser.");
const ANOTHER_ISSUER: Refusal = Refusal::Invalid("Another issuer has answered. Start the login again.");
const REFUSED: Refusal = Refusal::Invalid("The issuer refused the code of the login. Start the login again.");

/// The secrets of one login. The browser keeps them between its two requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Connects the answer of the issuer to the browser that started the login.
    pub state: String,
    /// Connects the ID token to the login.
    nonce: String,
    /// The secret of PKCE, which connects the code of the issuer to the login.
    verifier: String,
}

/// The answer of the token endpoint. The other tokens are not used.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl Attempt {
    pub fn new(random: &Random) -> Self {
        let secret = || URL_SAFE_NO_PAD.encode(random.bytes::<32>());
        Self { state: secret(), nonce: secret(), verifier: secret() }
    }

    /// Returns the challenge of PKCE by the method S256.
    fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(&self.verifier))
    }
}

impl Issuer {
    /// Returns the address at the issuer at which the user signs in. The issuer returns to `redirect_uri`. With
    /// `reauthenticate`, a user who is signed in there has to sign in again. The address has an empty fragment. Without
    /// one, a browser would add the fragment of the address from which it comes, and the issuer could read a sign-in
    /// code in it.
    pub async fn authorization_url(&self, attempt: &Attempt, redirect_uri: &str, reauthenticate: bool) -> Result<Url> {
        let client = self.settings.client.as_ref().ok_or(NO_LOGIN)?;
        let known = self.provider.snapshot().await.ok_or(Refusal::Unavailable)?;
        let endpoint = known.metadata.authorization_endpoint.as_deref();
        let mut url = endpoint.and_then(|text| published(text, self.url())).ok_or(NO_LOGIN)?;
        url.set_fragment(Some(""));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", &self.settings.scopes.join(" "))
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &attempt.challenge())
            .append_pair("code_challenge_method", "S256");
        if reauthenticate {
            // With `max_age` the ID token has the claim `auth_time`.
            url.query_pairs_mut().append_pair("prompt", "login").append_pair("max_age", "0");
        }
        Ok(url)
    }

    /// Exchanges the code of the issuer for an ID token, and verifies the token. `named` is the issuer that the answer
    /// names. An issuer that names itself in each answer must do so in this one (RFC 9207, section 2.4).
    pub async fn exchange(
        &self,
        code: &str,
        named: Option<&str>,
        attempt: &Attempt,
        redirect_uri: &str,
        now: DateTime<Utc>,
    ) -> Result<Assertion> {
        let client = self.settings.client.as_ref().ok_or(NO_LOGIN)?;
        let known = self.provider.snapshot().await.ok_or(Refusal::Unavailable)?;
        if named.map_or(known.metadata.authorization_response_iss_parameter_supported, |url| url != self.url()) {
            return Err(ANOTHER_ISSUER);
        }
        let _permit = self.exchanges.try_acquire().map_err(|_| Refusal::Unavailable)?;
        let token = self.request_token(&known.metadata, client, code, attempt, redirect_uri).await?;
        let expected =
            Expected { audiences: std::slice::from_ref(&client.id), nonce: Some(attempt.nonce.as_str()), now };
        self.verify(&token, &expected).await
    }

    async fn request_token(
        &self,
        metadata: &Metadata,
        client: &Client,
        code: &str,
        attempt: &Attempt,
        redirect_uri: &str,
    ) -> Result<String> {
        let endpoint = metadata.token_endpoint.as_deref();
        let url = endpoint.and_then(|text| published(text, self.url())).ok_or(NO_LOGIN)?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", attempt.verifier.as_str()),
        ];
        let mut request = self.http.post(url);
        match &client.secret {
            Some(secret) if allows_basic(metadata) => {
                request = request.header(AUTHORIZATION, basic(&client.id, secret));
            }
            Some(secret) => form.extend([("client_id", client.id.as_str()), ("client_secret", secret.as_str())]),
            None => form.push(("client_id", client.id.as_str())),
        }
        let answer = match request.form(&form).send().await {
            Ok(answer) if answer.status() == StatusCode::BAD_REQUEST => return Err(REFUSED),
            Ok(answer) => json::<Tokens>(answer).await,
            Err(error) => Err(with_causes(error)),
        };
        answer.map(|tokens| tokens.id_token).map_err(|reason| {
            warn!(issuer = self.name(), reason, "an issuer gave no token for a login");
            Refusal::Unavailable
        })
    }
}

/// Whether the client can send its secret in the header Authorization, which is the default.
fn allows_basic(metadata: &Metadata) -> bool {
    let methods = metadata.token_endpoint_auth_methods_supported.as_ref();
    methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"))
}

/// Returns the header Authorization of a client. RFC 6749, section 2.3.1, requires that both parts are encoded.
fn basic(id: &str, secret: &str) -> String {
    let [id, secret] = [id, secret].map(|part| utf8_percent_encode(part, FORM).to_string());
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_the_hash_of_the_verifier() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        let attempt = Attempt { state: String::new(), nonce: String::new(), verifier };
        assert_eq!(attempt.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn each_login_has_other_secrets() {
        let random = Random::system();
        let (one, other) = (Attempt::new(&random), Attempt::new(&random));
        assert_ne!(one.state, other.state);
        assert_ne!(one.nonce, other.nonce);
        assert_ne!(one.verifier, other.verifier);
        assert!(one.verifier != one.nonce && one.verifier.len() >= 43, "{one:?}");
    }

    #[test]
    fn the_parts_of_the_header_are_encoded() {
        assert_eq!(basic("a:b", "c d-e"), format!("Basic {}", STANDARD.encode("a%3Ab:c%20d-e")));
    }
}
