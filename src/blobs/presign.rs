//! Signs URLs for clients. A client with a signed URL may send this request, and no other request, until the URL
//! expires.

use std::time::Duration;

use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};

use super::{Blobs, Download, Presigned, Upload};
use crate::error::{Error, Result};

impl Blobs {
    /// Signs an upload in one request. The signature covers the key, the length, the content type and the checksum, so
    /// that the client cannot change them.
    pub async fn presign_put(&self, upload: &Upload<'_>, expires: Duration) -> Result<Presigned> {
        let bucket = self.bucket()?;
        let request = bucket
            .public
            .put_object()
            .bucket(&bucket.name)
            .key(upload.key)
            .content_type(upload.content_type)
            .content_length(length(upload.byte_size)?)
            .set_checksum_sha256(upload.sha256.map(|digest| STANDARD.encode(digest)));
        let signed = request.presigned(since(bucket.clock.now(), expires)?).await;
        Ok(put(&signed.map_err(|error| Error::S3(error.to_string()))?))
    }

    /// Signs the upload of one part of a multipart upload. The client cannot change the number and the length of the
    /// part.
    pub async fn presign_part(
        &self,
        key: &str,
        upload_id: &str,
        number: i32,
        byte_size: u64,
        expires: Duration,
    ) -> Result<Presigned> {
        let bucket = self.bucket()?;
        let request = bucket
            .public
            .upload_part()
            .bucket(&bucket.name)
            .key(key)
            .upload_id(upload_id)
            .part_number(number)
            .content_length(length(byte_size)?);
        let signed = request.presigned(since(bucket.clock.now(), expires)?).await;
        Ok(put(&signed.map_err(|error| Error::S3(error.to_string()))?))
    }

    /// Signs a download whose response has the content type and the disposition in `download`. The time of the
    /// signature is `at`, in whole seconds, and the URL expires `expires` after this time. The same `at` gives the same
    /// URL, so that browsers and CDNs can cache the object.
    pub async fn presign_get(&self, download: &Download<'_>, at: DateTime<Utc>, expires: Duration) -> Result<String> {
        let bucket = self.bucket()?;
        let request = bucket
            .public
            .get_object()
            .bucket(&bucket.name)
            .key(download.key)
            .response_content_type(download.content_type)
            .response_content_disposition(download.disposition)
            // Only the client's own cache may store the response, until the URL expires. The object of a key never
            // changes.
            .response_cache_control(format!("private, max-age={}, immutable", expires.as_secs()));
        let signed = request.presigned(since(at, expires)?).await;
        Ok(signed.map_err(|error| Error::S3(error.to_string()))?.uri().to_owned())
    }
}

fn since(at: DateTime<Utc>, expires: Duration) -> Result<PresigningConfig> {
    PresigningConfig::builder()
        .start_time(at.into())
        .expires_in(expires)
        .build()
        .map_err(|error| Error::S3(error.to_string()))
}

fn length(bytes: u64) -> Result<i64> {
    i64::try_from(bytes).map_err(|_| Error::S3TooLarge(i64::MAX.unsigned_abs()))
}

fn put(request: &PresignedRequest) -> Presigned {
    let named = |(name, value): (&str, &str)| (name.to_ascii_lowercase(), value.to_owned());
    Presigned {
        url: request.uri().to_owned(),
        method: "PUT",
        // The header `host` is left out, because clients derive it from the URL.
        headers: request.headers().map(named).filter(|(name, _)| name != "host").collect(),
    }
}
