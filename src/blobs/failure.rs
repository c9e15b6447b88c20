//! The errors of requests to S3.

use std::error::Error as StdError;
use std::fmt::Write as _;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::Bucket;
use crate::error::{Error, Result};
use crate::metrics::S3Outcome;

/// The error of a request to S3, in the classes that callers distinguish.
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

impl Bucket {
    /// Counts the outcome of a request in the metrics, and converts its error.
    pub(super) fn outcome<T, E>(&self, result: Result<T, SdkError<E>>) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let result = result.map_err(|error| read(&error));
        self.metrics.s3_request(match &result {
            Ok(_) => S3Outcome::Done,
            Err(Failure::Other(Error::S3Unavailable(_))) => S3Outcome::Unavailable,
            Err(_) => S3Outcome::Refused,
        });
        result
    }
}

fn read<E>(error: &SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let SdkError::ServiceError(answer) = error else {
        return Failure::Other(match error {
            SdkError::ConstructionFailure(_) => Error::S3(with_causes(error)),
            _ => Error::S3Unavailable(with_causes(error)),
        });
    };
    let code = answer.err().code().map(str::to_owned);
    let describe = || {
        let (code, message) = (code.as_deref().unwrap_or("no code"), answer.err().message().unwrap_or("no message"));
        format!("{}: {code}: {message}", answer.raw().status())
    };
    match answer.raw().status().as_u16() {
        404 => Failure::Missing(code),
        // S3 sends 429 and 503 when clients must slow down.
        429 | 500.. => Failure::Other(Error::S3Unavailable(describe())),
        _ => Failure::Other(Error::S3(describe())),
    }
}

/// Returns the text of an error with its causes, which `Display` leaves out. `Debug` would show whole responses.
fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
