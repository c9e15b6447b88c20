//! Signs URLs for clients. A client with a signed URL may send this request, and no other request, until the URL
//! expires.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use reqwest::Method;

use super::request::Request;
use super::{Blobs, Bucket, Download, Presigned, Upload};
use crate::error::Result;

#[expect(clippy::unused_async, reason = "callers await these functions like all other requests of Blobs")]
impl Blobs {
    /// Signs an upload in one request. The signature covers the key, the length, the content type and the checksum, so
    /// that the client cannot change them.
    pub async fn presign_put(&self, upload: &Upload<'_>, expires: Duration) -> Result<Presigned> {
        let mut request = Request::of_object(Method::PUT, upload.key)
            .header("content-length", upload.byte_size.to_string())
            .header("content-type", upload.content_type);
        if let Some(digest) = upload.sha256 {
            request = request.header("x-amz-checksum-sha256", STANDARD.encode(digest));
        }
        self.bucket()?.presign_upload(request, expires)
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
        let request = Request::of_object(Method::PUT, key)
            .query("partNumber", number.to_string())
            .query("uploadId", upload_id)
            .header("content-length", byte_size.to_string());
        self.bucket()?.presign_upload(request, expires)
    }

    /// Signs a download whose response has the content type and the disposition in `download`. The time of the
    /// signature is `at`, in whole seconds, and the URL expires `expires` after this time. The same `at` gives the same
    /// URL, so that browsers and CDNs can cache the object.
    pub async fn presign_get(&self, download: &Download<'_>, at: DateTime<Utc>, expires: Duration) -> Result<String> {
        let request = Request::of_object(Method::GET, download.key)
            // Only the client's own cache may store the response, until the URL expires. The object of a key never
            // changes.
            .query("response-cache-control", format!("private, max-age={}, immutable", expires.as_secs()))
            .query("response-content-disposition", download.disposition)
            .query("response-content-type", download.content_type);
        self.bucket()?.presign(&request, at, expires)
    }
}

impl Bucket {
    /// Signs a URL with the public endpoint.
    fn presign(&self, request: &Request<'_>, at: DateTime<Utc>, expires: Duration) -> Result<String> {
        let url = self.client.public.url(request.key, &request.query)?;
        self.client.signer.presign(request, &url, at.into(), expires)
    }

    fn presign_upload(&self, request: Request<'_>, expires: Duration) -> Result<Presigned> {
        let url = self.presign(&request, self.clock.now(), expires)?;
        let headers = request.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Presigned { url, method: "PUT", headers })
    }
}
