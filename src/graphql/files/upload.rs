//! Uploads: signed requests by which a client stores a file, and the check of the stored file.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::attachment::Attachment;
use crate::blobs::Presigned;
use crate::domain::files::parts::PART_BYTES;
use crate::domain::files::uploads::{NewUpload, Remaining, UploadPart as PartOfUpload};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::{DateTime, parse_id};

/// A header of the HTTP request that stores a file.
#[derive(SimpleObject)]
pub struct UploadHeader {
    /// Name of the header.
    name: String,
    /// Value of the header.
    value: String,
}

/// A part of a file and the HTTP request that stores it. The part begins at byte `(number - 1) * partBytes`.
#[derive(SimpleObject)]
pub struct UploadPart {
    /// Place of the part in the file: 1, 2, 3 and so on.
    number: i32,
    /// Size of the part in bytes.
    byte_size: i32,
    /// Signed URL to which the client sends the bytes of the part, with `method` and exactly these `headers`.
    url: String,
    /// HTTP method of the request, such as PUT.
    method: &'static str,
    /// Headers of the request.
    headers: Vec<UploadHeader>,
}

/// Input of the `createUpload` mutation.
#[derive(InputObject)]
pub struct CreateUploadInput {
    /// Name of the file, 1 to 255 characters. A path before the name is removed.
    file_name: String,
    /// Media type, such as image/jpeg. Parameters are removed. The content of the file must have this type.
    content_type: String,
    /// Exact size of the file in bytes, at most `ServerInfo.maxUploadBytes`.
    byte_size: i32,
    /// SHA-256 of the file as 64 hexadecimal digits. If given, only a file with this hash can be uploaded.
    sha256: Option<String>,
}

/// Result of the `createUpload` mutation: the HTTP request that stores the file.
#[derive(SimpleObject)]
pub struct CreateUploadPayload {
    /// The new attachment, which is PENDING.
    attachment: Attachment,
    /// Signed URL to which the client sends the bytes of the file, with `method` and exactly these `headers`.
    url: String,
    /// HTTP method of the request, such as PUT.
    method: &'static str,
    /// Headers of the request.
    headers: Vec<UploadHeader>,
    /// When the URL expires: after 15 minutes.
    expires_at: DateTime,
}

/// Input of the `createMultipartUpload` mutation.
#[derive(InputObject)]
pub struct CreateMultipartUploadInput {
    /// Name of the file, 1 to 255 characters. A path before the name is removed.
    file_name: String,
    /// Media type, such as video/mp4. Parameters are removed. The content of the file must have this type.
    content_type: String,
    /// Exact size of the file in bytes, at most `ServerInfo.maxUploadBytes`.
    byte_size: i32,
    /// SHA-256 of the file as 64 hexadecimal digits. If given, a file with another hash is REJECTED.
    sha256: Option<String>,
}

/// Result of the `createMultipartUpload` mutation: the HTTP requests that store the parts of the file.
#[derive(SimpleObject)]
pub struct CreateMultipartUploadPayload {
    /// The new attachment, which is PENDING.
    attachment: Attachment,
    /// Size in bytes of each part except the last.
    part_bytes: i32,
    /// The parts of the file. The parts can be sent in any order, and several at the same time.
    parts: Vec<UploadPart>,
    /// When the URLs expire: after 15 minutes. `resumeUpload` returns new URLs.
    expires_at: DateTime,
}

/// Input of the `resumeUpload` mutation.
#[derive(InputObject)]
pub struct ResumeUploadInput {
    /// Id of an attachment that the viewer is uploading.
    attachment_id: ID,
}

/// Result of the `resumeUpload` mutation: the HTTP requests that store the missing parts of the file.
#[derive(SimpleObject)]
pub struct ResumeUploadPayload {
    /// The attachment, which is PENDING.
    attachment: Attachment,
    /// Numbers of the parts that are stored.
    uploaded: Vec<i32>,
    /// Size in bytes of each part except the last.
    part_bytes: i32,
    /// The missing parts, with new URLs. A file of `createUpload` has one part.
    parts: Vec<UploadPart>,
    /// When the URLs expire: after 15 minutes.
    expires_at: DateTime,
}

/// Input of the `completeUpload` mutation.
#[derive(InputObject)]
pub struct CompleteUploadInput {
    /// Id of an attachment whose file is stored.
    attachment_id: ID,
}

/// Result of the `completeUpload` mutation.
#[derive(SimpleObject)]
pub struct CompleteUploadPayload {
    /// The attachment, which is READY or REJECTED.
    attachment: Attachment,
}

#[derive(Default)]
pub struct UploadMutation;

#[Object]
impl UploadMutation {
    /// Starts the upload of a file that is sent in one HTTP request. Use `createMultipartUpload` for files of more than
    /// 16 MiB, because a multipart upload can be resumed. Call `completeUpload` after the request. Errors:
    /// BAD_USER_INPUT if a field breaks its rule, the viewer has 100 uploads that are unfinished or were rejected
    /// recently, or the viewer's files would exceed the storage quota. UNAVAILABLE if the file storage cannot be
    /// reached.
    async fn create_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The file to upload.")] input: CreateUploadInput,
    ) -> Result<CreateUploadPayload> {
        let viewer = ctx.viewer()?;
        let started = ctx.app().uploads().create(viewer, input.into()).await?;
        let Presigned { url, method, headers } = started.request;
        Ok(CreateUploadPayload {
            attachment: Attachment(started.attachment),
            url,
            method,
            headers: named(headers),
            expires_at: started.expires_at.into(),
        })
    }

    /// Starts the upload of a file that is sent in parts of 16 MiB, each with its own HTTP request. `resumeUpload`
    /// continues an interrupted upload, on any device. Call `completeUpload` after the last part. Errors: the same as
    /// for `createUpload`.
    async fn create_multipart_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The file to upload.")] input: CreateMultipartUploadInput,
    ) -> Result<CreateMultipartUploadPayload> {
        let viewer = ctx.viewer()?;
        let started = ctx.app().uploads().create_multipart(viewer, input.into()).await?;
        let Remaining { attachment, parts, expires_at, .. } = started;
        Ok(CreateMultipartUploadPayload {
            attachment: Attachment(attachment),
            part_bytes: part_bytes(),
            parts: parts.into_iter().map(UploadPart::from).collect(),
            expires_at: expires_at.into(),
        })
    }

    /// Continues an upload that was interrupted or whose URLs have expired: returns the missing parts with new URLs.
    /// Errors: NOT_FOUND if the viewer has no such upload. BAD_USER_INPUT if the upload is complete. CONFLICT if the
    /// file storage has lost the upload: start a new upload. UNAVAILABLE if the file storage cannot be reached.
    async fn resume_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The upload to continue.")] input: ResumeUploadInput,
    ) -> Result<ResumeUploadPayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.attachment_id, "attachmentId")?;
        let Remaining { attachment, uploaded, parts, expires_at } = ctx.app().uploads().resume(viewer, id).await?;
        Ok(ResumeUploadPayload {
            attachment: Attachment(attachment),
            uploaded,
            part_bytes: part_bytes(),
            parts: parts.into_iter().map(UploadPart::from).collect(),
            expires_at: expires_at.into(),
        })
    }

    /// Checks the size and the type of the stored file and, if configured, scans the file for viruses. The attachment
    /// becomes READY or REJECTED. Calling the mutation again returns the same result. Errors: NOT_FOUND if the viewer
    /// has no such upload. CONFLICT if the file or a part of it is not stored. RATE_LIMITED if too many files of the
    /// viewer wait for the check. UNAVAILABLE if the check takes too long or needs a service that cannot be reached:
    /// call the mutation again.
    async fn complete_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The upload to check.")] input: CompleteUploadInput,
    ) -> Result<CompleteUploadPayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.attachment_id, "attachmentId")?;
        let row = ctx.app().uploads().complete(viewer, id, &ctx.client().gone).await?;
        Ok(CompleteUploadPayload { attachment: Attachment(row) })
    }
}

fn part_bytes() -> i32 {
    i32::try_from(PART_BYTES).unwrap_or(i32::MAX)
}

fn named(headers: Vec<(String, String)>) -> Vec<UploadHeader> {
    headers.into_iter().map(|(name, value)| UploadHeader { name, value }).collect()
}

impl From<PartOfUpload> for UploadPart {
    fn from(part: PartOfUpload) -> Self {
        let Presigned { url, method, headers } = part.request;
        let byte_size = i32::try_from(part.byte_size).unwrap_or(i32::MAX);
        Self { number: part.number, byte_size, url, method, headers: named(headers) }
    }
}

impl From<CreateUploadInput> for NewUpload {
    fn from(input: CreateUploadInput) -> Self {
        let CreateUploadInput { file_name, content_type, byte_size, sha256 } = input;
        Self { file_name, content_type, byte_size: byte_size.into(), sha256 }
    }
}

impl From<CreateMultipartUploadInput> for NewUpload {
    fn from(input: CreateMultipartUploadInput) -> Self {
        let CreateMultipartUploadInput { file_name, content_type, byte_size, sha256 } = input;
        Self { file_name, content_type, byte_size: byte_size.into(), sha256 }
    }
}
