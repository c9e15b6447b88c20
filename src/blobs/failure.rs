//! What S3 answers in place of what it was asked for.

use std::error::Error as StdError;
use std::fmt::Write as _;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::Parts;
use crate::error::{Error, Result};
use crate::metrics::S3Outcome;

/// A failed call, as far as callers tell them apart.
pub(super) enum Failure {
    /// The object, the upload or the bucket is not there; S3's code, where it says one.
    Missing(Option<String>),
    Other(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing(code) => match code.as_deref() {
                // It is made as soon as it can be.
                Some("NoSuchBucket") => Self::S3Away("the bucket is missing".to_owned()),
                code => Self::S3Missing(code.unwrap_or("not found").to_owned()),
            },
            Failure::Other(error) => error,
        }
    }
}

impl Parts {
    /// Counts how a call went, and reads its failure.
    pub(super) fn outcome<T, E>(&self, result: Result<T, SdkError<E>>) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let result = result.map_err(|error| read(&error));
        self.metrics.s3_request(match &result {
            Ok(_) => S3Outcome::Done,
            Err(Failure::Other(Error::S3Away(_))) => S3Outcome::Away,
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
            SdkError::ConstructionFailure(_) => Error::S3(in_full(error)),
            _ => Error::S3Away(in_full(error)),
        });
    };
    let code = answer.err().code().map(str::to_owned);
    let words = || {
        let (code, message) = (code.as_deref().unwrap_or("no code"), answer.err().message().unwrap_or("no message"));
        format!("{}: {code}: {message}", answer.raw().status())
    };
    match answer.raw().status().as_u16() {
        404 => Failure::Missing(code),
        // 429 and 503 are S3's ways to ask for patience.
        429 | 500.. => Failure::Other(Error::S3Away(words())),
        _ => Failure::Other(Error::S3(words())),
    }
}

/// With its causes, which the library keeps apart; without its `Debug`, which shows whole answers.
fn in_full(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
