//! The parameters of TLS in DATABASE_URL and REDIS_URL. They have the names of libpq, the client library of Postgres.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use crate::tls::{CERTIFICATE, Identity, KEY, ROOTS, Roots};

const MODE: &str = "sslmode";
/// Value of `sslrootcert` that stands for the CAs of the system.
const SYSTEM: &str = "system";

/// The values of the parameters. An empty file name of a certificate or key is the same as none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UrlParameters {
    pub mode: Option<String>,
    roots: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl UrlParameters {
    /// Removes the parameters from a URL and returns them with the rest of the URL. The query begins at the first
    /// question mark after the first `authority` bytes.
    pub(super) fn take(url: &str, authority: usize) -> Result<(String, Self), String> {
        let mut parameters = Self::default();
        let (head, tail) = url.split_at(authority);
        let Some((address, query)) = tail.split_once('?') else { return Ok((url.to_owned(), parameters)) };
        let mut others = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match parameters.field(name) {
                Some(field) => {
                    let value = percent_decode_str(value).decode_utf8();
                    let value = value.map_err(|_| format!("allowed for {name} is only text in UTF-8"))?;
                    // An empty value may come from a variable that is not set. It must not turn off the verification.
                    if value.is_empty() && matches!(name, MODE | ROOTS) {
                        return Err(format!("allowed for {name} is no empty value: omit the parameter"));
                    }
                    *field = (!value.is_empty()).then(|| value.into_owned());
                }
                None => others.push(part),
            }
        }
        let mark = if others.is_empty() { "" } else { "?" };
        Ok((format!("{head}{address}{mark}{}", others.join("&")), parameters))
    }

    fn field(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            MODE => Some(&mut self.mode),
            ROOTS => Some(&mut self.roots),
            CERTIFICATE => Some(&mut self.certificate),
            KEY => Some(&mut self.key),
            _ => None,
        }
    }

    pub(super) fn roots(&self) -> Option<Roots> {
        self.roots.as_ref().map(|text| if text == SYSTEM { Roots::System } else { Roots::File(text.into()) })
    }

    pub(super) fn identity(&self) -> Result<Option<Identity>, String> {
        match (&self.certificate, &self.key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                Ok(Some(Identity { certificate: PathBuf::from(certificate), key: PathBuf::from(key) }))
            }
            _ => Err("allowed are sslcert and sslkey only together".to_owned()),
        }
    }

    /// Whether any file is named.
    pub(super) fn has_files(&self) -> bool {
        self.roots.is_some() || self.certificate.is_some() || self.key.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_removed_and_the_others_stay() {
        let url = "scheme://host/name?a=1&sslmode=require&b&sslrootcert=%2Fmy%20ca.pem&sslkey=&c=%3D";
        let (rest, parameters) = UrlParameters::take(url, 0).unwrap();
        assert_eq!(rest, "scheme://host/name?a=1&b&c=%3D");
        assert_eq!(parameters.mode.as_deref(), Some("require"));
        assert_eq!(parameters.roots(), Some(Roots::File("/my ca.pem".into())));
        assert_eq!(parameters.identity(), Ok(None));
        let (rest, _) = UrlParameters::take("scheme://host?sslmode=require", 0).unwrap();
        assert_eq!(rest, "scheme://host");
    }

    #[test]
    fn a_question_mark_in_the_password_begins_no_query() {
        let url = "scheme://user:a?sslmode=b@host";
        let (rest, parameters) = UrlParameters::take(url, url.find('@').unwrap()).unwrap();
        assert_eq!(rest, url);
        assert_eq!(parameters, UrlParameters::default());
    }
}
