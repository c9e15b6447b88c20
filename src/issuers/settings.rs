//! The file of ISSUERS_FILE: a JSON list of issuers.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use chrono::TimeDelta;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::Deserialize;
use serde_json::Value;

use super::keys::{self, Key};
use crate::config::server_url;

/// Maximum number of issuers.
const MAX_ISSUERS: usize = 50;
/// Maximum length of the name of an issuer.
const MAX_NAME: usize = 32;
/// Maximum clock skew in seconds.
const MAX_SKEW: u16 = 600;
/// Minimum size of a shared secret in bytes, by RFC 7518, section 3.2.
const MIN_SECRET: usize = 32;
/// The algorithms of an issuer with public keys, unless the file names others.
const ALGORITHMS: [Algorithm; 4] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA, Algorithm::PS256];

/// The settings of an issuer.
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    /// The registration of this server at the issuer. None if the issuer has no login in the browser.
    pub(super) client: Option<Client>,
    pub(super) scopes: Vec<String>,
    pub(super) keys: KeySource,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) claims: ClaimNames,
    /// Whether an e-mail address that the issuer calls verified counts as verified here.
    pub(super) trust_email: bool,
    pub(super) link_by_verified_email: bool,
    pub(super) allow_registration: bool,
    pub(super) clock_skew: TimeDelta,
}

pub(super) struct Client {
    pub(super) id: String,
    /// The secret of the client. None for a public client, whose logins only PKCE protects.
    pub(super) secret: Option<String>,
}

/// Source of the keys of an issuer.
pub(super) enum KeySource {
    /// The issuer publishes them.
    Discovery,
    Fixed(Vec<Key>),
}

/// The claims with the data of a user. A name with dots is a path into objects.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct ClaimNames {
    pub(super) username: String,
    pub(super) name: String,
    pub(super) email: String,
    pub(super) email_verified: String,
}

/// Why the file of ISSUERS_FILE cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("ISSUERS_FILE ({0}) cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    #[error("ISSUERS_FILE ({0}) is not a JSON list of issuers: {1}")]
    Malformed(PathBuf, serde_json::Error),
    #[error("ISSUERS_FILE ({0}), {1}")]
    Wrong(PathBuf, String),
    #[error("the HTTP client for issuers cannot be made: {0}")]
    Client(String),
}

/// An issuer as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    name: String,
    issuer: String,
    #[serde(default)]
    audiences: Vec<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    client_secret_file: Option<PathBuf>,
    scopes: Option<Vec<String>>,
    /// `discovery`, a public key in PEM, or a JWK set.
    keys: Option<Value>,
    /// Secret for HS256.
    secret: Option<String>,
    algorithms: Option<Vec<String>>,
    #[serde(default)]
    claims: ClaimNames,
    #[serde(default = "yes")]
    trust_email: bool,
    #[serde(default)]
    link_by_verified_email: bool,
    #[serde(default = "yes")]
    allow_registration: bool,
    #[serde(default = "default_skew")]
    clock_skew_seconds: u16,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            username: "preferred_username".into(),
            name: "name".into(),
            email: "email".into(),
            email_verified: "email_verified".into(),
        }
    }
}

const fn yes() -> bool {
    true
}

const fn default_skew() -> u16 {
    60
}

/// Reads the file.
pub(super) fn read(file: &Path) -> Result<Vec<Settings>, FileError> {
    let text = fs::read_to_string(file).map_err(|error| FileError::Unreadable(file.to_owned(), error))?;
    let entries: Vec<Value> =
        serde_json::from_str(&text).map_err(|error| FileError::Malformed(file.to_owned(), error))?;
    parse(entries).map_err(|reason| FileError::Wrong(file.to_owned(), reason))
}

/// Checks the issuers. The error names the wrong one.
fn parse(entries: Vec<Value>) -> Result<Vec<Settings>, String> {
    if entries.len() > MAX_ISSUERS {
        return Err(format!("more than {MAX_ISSUERS} issuers"));
    }
    let mut all: Vec<Settings> = Vec::new();
    for (index, value) in entries.into_iter().enumerate() {
        let name = value.get("name").and_then(Value::as_str);
        let place = name.map_or_else(|| format!("issuer {}", index + 1), |name| format!("issuer {name:?}"));
        let entry = serde_json::from_value::<Entry>(value).map_err(|error| error.to_string());
        let settings = entry.and_then(Entry::check).map_err(|reason| format!("{place}: {reason}"))?;
        if all.iter().any(|other| other.name == settings.name || other.issuer == settings.issuer) {
            return Err(format!("{place}: another issuer has the same name or URL"));
        }
        all.push(settings);
    }
    Ok(all)
}

impl Entry {
    fn check(mut self) -> Result<Settings, String> {
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=MAX_NAME).contains(&self.name.len()) || !self.name.chars().all(named) {
            return Err(format!("name must have 1 to {MAX_NAME} letters a to z, digits or hyphens"));
        }
        if server_url(&self.issuer).is_none_or(|url| url.query().is_some() || url.fragment().is_some()) {
            return Err("issuer must be an https:// address, or http:// and a private host".into());
        }
        if self.clock_skew_seconds > MAX_SKEW {
            return Err(format!("clockSkewSeconds must be at most {MAX_SKEW}"));
        }
        if self.link_by_verified_email && !self.trust_email {
            return Err("linkByVerifiedEmail needs trustEmail".into());
        }
        let client = self.client()?;
        let scopes = self.scopes.take().unwrap_or_else(|| ["openid", "profile", "email"].map(String::from).to_vec());
        if !scopes.iter().any(|scope| scope == "openid") {
            return Err("scopes must have openid".into());
        }
        let mut audiences = std::mem::take(&mut self.audiences);
        if let Some(client) = client.as_ref().filter(|client| !audiences.contains(&client.id)) {
            audiences.push(client.id.clone());
        }
        if audiences.is_empty() {
            return Err("audiences or clientId must be set".into());
        }
        let (keys, algorithms) = (self.key_source()?, self.algorithms()?);
        if let KeySource::Fixed(fixed) = &keys
            && !fixed.iter().all(|key| algorithms.iter().any(|algorithm| key.allows(*algorithm)))
        {
            return Err("algorithms must have one for each key, such as EdDSA for an Ed25519 key".into());
        }
        Ok(Settings {
            name: self.name,
            issuer: self.issuer,
            audiences,
            client,
            scopes,
            keys,
            algorithms,
            claims: self.claims,
            trust_email: self.trust_email,
            link_by_verified_email: self.link_by_verified_email,
            allow_registration: self.allow_registration,
            clock_skew: TimeDelta::seconds(self.clock_skew_seconds.into()),
        })
    }

    fn client(&mut self) -> Result<Option<Client>, String> {
        let secret = match (self.client_secret.take(), &self.client_secret_file) {
            (Some(_), Some(_)) => return Err("set either clientSecret or clientSecretFile".into()),
            (Some(secret), None) => Some(secret),
            (None, Some(file)) => {
                let text = fs::read_to_string(file);
                let text = text.map_err(|error| format!("clientSecretFile ({}): {error}", file.display()))?;
                Some(text.trim().to_owned())
            }
            (None, None) => None,
        };
        match (self.client_id.take(), secret) {
            (Some(id), secret) => Ok(Some(Client { id, secret })),
            (None, Some(_)) => Err("clientSecret needs clientId".into()),
            (None, None) => Ok(None),
        }
    }

    fn key_source(&self) -> Result<KeySource, String> {
        const WRONG: &str =
            "keys must be \"discovery\", a public key in PEM, or a JWK set. An RSA key must have at least 2048 bits";
        if let Some(secret) = &self.secret {
            if self.keys.is_some() {
                return Err("set either secret or keys".into());
            }
            if secret.len() < MIN_SECRET {
                return Err(format!("secret must have at least {MIN_SECRET} bytes"));
            }
            return Ok(KeySource::Fixed(vec![Key::from_secret(secret)]));
        }
        let fixed = match &self.keys {
            None => return Ok(KeySource::Discovery),
            Some(Value::String(text)) if text == "discovery" => return Ok(KeySource::Discovery),
            Some(Value::String(pem)) if pem.contains("PRIVATE KEY") => {
                return Err("keys has a private key, and only the issuer should have it".into());
            }
            Some(Value::String(pem)) => vec![Key::from_pem(pem).ok_or(WRONG)?],
            Some(set) => keys::parse_set(set.clone()).ok_or(WRONG)?,
        };
        if fixed.is_empty() { Err("keys has no public key for signatures".into()) } else { Ok(KeySource::Fixed(fixed)) }
    }

    fn algorithms(&self) -> Result<Vec<Algorithm>, String> {
        let Some(names) = &self.algorithms else {
            return Ok(if self.secret.is_some() { vec![Algorithm::HS256] } else { ALGORITHMS.to_vec() });
        };
        let mut algorithms = Vec::new();
        for name in names {
            let algorithm =
                Algorithm::from_str(name).map_err(|_| format!("algorithms has an unknown one: {name:?}"))?;
            if (algorithm.family() == AlgorithmFamily::Hmac) != self.secret.is_some() {
                return Err(format!("{name} needs secret, and secret needs HS256, HS384 or HS512"));
            }
            algorithms.push(algorithm);
        }
        if algorithms.is_empty() { Err("algorithms is empty".into()) } else { Ok(algorithms) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An RSA key of 1024 bits.
    const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDDUH9h27DNFoymGv2vmq/fdO8u
bh4Mezt2CdhuhS2aRLwqa8PjcREHgOnKbTtBW7rzxYwqlYly7IYgeNM+kS0vV+ww
MMlWpO9CiDTGhJBreULolgZehRQQFLbSSHiC4L79RdU7HWEMeY/mOrn+Z0uZC8vp
4LqoG2zTD4kldn8c+wIDAQAB
-----END PUBLIC KEY-----";

    /// An RSA key of 2048 bits.
    const RSA: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwHsUOxFloXrE6EP+GOSX
JW+bApFmAKeM8LPp1qWy8zQKnUqB1wGAX0k1HsldgnAUr7tmnJRMLbNJnWqJSTpO
U1htCM+PmXYA/k1upmLDkUYSA4+4waiD3NvWRCdoajYTrpu9lpEMKnlx5BYkksig
Ch3rCwlipYr37UgVHzY4+iX7WOu3Ubr3iuE/f1Wur4aaK2YOQkwDCQ8AVaEd6+e3
KCQ+UkQLBBb59nHzpW5fsfAN/P4pBjLYzOyL76ZRROa7XzBgZrmHeS0nL1pz5uNE
WimBqJJJFC1jhtb8cFfZGRgnaMAdiN2GPj7s5/ZpiLL4ba/kCcrNC4Ywtzp/YYUp
6wIDAQAB
-----END PUBLIC KEY-----";

    fn error(changes: &Value) -> String {
        let mut entry = json!({"name": "acme", "issuer": "https://id.example.org", "audiences": ["chat"]});
        for (name, value) in changes.as_object().unwrap() {
            entry[name] = value.clone();
        }
        parse(vec![entry]).err().unwrap_or_default()
    }

    #[test]
    fn an_issuer_needs_a_name_a_url_and_an_audience() {
        assert_eq!(error(&json!({})), "");
        assert_eq!(error(&json!({"audiences": [], "clientId": "chat", "clientSecret": "secret"})), "");
        assert_eq!(error(&json!({"secret": "a secret that has more than 32 bytes", "algorithms": ["HS512"]})), "");
        assert_eq!(error(&json!({"issuer": "http://localhost:8080/realms/acme", "keys": "discovery"})), "");
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]});
        assert_eq!(error(&json!({"keys": keys})), "");
        assert_eq!(error(&json!({"keys": RSA})), "");
    }

    #[test]
    fn errors_name_contradictions_and_unknown_fields() {
        for (changes, part) in [
            (json!({"colour": "red"}), "unknown field `colour`"),
            (json!({"claims": {"nick": "a"}}), "unknown field `nick`"),
            (json!({"name": "Acme Inc"}), "name must have"),
            (json!({"issuer": "http://id.example.org"}), "issuer must be"),
            (json!({"issuer": "https://id.example.org?a"}), "issuer must be"),
            (json!({"audiences": []}), "audiences or clientId"),
            (json!({"clientSecret": "secret"}), "clientSecret needs clientId"),
            (json!({"clientId": "a", "clientSecret": "b", "clientSecretFile": "c"}), "set either clientSecret"),
            (json!({"scopes": ["profile"]}), "scopes must have openid"),
            (json!({"algorithms": ["none"]}), "unknown one"),
            (json!({"algorithms": ["HS256"]}), "HS256 needs secret"),
            (json!({"algorithms": []}), "algorithms is empty"),
            (json!({"secret": "short"}), "secret must have"),
            (json!({"secret": "a secret that has more than 32 bytes", "keys": "discovery"}), "either secret or keys"),
            (json!({"secret": "a secret that has more than 32 bytes", "algorithms": ["RS256"]}), "RS256 needs"),
            (json!({"keys": RSA, "algorithms": ["EdDSA"]}), "algorithms must have one"),
            (json!({"keys": "no key"}), "keys must be"),
            (json!({"keys": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}), "keys has no public key"),
            (json!({"keys": "-----BEGIN PRIVATE KEY-----"}), "keys has a private key"),
            (json!({"clockSkewSeconds": 601}), "clockSkewSeconds must be"),
            (json!({"linkByVerifiedEmail": true, "trustEmail": false}), "linkByVerifiedEmail needs trustEmail"),
            (json!({"keys": SHORT_RSA}), "keys must be"),
        ] {
            let error = error(&changes);
            assert!(error.starts_with("issuer \"") && error.contains(part), "{changes}: {error}");
        }
    }

    #[test]
    fn two_issuers_cannot_have_the_same_name_or_url() {
        let issuer = |name: &str, url: &str| json!({"name": name, "issuer": url, "audiences": ["chat"]});
        let (one, other) = (issuer("one", "https://one.example"), issuer("other", "https://other.example"));
        assert!(parse(vec![one.clone(), other]).is_ok());
        for twice in [issuer("one", "https://other.example"), issuer("other", "https://one.example")] {
            assert!(parse(vec![one.clone(), twice]).is_err());
        }
    }
}
