//! The files of certificates and keys, in PEM format.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Error, KEY, ROOTS, Roots};

/// Number of characters in a line of base64, as RFC 7468 says.
const PEM_LINE: usize = 64;

pub(super) fn read(parameter: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|reason| Error::Unreadable { parameter, path: path.to_owned(), reason })
}

/// Reads the certificates of a file, which has at least one.
pub(super) fn certificates(parameter: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(parameter, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| malformed(parameter, path, describe(&error)))?;
    if certificates.is_empty() {
        return Err(Error::Missing { parameter, path: path.to_owned(), wanted: "certificate" });
    }
    Ok(certificates)
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&read(KEY, path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            Error::Missing { parameter: KEY, path: path.to_owned(), wanted: "private key without a passphrase" }
        }
        error => malformed(KEY, path, describe(&error)),
    })
}

/// Reads the certificates of the CAs. Each of them can be used; there is at least one.
pub(super) fn roots(roots: &Roots) -> Result<Vec<CertificateDer<'static>>, Error> {
    let is_usable = |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
    match roots {
        Roots::System => {
            // A certificate of the system that cannot be read or used does not prevent the use of the others.
            let found = rustls_native_certs::load_native_certs().certs;
            let usable: Vec<_> = found.into_iter().filter(is_usable).collect();
            if usable.is_empty() { Err(Error::NoSystemRoots) } else { Ok(usable) }
        }
        Roots::File(path) => {
            let certificates = certificates(ROOTS, path)?;
            match certificates.iter().position(|certificate| !is_usable(certificate)) {
                Some(index) => Err(malformed(ROOTS, path, format!("its certificate {} is not X.509", index + 1))),
                None => Ok(certificates),
            }
        }
    }
}

/// Returns the certificates in PEM format.
pub(super) fn encode(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut text = Vec::new();
    for certificate in certificates {
        text.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(certificate).as_bytes().chunks(PEM_LINE) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        text.extend_from_slice(b"-----END CERTIFICATE-----\n");
    }
    text
}

pub(super) fn malformed(parameter: &'static str, path: &Path, reason: String) -> Error {
    Error::Malformed { parameter, path: path.to_owned(), reason }
}

/// Says what is wrong with a PEM file. The text of the library contains lists of bytes.
fn describe(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is not complete".to_owned(),
        pem::Error::Base64Decode(_) => "a section is not base64".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CA made by openssl. It expires in 2126, but a root is trusted without a look at its dates.
    const CA: &str = include_str!("../../tests/tls/ca.pem");

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn encoded_certificates_are_read_again() {
        let original = certificates(ROOTS, file(&CA.repeat(2)).path()).unwrap();
        assert_eq!(original.len(), 2);
        let text = String::from_utf8(encode(&original)).unwrap();
        assert_eq!(certificates(ROOTS, file(&text).path()).unwrap(), original);
    }

    #[test]
    fn each_error_names_the_parameter_and_the_file() {
        let missing = Path::new("/nonexistent/ca.pem");
        let text = roots(&Roots::File(missing.to_owned())).unwrap_err().to_string();
        assert!(text.starts_with("sslrootcert: /nonexistent/ca.pem cannot be read: "), "{text}");
        for (content, reason) in [
            ("nonsense", "has no certificate in PEM format"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "its certificate 1 is not X.509"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "a section has no END line"),
            ("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", "a section is not base64"),
        ] {
            let file = file(content);
            let text = roots(&Roots::File(file.path().to_owned())).unwrap_err().to_string();
            assert!(text.starts_with(&format!("sslrootcert: {} ", file.path().display())), "{text}");
            assert!(text.ends_with(reason), "{text}");
        }
        let text = private_key(file(CA).path()).unwrap_err().to_string();
        assert!(text.ends_with("has no private key without a passphrase in PEM format"), "{text}");
    }
}
