//! Issuers: OpenID Connect providers and other services whose users may sign in. This part verifies their tokens, and
//! does the steps of a login in the browser that concern the issuer. The operator lists the issuers in a file.
//!
//! docs/issuers.md describes the settings. docs/decisions/0023 says why no library for OpenID Connect is used.

mod answers;
mod claims;
mod keys;
mod login;
mod provider;
mod settings;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Header, decode_header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::config::{ISSUER_EXCHANGES, ISSUER_TIMEOUT, MAX_ISSUER_TOKEN};
use crate::outbound::client_builder;
use claims::Expected;
pub use claims::Logout;
use keys::Unread;
pub use login::Attempt;
use provider::Provider;
pub use settings::FileError;
use settings::{KeySource, Settings};

/// The issuers of a server. Cheap to clone.
#[derive(Clone)]
pub struct Issuers(Arc<[Issuer]>);

/// A service whose users may sign in.
pub struct Issuer {
    settings: Settings,
    provider: Arc<Provider>,
    http: reqwest::Client,
    /// Permits for logins in browsers that wait for the issuer.
    exchanges: Semaphore,
}

/// Content of a verified token: what the issuer says about a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// The claim `iss`: the URL of the issuer.
    pub issuer: String,
    /// The claim `sub`: the user at the issuer.
    pub subject: String,
    /// The claim `sid`: the session at the issuer.
    pub session: Option<String>,
    /// When the user signed in at the issuer: the claim `auth_time`, or `iat` if the token does not have it.
    pub authenticated_at: DateTime<Utc>,
    /// Username at the issuer, which can have any form.
    pub username: Option<String>,
    pub name: Option<String>,
    /// E-mail address, if the issuer says that it has verified it.
    pub verified_email: Option<String>,
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token or the answer of the issuer is invalid. The text says why.
    Invalid(&'static str),
    /// The issuer does not answer, and the server does not know its keys or addresses yet.
    Unavailable,
}

pub type Result<T, E = Refusal> = std::result::Result<T, E>;

const MALFORMED: Refusal = Refusal::Invalid("This is not a signed token of an issuer.");
const TOO_LARGE: Refusal = Refusal::Invalid("The token is too large.");
const UNKNOWN_ISSUER: Refusal = Refusal::Invalid("The server does not accept tokens of this issuer.");

impl Issuers {
    /// Checks the file with the issuers.
    pub fn check(file: Option<&Path>) -> Result<(), FileError> {
        file.map_or(Ok(()), |file| settings::read(file).map(drop))
    }

    /// Reads the file with the issuers. Connects to no issuer, so that an issuer may start later.
    pub fn open(file: Option<&Path>, refetch_interval: Duration) -> Result<Self, FileError> {
        let all = file.map(settings::read).transpose()?.unwrap_or_default();
        let http = client_builder(ISSUER_TIMEOUT).build().map_err(|error| FileError::Client(error.to_string()))?;
        Ok(Self(all.into_iter().map(|settings| Issuer::new(settings, http.clone(), refetch_interval)).collect()))
    }

    /// Returns all issuers in the order of the file.
    pub fn all(&self) -> &[Issuer] {
        &self.0
    }

    pub fn by_name(&self, name: &str) -> Option<&Issuer> {
        self.0.iter().find(|issuer| issuer.settings.name == name)
    }

    /// Returns the issuer with this URL.
    pub fn by_url(&self, url: &str) -> Option<&Issuer> {
        self.0.iter().find(|issuer| issuer.settings.issuer == url)
    }

    /// Verifies a token. Its claim `iss`, which is unverified at first, only selects the issuer whose keys are tried.
    pub async fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Assertion> {
        #[derive(Deserialize)]
        struct Origin {
            iss: String,
        }
        if token.len() > MAX_ISSUER_TOKEN {
            return Err(TOO_LARGE);
        }
        let Origin { iss } = insecure_decode_claims(token).map_err(|_| MALFORMED)?;
        let issuer = self.by_url(&iss).ok_or(UNKNOWN_ISSUER)?;
        issuer.verify(token, &Expected { audiences: &issuer.settings.audiences, nonce: None, now }).await
    }
}

impl Issuer {
    fn new(settings: Settings, http: reqwest::Client, refetch_interval: Duration) -> Self {
        let wants_keys = matches!(settings.keys, KeySource::Discovery);
        let provider = Provider::new(settings.issuer.clone(), wants_keys, http.clone(), refetch_interval);
        Self { settings, provider: Arc::new(provider), http, exchanges: Semaphore::new(ISSUER_EXCHANGES) }
    }

    /// Returns the name of the issuer in the settings, which is a part of paths.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    pub fn url(&self) -> &str {
        &self.settings.issuer
    }

    /// Whether users can sign in at the issuer in the browser.
    pub fn has_login(&self) -> bool {
        self.settings.client.is_some()
    }

    /// Whether a token signs in to an account that has verified the same e-mail address.
    pub fn links_by_verified_email(&self) -> bool {
        self.settings.link_by_verified_email
    }

    /// Whether the first sign-in makes an account.
    pub fn allows_registration(&self) -> bool {
        self.settings.allow_registration
    }

    /// Verifies a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.6).
    pub async fn verify_logout(&self, token: &str, now: DateTime<Utc>) -> Result<Logout> {
        let claims = self.claims(token).await?;
        claims::logout(&self.settings, &claims, &self.settings.audiences, now).map_err(Refusal::Invalid)
    }

    async fn verify(&self, token: &str, expected: &Expected<'_>) -> Result<Assertion> {
        let claims = self.claims(token).await?;
        claims::assertion(&self.settings, &claims, expected).map_err(Refusal::Invalid)
    }

    /// Returns the claims of a token with a right signature. The other claims are not checked yet.
    async fn claims(&self, token: &str) -> Result<Map<String, Value>> {
        if token.len() > MAX_ISSUER_TOKEN {
            return Err(TOO_LARGE);
        }
        // A token with the algorithm `none` has no such header.
        let header = decode_header(token).map_err(|_| MALFORMED)?;
        if !self.settings.algorithms.contains(&header.alg) {
            return Err(Refusal::Invalid("The token is signed with an algorithm that is not allowed."));
        }
        if header.crit.is_some() {
            return Err(Refusal::Invalid("The token has critical extensions, which the server does not know."));
        }
        let claims = match &self.settings.keys {
            KeySource::Fixed(keys) => keys::read(token, &header, keys),
            KeySource::Discovery => self.claims_by_discovery(token, &header).await,
        };
        claims.map_err(Refusal::from)
    }

    /// Reads the token with the published keys. If no key fits, fetches the keys again, because the issuer may have new
    /// ones.
    async fn claims_by_discovery(
        &self,
        token: &str,
        header: &Header,
    ) -> std::result::Result<Map<String, Value>, Unread> {
        let known = self.provider.snapshot().await.ok_or(Unread::Unavailable)?;
        match keys::read(token, header, &known.keys) {
            Err(Unread::NoKey) => {
                let renewed = self.provider.refetch(Some(&known)).await.ok_or(Unread::Unavailable)?;
                keys::read(token, header, &renewed.keys)
            }
            result => result,
        }
    }
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::NoKey => Self::Invalid("The issuer has no single key that fits the token."),
            Unread::Forged => Self::Invalid("The signature of the token is wrong."),
            Unread::Unavailable => Self::Unavailable,
        }
    }
}
