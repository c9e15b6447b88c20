//! Handles the results of removing files.

use std::io::ErrorKind;

use s3s::{S3Error, S3Result};

/// Converts the result of removing a file. A file that does not exist is not an error.
pub(super) fn removed(result: std::io::Result<()>) -> S3Result<()> {
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(S3Error::internal_error(error)),
        _ => Ok(()),
    }
}
