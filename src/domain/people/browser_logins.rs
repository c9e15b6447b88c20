//! Logins in the browser. The server sends the browser to the issuer, and the issuer sends it back with a code. The
//! server exchanges the code for a token, verifies the token, and sends the browser to the client with a sign-in code,
//! which works only with a secret of the client.
//!
//! Between the two requests the browser keeps the secrets of the login in a cookie that the server has signed. So any
//! node can finish the login, and the server stores nothing about an unfinished login.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::core::PeopleCore;
use super::identities::refused;
use super::sign_in_codes::is_challenge;
use super::tries::Subject;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::issuers::{Attempt, Issuer};
use crate::log::Change;
use crate::store::people::sessions;

/// Time in which the user must sign in at the issuer.
pub const LOGIN_LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// Maximum size in bytes of the client's address, which the cookie contains. A cookie has at most 4096 bytes.
const MAX_REDIRECT: usize = 1024;
/// Maximum length of an error code of an issuer.
const MAX_ERROR_CODE: usize = 64;
/// Beginning of the input of the HMAC. It separates this use of the key from all others.
const PURPOSE: &[u8] = b"parlance login in the browser\0";
const NO_ISSUER: Error = Error::NotFound("The server has no such issuer with a login in the browser.");

pub struct BrowserLogins<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// A started login: the address to which the browser goes, and the value of the cookie that it keeps.
#[derive(Debug)]
pub struct Started {
    pub location: Url,
    pub cookie: String,
}

/// The query with which the issuer has sent the browser back to this server.
#[derive(Debug, Default)]
pub struct Answer {
    pub state: Option<String>,
    pub code: Option<String>,
    pub error: Option<String>,
    /// The issuer that answers (RFC 9207).
    pub issuer: Option<String>,
}

/// A finished login: the address of the client, and either a sign-in code or the error.
#[derive(Debug)]
pub struct Finished {
    pub redirect: Url,
    pub result: Result<String, Failure>,
}

/// Why a login failed.
#[derive(Debug)]
pub enum Failure {
    /// The issuer has refused the login, with this code.
    AtIssuer(String),
    Here(Error),
}

/// A login that is not finished. The content of the cookie.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    /// Name of the issuer.
    issuer: String,
    attempt: Attempt,
    /// Address of the client.
    redirect: String,
    /// Hash of the secret with which the client uses the sign-in code.
    challenge: String,
    expires_at: DateTime<Utc>,
}

impl BrowserLogins<'_> {
    /// Returns the names of the issuers, each with the address at which a login begins. The address is None if the
    /// issuer has no login in the browser. Without PUBLIC_URL it is a path.
    pub fn issuers(&self) -> Vec<(String, Option<String>)> {
        let origin = self.core.issuer_settings.origin(None).unwrap_or_default();
        let all = self.core.issuers.all().iter();
        let address = |issuer: &Issuer| issuer.has_login().then(|| format!("{origin}/auth/{}", issuer.name()));
        all.map(|issuer| (issuer.name().to_owned(), address(issuer))).collect()
    }

    /// Returns the name of the issuer with this URL. None if the server no longer accepts it.
    pub fn name_of(&self, url: &str) -> Option<&str> {
        self.core.issuers.by_url(url).map(Issuer::name)
    }

    /// Begins a login that returns to `redirect`. `challenge` is the hash of the secret with which the client uses the
    /// sign-in code. `host` is the host of the request. With `reauthenticate`, a user who is signed in at the issuer
    /// has to sign in again.
    pub async fn start(
        &self,
        name: &str,
        redirect: &str,
        challenge: &str,
        reauthenticate: bool,
        host: Option<&str>,
    ) -> Result<Started> {
        let (issuer, origin) = (self.issuer(name)?, self.origin(host)?);
        let allowed = |url: &Url| self.core.issuer_settings.allows_redirect(url, &origin);
        let redirect = Url::parse(redirect).ok().filter(|url| url.as_str().len() <= MAX_REDIRECT && allowed(url));
        let redirect = redirect.ok_or_else(|| {
            Error::invalid("redirect", "The login cannot return to this address. AUTH_REDIRECTS must allow it.")
        })?;
        if !is_challenge(challenge) {
            return Err(Error::invalid("challenge", "The challenge of a login is a SHA-256 in Base64 for URLs."));
        }
        let attempt = Attempt::new(&self.core.base.random);
        let url = issuer.authorization_url(&attempt, &callback(&origin, name), reauthenticate).await;
        let location = url.map_err(refused)?;
        let expires_at = self.core.base.now() + LOGIN_LIFETIME;
        let (issuer, challenge) = (name.to_owned(), challenge.to_owned());
        let pending = Pending { issuer, attempt, redirect: redirect.into(), challenge, expires_at };
        Ok(Started { location, cookie: self.seal(&pending) })
    }

    /// Finishes a login. Returns BAD_USER_INPUT if this browser has not started it: the address of the client is only
    /// in the cookie.
    pub async fn finish(
        &self,
        name: &str,
        cookie: Option<&str>,
        answer: Answer,
        host: Option<&str>,
        client: &Client,
    ) -> Result<Finished> {
        let (issuer, origin) = (self.issuer(name)?, self.origin(host)?);
        let pending = cookie.and_then(|cookie| self.open(cookie));
        let is_own = |pending: &Pending| {
            let is_live = self.core.base.now() < pending.expires_at;
            is_live && pending.issuer == name && answer.state.as_ref() == Some(&pending.attempt.state)
        };
        let pending = pending.filter(is_own).ok_or_else(not_started)?;
        let redirect = Url::parse(&pending.redirect).map_err(|_| not_started())?;
        let result = match answer {
            Answer { error: Some(error), .. } => Err(Failure::AtIssuer(error_code(&error))),
            Answer { code: Some(code), issuer: named, .. } => {
                let callback = callback(&origin, name);
                let code = self.exchange(issuer, &code, named.as_deref(), &pending, &callback, client).await;
                code.map_err(Failure::Here)
            }
            Answer { .. } => Err(Failure::Here(Error::invalid("code", "The issuer has sent no code."))),
        };
        Ok(Finished { redirect, result })
    }

    /// Ends the sessions that a logout token of the issuer names.
    pub async fn log_out(&self, name: &str, token: &str) -> Result<()> {
        let issuer = self.core.issuers.by_name(name).ok_or(NO_ISSUER)?;
        let now = self.core.base.now();
        let logout = issuer.verify_logout(token, now).await.map_err(refused)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let which = (logout.subject.as_deref(), logout.session.as_deref());
            let ended = sessions::revoke_of_issuer(tx.conn(), issuer.url(), which, logout.opened_until, now).await?;
            for (session, user) in ended {
                tx.record(Change::SessionRevoked { user, session });
            }
            Ok(())
        })
        .await
    }

    /// Exchanges the issuer's code for a sign-in code. `named` is the issuer that the answer names. Each attempt counts
    /// for the network until it has succeeded, because it causes a request to the issuer.
    async fn exchange(
        &self,
        issuer: &Issuer,
        code: &str,
        named: Option<&str>,
        pending: &Pending,
        callback: &str,
        client: &Client,
    ) -> Result<String> {
        let counted = self.core.count_try(Subject::Token, client.network).await?;
        let now = self.core.base.now();
        let exchanged = issuer.exchange(code, named, &pending.attempt, callback, now).await.map_err(refused);
        if !matches!(exchanged, Err(Error::Invalid(_))) {
            self.core.undo_try(&counted).await;
        }
        self.core.make_sign_in_code(&exchanged?, &pending.challenge).await
    }

    fn issuer(&self, name: &str) -> Result<&Issuer> {
        self.core.issuers.by_name(name).filter(|issuer| issuer.has_login()).ok_or(NO_ISSUER)
    }

    /// Returns the origin of this server in the browser.
    fn origin(&self, host: Option<&str>) -> Result<String> {
        self.core.issuer_settings.origin(host).ok_or(Error::Forbidden(
            "Logins in the browser work only on the machine of the server, until its operator sets PUBLIC_URL.",
        ))
    }

    /// Encodes the login, and signs it.
    fn seal(&self, pending: &Pending) -> String {
        let content = URL_SAFE_NO_PAD.encode(serde_json::to_vec(pending).unwrap_or_default());
        let tag = hmac::sign(&self.core.tokens.code_key, &signed(&content));
        format!("{content}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// Decodes a login that this node, or another one with the same key, has signed.
    fn open(&self, cookie: &str) -> Option<Pending> {
        let (content, tag) = cookie.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.core.tokens.code_key, &signed(content), &tag).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(content).ok()?).ok()
    }
}

/// Returns the address to which the issuer sends the browser back.
fn callback(origin: &str, name: &str) -> String {
    format!("{origin}/auth/{name}/callback")
}

fn not_started() -> Error {
    let message = "This browser did not start this login, or started it more than 10 minutes ago. Start it again.";
    Error::invalid("state", message)
}

fn signed(content: &str) -> Vec<u8> {
    [PURPOSE, content.as_bytes()].concat()
}

/// Returns an error code of an issuer (RFC 6749, section 4.1.2.1). Removes characters that error codes do not have.
fn error_code(error: &str) -> String {
    let code: String = error
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        .take(MAX_ERROR_CODE)
        .collect();
    if code.is_empty() { "server_error".to_owned() } else { code }
}
