//! Multipart uploads, which clients can resume.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::connect::transfer;
use super::failure::Failure;
use super::{Blobs, Part};
use crate::error::Result;

impl Blobs {
    /// Begins an upload and returns its id.
    pub async fn create_multipart(&self, key: &str, content_type: &str) -> Result<String> {
        let bucket = self.bucket()?;
        let create = bucket.client.create_multipart_upload().bucket(&bucket.name).key(key).content_type(content_type);
        let created = bucket.outcome(create.send().await)?;
        Ok(created.upload_id().unwrap_or_default().to_owned())
    }

    /// Reads the stored parts of an upload, sorted by number. None if the upload does not exist.
    pub async fn list_parts(&self, key: &str, upload_id: &str) -> Result<Option<Vec<Part>>> {
        let bucket = self.bucket()?;
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let list = bucket.client.list_parts().bucket(&bucket.name).key(key).upload_id(upload_id);
            // The server's own S3 reads all parts to list them, which can take long.
            let list =
                list.set_part_number_marker(after).customize().config_override(transfer(bucket.transfer_timeout));
            let page = match bucket.outcome(list.send().await) {
                Ok(page) => page,
                Err(Failure::Missing(Some(code))) if code == "NoSuchUpload" => return Ok(None),
                Err(failure) => return Err(failure.into()),
            };
            found.extend(page.parts().iter().map(|part| Part {
                number: part.part_number().unwrap_or_default(),
                etag: part.e_tag().unwrap_or_default().to_owned(),
                byte_size: part.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            }));
            after = page.next_part_number_marker().map(str::to_owned);
            if page.is_truncated() != Some(true) || after.is_none() {
                break;
            }
        }
        found.sort_by_key(|part| part.number);
        Ok(Some(found))
    }

    /// Joins the parts to one object, in the order of `pieces`. If the upload does not exist but the object does, this
    /// is not an error: an earlier request may have succeeded although its response was lost.
    pub async fn complete_multipart(&self, key: &str, upload_id: &str, pieces: &[Part]) -> Result<()> {
        let bucket = self.bucket()?;
        let named = |part: &Part| CompletedPart::builder().part_number(part.number).e_tag(&part.etag).build();
        let whole = CompletedMultipartUpload::builder().set_parts(Some(pieces.iter().map(named).collect())).build();
        let complete = bucket.client.complete_multipart_upload().bucket(&bucket.name).key(key).upload_id(upload_id);
        // Some S3 servers copy the parts, which can take long.
        let complete = complete.multipart_upload(whole).customize().config_override(transfer(bucket.transfer_timeout));
        match bucket.outcome(complete.send().await) {
            Ok(_) => Ok(()),
            Err(Failure::Missing(_)) if self.head(key).await?.is_some() => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Deletes an upload and its parts. An upload that does not exist is not an error.
    pub async fn abort_multipart(&self, key: &str, upload_id: &str) -> Result<()> {
        let bucket = self.bucket()?;
        let abort = bucket.client.abort_multipart_upload().bucket(&bucket.name).key(key).upload_id(upload_id);
        match bucket.outcome(abort.send().await) {
            Ok(_) => Ok(()),
            Err(Failure::Missing(Some(code))) if code == "NoSuchUpload" => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}
