//! Access tokens of Google for a service account, by a signed JWT (RFC 7523).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::files::{self, OpenError};
use super::token::{CachedToken, Token};
use crate::clock::Clock;
use crate::config::server_url;
use crate::outbound::{beginning, with_causes};

const FILE: &str = "FCM_SERVICE_ACCOUNT_FILE";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Lifetime of a JWT in seconds, the maximum that Google allows.
const ASSERTION_LIFETIME: i64 = 3600;
/// Time before the end of an access token after which another one is fetched.
const RENEWAL: Duration = Duration::from_mins(5);
/// Maximum time to fetch an access token. It is shorter than SEND_TIMEOUT, so that a push that waits for the token can
/// still be sent.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Minimum time between two fetches. Pushes that need a token in the meantime are sent later.
const FETCH_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of bytes of an answer with an access token. Answers had about 1,100 in 2026.
const MAX_ANSWER: usize = 65_536;

/// What the server uses of the file of a service account.
#[derive(Deserialize)]
struct AccountFile {
    project_id: String,
    private_key_id: Option<String>,
    private_key: String,
    client_email: String,
    token_uri: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    /// Lifetime in seconds.
    expires_in: u64,
}

/// A service account of Google.
pub(super) struct Account {
    /// Id of the Firebase project.
    pub(super) project: String,
    email: String,
    /// URL that gives access tokens, as in the file and parsed.
    audience: String,
    token_url: Url,
    header: Header,
    key: EncodingKey,
}

/// Fetches access tokens, and caches the current one.
pub(super) struct AccessTokens {
    account: Account,
    client: Client,
    clock: Clock,
    token: CachedToken,
    /// Earliest time of the next fetch. Locked during a fetch, so that all pushes that need a token wait for the same
    /// one.
    next_fetch: Mutex<Option<Instant>>,
}

impl Account {
    pub(super) fn read(path: &Path) -> Result<Self, OpenError> {
        let malformed = |reason: &str| files::malformed(FILE, path, reason);
        let text = files::read(FILE, path)?;
        let file: AccountFile = serde_json::from_slice(&text)
            .map_err(|_| malformed("is not the JSON file of a service account, as Firebase gives it"))?;
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-:.".contains(&byte);
        if file.project_id.is_empty() || !file.project_id.bytes().all(is_part) {
            return Err(malformed("has no valid project_id"));
        }
        let mut header = Header::new(Algorithm::RS256);
        header.kid = file.private_key_id;
        let account = Self {
            project: file.project_id,
            email: file.client_email,
            token_url: server_url(&file.token_uri).ok_or_else(|| malformed("has no token_uri with https://"))?,
            audience: file.token_uri,
            header,
            key: EncodingKey::from_rsa_pem(file.private_key.as_bytes())
                .map_err(|_| malformed("has no RSA key in private_key"))?,
        };
        // A signature shows whether the key can be used.
        account.assertion(DateTime::UNIX_EPOCH).map_err(|_| malformed("has a private_key that cannot sign"))?;
        Ok(account)
    }

    /// Returns a signed JWT that asks for an access token.
    fn assertion(&self, now: DateTime<Utc>) -> jsonwebtoken::errors::Result<String> {
        let iat = now.timestamp();
        let claims = Claims { iss: &self.email, scope: SCOPE, aud: &self.audience, iat, exp: iat + ASSERTION_LIFETIME };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
    }
}

impl AccessTokens {
    pub(super) fn new(account: Account, client: Client, clock: Clock) -> Self {
        Self { account, client, clock, token: CachedToken::default(), next_fetch: Mutex::default() }
    }

    /// Returns the current access token. Fetches one if there is none. Returns None if that fails.
    pub(super) async fn current(&self) -> Option<Arc<str>> {
        if let Some(token) = self.token.get(self.clock.now()) {
            return Some(token);
        }
        let mut next_fetch = self.next_fetch.lock().await;
        if let Some(token) = self.token.get(self.clock.now()) {
            return Some(token);
        }
        if next_fetch.is_some_and(|earliest| Instant::now() < earliest) {
            return None;
        }
        let fetched = timeout(FETCH_TIMEOUT, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {FETCH_TIMEOUT:?}")));
        *next_fetch = Some(Instant::now() + FETCH_INTERVAL);
        match fetched {
            Ok(token) => {
                let text = Arc::clone(&token.text);
                self.token.set(token);
                Some(text)
            }
            Err(reason) => {
                warn!(reason, "an access token for FCM could not be fetched");
                None
            }
        }
    }

    /// Drops a token that FCM refuses, so that the next push fetches another one.
    pub(super) fn drop_refused(&self, refused: &Arc<str>) {
        self.token.drop_refused(refused);
    }

    async fn fetch(&self) -> Result<Token, String> {
        let now = self.clock.now();
        let assertion = self.account.assertion(now).map_err(|error| error.to_string())?;
        let form = [("grant_type", GRANT), ("assertion", assertion.as_str())];
        let answer = self.client.post(self.account.token_url.clone()).form(&form).send().await.map_err(with_causes)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("the answer is {status}"));
        }
        let body = beginning(answer, MAX_ANSWER).await;
        let Answer { access_token, expires_in } =
            serde_json::from_slice(&body).map_err(|_| "the answer is not the expected JSON".to_owned())?;
        if access_token.is_empty() || !access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the answer has no access token".to_owned());
        }
        let lifetime = Duration::from_secs(expires_in.min(ASSERTION_LIFETIME.unsigned_abs()));
        // A token with a short lifetime is used for half of it.
        let usable = lifetime.saturating_sub(RENEWAL).max(lifetime / 2);
        Ok(Token { text: access_token.into(), renew_at: now + usable })
    }
}
