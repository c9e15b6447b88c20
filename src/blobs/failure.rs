//! The errors of requests to S3.

use reqwest::StatusCode;

use super::xml::Element;
use crate::error::Error;
use crate::outbound::with_causes;

/// Error codes after which a retry may succeed, whatever the status of the answer is. The answer to
/// CompleteMultipartUpload can have the status 200 and an error code.
const TRANSIENT_CODES: [&str; 4] = ["InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"];

/// The error of a request to S3, in the classes that callers distinguish.
#[derive(Debug)]
pub(super) enum Failure {
    /// The object, the upload or the bucket does not exist. Contains S3's error code if S3 sent a code.
    Missing(Option<String>),
    Other(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing(code) => match code.as_deref() {
                // At start the bucket might not exist yet. The server retries in the background to create it.
                Some("NoSuchBucket") => Self::S3Unavailable("the bucket is missing".to_owned()),
                code => Self::S3Missing(code.unwrap_or("not found").to_owned()),
            },
            Failure::Other(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let is_own = error.is_builder();
        let text = with_causes(error);
        Self::Other(if is_own { Error::S3(text) } else { Error::S3Unavailable(text) })
    }
}

impl Failure {
    /// Returns the failure that an answer reports. `error` is the root of its body.
    pub(super) fn reported(status: StatusCode, error: Option<&Element>) -> Self {
        let code = error.and_then(|error| error.text("Code"));
        let describe = || {
            let message = error.and_then(|error| error.text("Message")).unwrap_or("no message");
            format!("{}: {}: {message}", status.as_u16(), code.unwrap_or("no code"))
        };
        match status.as_u16() {
            // S3 sends 429 and 503 when clients must slow down.
            429 | 500.. => Self::Other(Error::S3Unavailable(describe())),
            _ if code.is_some_and(|code| TRANSIENT_CODES.contains(&code)) => {
                Self::Other(Error::S3Unavailable(describe()))
            }
            404 => Self::Missing(code.map(str::to_owned)),
            _ => Self::Other(Error::S3(describe())),
        }
    }

    /// Whether S3 is unavailable, so that a retry may succeed.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Other(Error::S3Unavailable(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(status: u16, code: &str) -> Failure {
        let body = format!("<Error><Code>{code}</Code><Message>Sorry.</Message></Error>");
        Failure::reported(StatusCode::from_u16(status).unwrap(), Element::parse(body.as_bytes()).as_ref())
    }

    #[test]
    fn the_status_and_the_code_decide_the_class_of_a_failure() {
        for (status, code) in
            [(503, "SlowDown"), (500, "x"), (429, "x"), (400, "RequestTimeout"), (200, "InternalError")]
        {
            assert!(reported(status, code).is_unavailable(), "{status} {code}");
        }
        assert!(matches!(reported(404, "NoSuchUpload"), Failure::Missing(Some(code)) if code == "NoSuchUpload"));
        for (status, code) in [(403, "AccessDenied"), (301, "PermanentRedirect"), (200, "InvalidPart")] {
            let failure = reported(status, code);
            let Failure::Other(Error::S3(text)) = failure else { panic!("{failure:?}") };
            assert_eq!(text, format!("{status}: {code}: Sorry."));
        }
        assert!(matches!(Failure::reported(StatusCode::NOT_FOUND, None), Failure::Missing(None)));
    }
}
