//! Multipart uploads, which clients can resume.

use reqwest::Method;

use super::failure::Failure;
use super::request::Request;
use super::{Blobs, Part, xml};
use crate::error::{Error, Result};

impl Blobs {
    /// Begins an upload and returns its id.
    pub async fn create_multipart(&self, key: &str, content_type: &str) -> Result<String> {
        let bucket = self.bucket()?;
        let create = Request::of_object(Method::POST, key).query("uploads", "").header("content-type", content_type);
        let created = bucket.send(&create).await?.root()?;
        let id = created.text("UploadId").filter(|id| !id.is_empty());
        Ok(id.ok_or_else(|| Error::S3Unavailable("the new upload has no id".to_owned()))?.to_owned())
    }

    /// Reads the stored parts of an upload, sorted by number. None if the upload does not exist.
    pub async fn list_parts(&self, key: &str, upload_id: &str) -> Result<Option<Vec<Part>>> {
        let bucket = self.bucket()?;
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            // The server's own S3 reads all parts to list them, which can take long.
            let mut list = of_upload(Method::GET, key, upload_id)?.long();
            if let Some(number) = after {
                list = list.query("part-number-marker", number);
            }
            let page = match bucket.send(&list).await {
                Ok(answer) => answer.root()?,
                Err(Failure::Missing(Some(code))) if code == "NoSuchUpload" => return Ok(None),
                Err(failure) => return Err(failure.into()),
            };
            found.extend(page.children("Part").map(|part| Part {
                number: part.value("PartNumber").unwrap_or_default(),
                etag: part.text("ETag").unwrap_or_default().to_owned(),
                byte_size: part.value("Size").unwrap_or_default(),
            }));
            after = page.text("NextPartNumberMarker").filter(|number| !number.is_empty()).map(str::to_owned);
            if page.value("IsTruncated") != Some(true) || after.is_none() {
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
        let parts = pieces.iter().map(|part| {
            let number = xml::text("PartNumber", &part.number.to_string());
            xml::element("Part", &(xml::text("ETag", &part.etag) + &number))
        });
        let whole = xml::document("CompleteMultipartUpload", &parts.collect::<String>());
        // Some S3 servers copy the parts, which can take long.
        let complete = of_upload(Method::POST, key, upload_id)?.xml(whole).long();
        match bucket.send(&complete).await {
            Ok(_) => Ok(()),
            Err(Failure::Missing(_)) if self.head(key).await?.is_some() => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Deletes an upload and its parts. An upload that does not exist is not an error.
    pub async fn abort_multipart(&self, key: &str, upload_id: &str) -> Result<()> {
        let bucket = self.bucket()?;
        let abort = of_upload(Method::DELETE, key, upload_id)?;
        match bucket.send(&abort).await {
            Ok(_) => Ok(()),
            Err(Failure::Missing(Some(code))) if code == "NoSuchUpload" => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// Returns a request on an upload. Fails if the id is empty: S3 would delete the object, not the upload.
fn of_upload<'a>(method: Method, key: &'a str, upload_id: &str) -> Result<Request<'a>> {
    if upload_id.is_empty() {
        return Err(Error::S3(format!("the upload of {key:?} has no id")));
    }
    Ok(Request::of_object(method, key).query("uploadId", upload_id))
}
