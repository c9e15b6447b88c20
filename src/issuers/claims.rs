//! The checks of the claims of tokens whose signature is right.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::Assertion;
use super::settings::Settings;

/// Maximum length of the claim `sub` in bytes, by OpenID Connect Core 1.0, section 2.
const MAX_SUBJECT: usize = 255;
/// Maximum length of the claim `sid` in bytes. Issuers use UUIDs or hashes.
const MAX_SESSION: usize = 255;
/// The claim of a logout token that says what it is.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

type Claims = Map<String, Value>;
/// The error says why a token is refused.
type Result<T> = std::result::Result<T, &'static str>;

/// Values that the claims of a token must have.
pub(super) struct Expected<'a> {
    /// The token must be for one of these audiences.
    pub(super) audiences: &'a [String],
    /// The nonce of the login for which the token was issued. None if the server has not started the login.
    pub(super) nonce: Option<&'a str>,
    pub(super) now: DateTime<Utc>,
}

/// Content of a logout token: the sessions that end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    pub subject: Option<String>,
    pub session: Option<String>,
    /// Only sessions that were opened up to this time end, so a token that is sent again has no effect on later ones.
    /// Includes the clock skew.
    pub opened_until: DateTime<Utc>,
}

/// Checks the claims of a token with which a user signs in.
pub(super) fn assertion(settings: &Settings, claims: &Claims, expected: &Expected<'_>) -> Result<Assertion> {
    check_place(settings, claims, expected.audiences)?;
    let issued_at = check_times(settings, claims, expected.now)?;
    if time(claims, "exp").is_none() {
        return Err("The token has no time of expiry.");
    }
    // A logout token has the same issuer, audience and subject.
    if claims.contains_key("events") {
        return Err("This token is not for signing in.");
    }
    if let Some(nonce) = expected.nonce
        && text(claims, "nonce") != Some(nonce)
    {
        return Err("The token is not for this login.");
    }
    // A sign-in without a valid time could count as a recent one.
    let authenticated_at = match claims.get("auth_time") {
        None | Some(Value::Null) => issued_at,
        Some(_) => {
            let stated = time(claims, "auth_time").filter(|at| *at - settings.clock_skew <= expected.now);
            stated.ok_or("The time of the sign-in is invalid.")?
        }
    };
    let names = &settings.claims;
    let text_of = |name: &str| find(claims, name).and_then(Value::as_str).map(str::to_owned);
    let is_verified = settings.trust_email && find(claims, &names.email_verified).is_some_and(is_true);
    Ok(Assertion {
        issuer: settings.issuer.clone(),
        subject: subject(claims)?.ok_or("The token has no subject.")?,
        session: session(claims)?,
        authenticated_at,
        username: text_of(&names.username),
        name: text_of(&names.name),
        verified_email: text_of(&names.email).filter(|_| is_verified),
    })
}

/// Checks the claims of a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.6).
pub(super) fn logout(settings: &Settings, claims: &Claims, audiences: &[String], now: DateTime<Utc>) -> Result<Logout> {
    check_place(settings, claims, audiences)?;
    let issued_at = check_times(settings, claims, now)?;
    let is_logout = claims.get("events").and_then(|events| events.get(LOGOUT_EVENT)).is_some_and(Value::is_object);
    if !is_logout || claims.contains_key("nonce") {
        return Err("This is not a logout token.");
    }
    if text(claims, "jti").is_none_or(str::is_empty) {
        return Err("The logout token has no id.");
    }
    let (subject, session) = (subject(claims)?, session(claims)?);
    if subject.is_none() && session.is_none() {
        return Err("The logout token has neither a subject nor a session.");
    }
    Ok(Logout { subject, session, opened_until: issued_at + settings.clock_skew })
}

/// Checks that the token is of this issuer and for this server.
fn check_place(settings: &Settings, claims: &Claims, allowed: &[String]) -> Result<()> {
    if text(claims, "iss") != Some(settings.issuer.as_str()) {
        return Err("The token is of another issuer.");
    }
    let is_allowed = |audience: &str| allowed.iter().any(|own| own == audience);
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(audience)) => vec![audience.as_str()],
        Some(Value::Array(audiences)) => audiences.iter().map(Value::as_str).collect::<Option<_>>().unwrap_or_default(),
        _ => Vec::new(),
    };
    if !audiences.iter().any(|audience| is_allowed(audience)) {
        return Err("The token is for another audience.");
    }
    // OpenID Connect Core 1.0, section 3.1.3.7: with several audiences, `azp` names the one that got the token.
    if audiences.len() > 1 && !text(claims, "azp").is_some_and(is_allowed) {
        return Err("The token was issued to another client.");
    }
    Ok(())
}

/// Checks the times of a token. Returns when it was issued.
fn check_times(settings: &Settings, claims: &Claims, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    let skew = settings.clock_skew;
    let issued_at = time(claims, "iat").ok_or("The token has no time of issue.")?;
    if claims.contains_key("exp") && time(claims, "exp").is_none_or(|at| at + skew <= now) {
        return Err("The token has expired.");
    }
    let is_early = claims.contains_key("nbf") && time(claims, "nbf").is_none_or(|at| at - skew > now);
    if is_early || issued_at - skew > now {
        return Err("The token is not valid yet.");
    }
    Ok(issued_at)
}

fn subject(claims: &Claims) -> Result<Option<String>> {
    short(claims, "sub", MAX_SUBJECT).map_err(|()| "The subject of the token is invalid.")
}

fn session(claims: &Claims) -> Result<Option<String>> {
    short(claims, "sid", MAX_SESSION).map_err(|()| "The session of the token is invalid.")
}

/// Returns a claim that must be a text of 1 to `max` bytes, if the token has it.
fn short(claims: &Claims, name: &str, max: usize) -> std::result::Result<Option<String>, ()> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if (1..=max).contains(&text.len()) && !text.contains('\0') => Ok(Some(text.clone())),
        Some(_) => Err(()),
    }
}

fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

/// Returns a time (RFC 7519, section 2): seconds since 1970, possibly with a fraction, which is ignored.
fn time(claims: &Claims, name: &str) -> Option<DateTime<Utc>> {
    let number = claims.get(name)?.as_number()?;
    let seconds = match number.as_i64() {
        Some(seconds) => seconds,
        None => number.to_string().split_once('.')?.0.parse().ok()?,
    };
    // The bounds of four-digit years, so that adding the clock skew cannot overflow.
    (0..=253_402_300_799).contains(&seconds).then(|| DateTime::from_timestamp(seconds, 0))?
}

/// Returns the claim with this name. A name with dots that no claim has is a path into objects.
fn find<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut parts = name.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// Some issuers write the claim `email_verified` as a text.
fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_str() == Some("true"))
}
