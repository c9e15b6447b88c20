//! Requests with which the server itself reads, stores and deletes objects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, Response};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::failure::Failure;
use super::file_body::STALL;
use super::request::Request;
use super::{Blobs, Body, Head, xml};
use crate::error::{Error, Result};

/// Maximum number of objects that S3 deletes in one request.
const DELETED_AT_ONCE: usize = 1000;

impl Blobs {
    /// Reads the metadata of an object. None if the object does not exist.
    pub async fn head(&self, key: &str) -> Result<Option<Head>> {
        let bucket = self.bucket()?;
        let head = Request::of_object(Method::HEAD, key).header("x-amz-checksum-mode", "ENABLED");
        match bucket.send(&head).await {
            Ok(head) => Ok(Some(Head {
                byte_size: head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or_default(),
                content_type: head.header("content-type").map(str::to_owned),
                sha256: head.header("x-amz-checksum-sha256").and_then(digest),
            })),
            // The response to a HEAD request has no body and therefore no error code, so a missing bucket is not
            // distinguished from a missing object.
            Err(Failure::Missing(_)) => Ok(None),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    /// Writes an object to a file chunk by chunk, and returns its size in bytes. Fails with S3TooLarge if the object
    /// has more than `limit` bytes, and with S3Missing if the object does not exist. After an error, the file may
    /// contain a part of the object.
    pub async fn download(&self, key: &str, to: &mut File, limit: u64) -> Result<u64> {
        let bucket = self.bucket()?;
        let got = bucket.send(&Request::of_object(Method::GET, key).download()).await?;
        timeout(bucket.client.transfer_timeout, copy(got.response, to, limit))
            .await
            .map_err(|_| Error::S3Unavailable(format!("{key} takes too long")))?
    }

    /// Stores an object.
    pub async fn put(&self, key: &str, content_type: &str, from: Body) -> Result<()> {
        let bucket = self.bucket()?;
        let put = Request::of_object(Method::PUT, key).header("content-type", content_type).content(from).long();
        bucket.send(&put).await?;
        Ok(())
    }

    /// Deletes objects. An object that does not exist is not an error.
    pub async fn delete(&self, keys: &[String]) -> Result<()> {
        let bucket = self.bucket()?;
        for keys in keys.chunks(DELETED_AT_ONCE) {
            let objects = keys.iter().map(|key| xml::element("Object", &xml::text("Key", key))).collect::<String>();
            let delete = xml::document("Delete", &(objects + "<Quiet>true</Quiet>"));
            let delete = Request::of_bucket(Method::POST).query("delete", "").checked_xml(delete);
            let deleted = bucket.send(&delete).await?.root()?;
            if let Some(error) = deleted.children("Error").find(|error| error.text("Code") != Some("NoSuchKey")) {
                let (key, code) = (error.text("Key").unwrap_or_default(), error.text("Code").unwrap_or("no code"));
                return Err(Error::S3(format!("{key} is not deleted: {code}")));
            }
        }
        Ok(())
    }
}

async fn copy(mut from: Response, to: &mut File, limit: u64) -> Result<u64> {
    let mut bytes = 0;
    let stalled = || Error::S3Unavailable(format!("sends no bytes for {} s", STALL.as_secs()));
    while let Some(piece) = timeout(STALL, from.chunk()).await.map_err(|_| stalled())?.map_err(Failure::from)? {
        bytes += piece.len() as u64;
        if bytes > limit {
            return Err(Error::S3TooLarge(limit));
        }
        to.write_all(&piece).await.map_err(Error::File)?;
    }
    to.flush().await.map_err(Error::File)?;
    Ok(bytes)
}

/// Decodes a SHA-256 in base64. None for other values. For a multipart upload, for example, S3 returns a checksum of
/// the checksums of the parts.
fn digest(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
