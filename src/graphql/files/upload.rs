//! Uploads: where the bytes of an attachment go, and what became of them.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::attachment::Attachment;
use crate::blobs::Presigned;
use crate::domain::files::uploads::{NewUpload, PART_BYTES, Remaining, UploadPart as PartOfUpload};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::{DateTime, parse_id};

#[derive(SimpleObject)]
pub struct UploadHeader {
    name: String,
    value: String,
}

/// A part of a file, from byte `(number - 1) * partBytes` on.
#[derive(SimpleObject)]
pub struct UploadPart {
    /// 1, 2, 3, … in the file's order.
    number: i32,
    byte_size: i32,
    /// Send the part's bytes here with `method` and exactly these headers.
    url: String,
    method: &'static str,
    headers: Vec<UploadHeader>,
}

#[derive(InputObject)]
pub struct CreateUploadInput {
    /// 1 to 255 bytes; a path before it is left out.
    file_name: String,
    /// Such as image/jpeg; parameters are left out. What is uploaded must be of this type.
    content_type: String,
    /// Exactly as many, and no more than `serverInfo.maxUploadBytes`.
    byte_size: i32,
    /// SHA-256 of the file, 64 hexadecimal digits: nothing else can then be uploaded.
    sha256: Option<String>,
}

#[derive(SimpleObject)]
pub struct CreateUploadPayload {
    attachment: Attachment,
    /// Send the bytes here with `method` and exactly these headers.
    url: String,
    method: &'static str,
    headers: Vec<UploadHeader>,
    expires_at: DateTime,
}

#[derive(InputObject)]
pub struct CreateMultipartUploadInput {
    /// 1 to 255 bytes; a path before it is left out.
    file_name: String,
    /// Such as video/mp4; parameters are left out. What is uploaded must be of this type.
    content_type: String,
    /// Exactly as many, and no more than `serverInfo.maxUploadBytes`.
    byte_size: i32,
    /// SHA-256 of the file, 64 hexadecimal digits: it is REJECTED where it has another.
    sha256: Option<String>,
}

#[derive(SimpleObject)]
pub struct CreateMultipartUploadPayload {
    attachment: Attachment,
    /// Bytes of each part but the last.
    part_bytes: i32,
    /// In any order, and several at once.
    parts: Vec<UploadPart>,
    expires_at: DateTime,
}

#[derive(InputObject)]
pub struct ResumeUploadInput {
    attachment_id: ID,
}

#[derive(SimpleObject)]
pub struct ResumeUploadPayload {
    attachment: Attachment,
    /// The numbers of the parts that are there.
    uploaded: Vec<i32>,
    /// Bytes of each part but the last.
    part_bytes: i32,
    /// Those that are missing, with fresh addresses. A file that was to be sent in one request is one part.
    parts: Vec<UploadPart>,
    expires_at: DateTime,
}

#[derive(InputObject)]
pub struct CompleteUploadInput {
    attachment_id: ID,
}

#[derive(SimpleObject)]
pub struct CompleteUploadPayload {
    attachment: Attachment,
}

#[derive(Default)]
pub struct UploadMutation;

#[Object]
impl UploadMutation {
    /// For a file that goes in one request, within 15 minutes. From 16 MiB on `createMultipartUpload` is the better way,
    /// which can be resumed.
    async fn create_upload(&self, ctx: &Context<'_>, input: CreateUploadInput) -> Result<CreateUploadPayload> {
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

    /// For a file that goes in parts of 16 MiB, each by a request of its own. `resumeUpload` goes on with one that broke
    /// off, on any device.
    async fn create_multipart_upload(
        &self,
        ctx: &Context<'_>,
        input: CreateMultipartUploadInput,
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

    /// What an upload lacks that broke off, or whose addresses have expired.
    async fn resume_upload(&self, ctx: &Context<'_>, input: ResumeUploadInput) -> Result<ResumeUploadPayload> {
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

    /// Checks what was stored: size, type by content. READY or REJECTED, and the same when asked again. CONFLICT where
    /// it is not there yet, or not all of it.
    async fn complete_upload(&self, ctx: &Context<'_>, input: CompleteUploadInput) -> Result<CompleteUploadPayload> {
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
