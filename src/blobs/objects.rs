//! Requests with which the server itself reads, stores and deletes objects.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, Delete, ObjectIdentifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::connect::transfer;
use super::failure::Failure;
use super::{Blobs, Body, Head};
use crate::error::{Error, Result};

/// Maximum number of objects that S3 deletes in one request.
const DELETED_AT_ONCE: usize = 1000;

impl Blobs {
    /// Reads the metadata of an object. None if the object does not exist.
    pub async fn head(&self, key: &str) -> Result<Option<Head>> {
        let bucket = self.bucket()?;
        let head = bucket.client.head_object().bucket(&bucket.name).key(key).checksum_mode(ChecksumMode::Enabled);
        match bucket.outcome(head.send().await) {
            Ok(head) => Ok(Some(Head {
                byte_size: head.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or_default(),
                content_type: head.content_type().map(str::to_owned),
                sha256: head.checksum_sha256().and_then(digest),
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
        let got = bucket.client.get_object().bucket(&bucket.name).key(key).send().await;
        let body = bucket.outcome(got)?.body;
        timeout(bucket.transfer_timeout, copy(body, to, limit))
            .await
            .map_err(|_| Error::S3Unavailable(format!("{key} takes too long")))?
    }

    /// Stores an object.
    pub async fn put(&self, key: &str, content_type: &str, from: Body) -> Result<()> {
        let bucket = self.bucket()?;
        let body = match from {
            Body::Bytes(bytes) => ByteStream::from(bytes),
            Body::File(path) => ByteStream::from_path(&path).await.map_err(|error| Error::S3(error.to_string()))?,
        };
        let put = bucket.client.put_object().bucket(&bucket.name).key(key).content_type(content_type).body(body);
        bucket.outcome(put.customize().config_override(transfer(bucket.transfer_timeout)).send().await)?;
        Ok(())
    }

    /// Deletes objects. An object that does not exist is not an error.
    pub async fn delete(&self, keys: &[String]) -> Result<()> {
        let bucket = self.bucket()?;
        for keys in keys.chunks(DELETED_AT_ONCE) {
            let named = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build()).collect::<Result<_, _>>();
            let delete = named.and_then(|objects| Delete::builder().set_objects(Some(objects)).quiet(true).build());
            let delete = delete.map_err(|error| Error::S3(error.to_string()))?;
            let deleted = bucket.client.delete_objects().bucket(&bucket.name).delete(delete).send().await;
            let deleted = bucket.outcome(deleted)?;
            if let Some(error) = deleted.errors().iter().find(|error| error.code() != Some("NoSuchKey")) {
                let (key, code) = (error.key().unwrap_or_default(), error.code().unwrap_or("no code"));
                return Err(Error::S3(format!("{key} is not deleted: {code}")));
            }
        }
        Ok(())
    }
}

async fn copy(mut body: ByteStream, to: &mut File, limit: u64) -> Result<u64> {
    let mut bytes = 0;
    while let Some(piece) = body.try_next().await.map_err(|error| Error::S3Unavailable(error.to_string()))? {
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
