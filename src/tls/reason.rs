//! Says in one line why a connection over TLS failed.

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError};

/// Returns what is wrong, and how to correct it. None if the error is not of TLS.
pub fn failure(error: &(dyn Error + 'static)) -> Option<String> {
    find::<rustls::Error>(error).map(describe)
}

/// Whether the error says that the server closed the connection.
pub fn was_closed(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    find::<io::Error>(error)
        .is_some_and(|error| matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}

/// Returns the first error of the type `E` among an error and its causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    if let Some(found) = error.downcast_ref::<E>() {
        return Some(found);
    }
    // The client of Redis shares its errors, and an I/O error does not name the error inside it as its source.
    if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        let inner: &(dyn Error + Send + Sync + 'static) = shared.as_ref();
        return find(inner);
    }
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return find(inner);
    }
    error.source().and_then(find)
}

fn describe(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => describe_certificate(error),
        rustls::Error::AlertReceived(alert) => describe_alert(*alert),
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS at this port".to_owned(),
        rustls::Error::PeerIncompatible(_) => {
            format!("the server has no version or cipher suite of TLS that is still secure ({error})")
        }
        error => format!("TLS failed: {error}"),
    }
}

fn describe_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "no trusted CA has signed the server's certificate: set sslrootcert to the \
                                            file of the CA that has"
            .to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => format!(
            "the server's certificate has no subject alternative name, so it is not valid for {}",
            expected.to_str()
        ),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is valid for {}, but not for {}: connect by a name of the certificate",
            presented.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", "),
            expected.to_str()
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: renew it on the server".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: check the clocks of both machines".to_owned()
        }
        error if error.to_string().contains("CaUsedAsEndEntity") => {
            "the server uses the certificate of a CA as its own: give it a certificate that the CA has signed"
                .to_owned()
        }
        error => format!("the server's certificate is not valid: {error}"),
    }
}

fn describe_alert(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired | Alert::NoCertificate => {
            "the server requires a client certificate: set sslcert and sslkey".to_owned()
        }
        Alert::UnknownCA
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateExpired
        | Alert::CertificateRevoked
        | Alert::UnsupportedCertificate
        | Alert::AccessDenied => {
            format!("the server does not accept the client certificate of sslcert ({alert:?})")
        }
        alert => format!("the server ended the TLS handshake ({alert:?}): its log has the reason"),
    }
}

/// Returns the name in a text such as `DnsName("example.org")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn errors_of_tls_are_found_behind_other_errors() {
        let cause = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, cause.clone());
        let shared: Arc<dyn Error + Send + Sync> = Arc::new(io::Error::new(io::ErrorKind::InvalidData, cause));
        for error in [&wrapped as &(dyn Error + 'static), &shared] {
            assert!(failure(error).unwrap().starts_with("no trusted CA"));
        }
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(failure(&reset), None);
        assert!(was_closed(&reset));
        assert!(!was_closed(&io::Error::from(io::ErrorKind::ConnectionRefused)));
    }

    #[test]
    fn a_wrong_name_is_reported_with_the_right_names() {
        let error = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("db.example.org").unwrap(),
            presented: vec!["DnsName(\"localhost\")".to_owned(), "IpAddress(127.0.0.1)".to_owned()],
        };
        let text = describe(&rustls::Error::InvalidCertificate(error));
        assert!(text.contains("valid for localhost, 127.0.0.1, but not for db.example.org:"), "{text}");
    }
}
