//! Uploads: from the wish to send a file to an attachment that can be sent. The bytes go to S3, past the server.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::core::FilesCore;
use super::files::{self, Object, part_sizes};
use crate::blobs::{Presigned, Upload};
use crate::config::MAX_EXAMINATION;
use crate::domain::error::{Error, Result};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::fair::Gone;
use crate::ids::AttachmentId;
use crate::limiter::Rate;
use crate::log::Transaction;
use crate::store::files::attachments::{self, Attachment, AttachmentState};
use crate::store::people::users;

/// How long the addresses of an upload are good.
const URL_TTL: Duration = Duration::from_mins(15);
/// When an upload has been over for so long, nothing is written to its addresses any more, and what was goes: once they
/// are no longer good, and a request begun in their last moment had as long again.
pub(super) const REMNANTS: Duration = Duration::from_mins(30);
/// Bytes of each part but the last. S3 takes parts from 5 MiB.
pub const PART_BYTES: usize = 16 * 1024 * 1024;
/// Uploads that a user has at once which are not complete, or were rejected lately.
const MAX_PENDING: i64 = 100;

/// How long a node has an upload to itself while it looks into it: so long waits a client whose node has died.
const CLAIM: Duration = Duration::from_mins(5);
/// What that may take at most, so that no node is still at it when another begins.
pub(super) const EXAMINATION: Duration = Duration::from_secs(MAX_EXAMINATION);
/// How long one who completes an upload waits for another who does.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks whether the other is done.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

const NO_ATTACHMENT: Error = Error::NotFound("No such attachment.");

pub struct Uploads<'a> {
    pub(in crate::domain) core: &'a Arc<FilesCore>,
}

#[derive(Debug)]
pub struct NewUpload {
    pub file_name: String,
    pub content_type: String,
    pub byte_size: i64,
    /// In hexadecimal digits.
    pub sha256: Option<String>,
}

/// An upload in one request.
#[derive(Debug)]
pub struct Started {
    pub attachment: Attachment,
    pub request: Presigned,
    pub expires_at: DateTime<Utc>,
}

/// What is still to be uploaded, in parts.
#[derive(Debug)]
pub struct Remaining {
    pub attachment: Attachment,
    /// The numbers of the parts that are there.
    pub uploaded: Vec<i32>,
    pub parts: Vec<UploadPart>,
    pub expires_at: DateTime<Utc>,
}

#[derive(Debug)]
pub struct UploadPart {
    /// From 1.
    pub number: i32,
    pub byte_size: i64,
    pub request: Presigned,
}

impl Uploads<'_> {
    /// Bytes that a file may have, whatever its kind.
    pub fn max_bytes(&self) -> i64 {
        self.core.files.settings.max_upload_bytes
    }

    /// Numbers of files that this node inspects, and of files that wait for it.
    pub fn inspection_load(&self) -> (usize, usize) {
        self.core.files.load()
    }

    /// For an upload in one request.
    pub async fn create(&self, viewer: Viewer, new: NewUpload) -> Result<Started> {
        let row = self.checked(viewer, new)?;
        self.core.base.take(Rate::Uploads, viewer, 1)?;
        let request = self.presign(&row).await?;
        self.insert(viewer, &row).await?;
        Ok(Started { expires_at: self.expires_at(), attachment: row, request })
    }

    /// For an upload in parts, which can be resumed.
    pub async fn create_multipart(&self, viewer: Viewer, new: NewUpload) -> Result<Remaining> {
        let mut row = self.checked(viewer, new)?;
        self.core.base.take(Rate::Uploads, viewer, 1)?;
        let blobs = &self.core.files.blobs;
        let key = Object::Upload.key(row.id);
        let upload_id = blobs.create_multipart(&key, &row.content_type).await?;
        row.upload_id = Some(upload_id.clone());
        let inserted = self.insert(viewer, &row).await;
        if let Err(error) = inserted {
            if let Err(error) = blobs.abort_multipart(&key, &upload_id).await {
                tracing::warn!(%error, key, "an upload in parts that nobody has is not aborted");
            }
            return Err(error);
        }
        self.remaining(row, Vec::new()).await
    }

    /// What a broken upload lacks, with fresh addresses. One that was to be made in one request is one part.
    pub async fn resume(&self, viewer: Viewer, id: AttachmentId) -> Result<Remaining> {
        // First, so that it is there as long as the addresses are good.
        let row = keep(self.core, viewer, id).await?.ok_or(NO_ATTACHMENT)?;
        if row.state != AttachmentState::Pending {
            return Err(Error::invalid("attachmentId", "This upload is complete."));
        }
        let blobs = &self.core.files.blobs;
        let key = Object::Upload.key(id);
        let uploaded = match &row.upload_id {
            Some(upload_id) => match blobs.list_parts(&key, upload_id).await? {
                Some(parts) => part_sizes(row.byte_size)
                    .into_iter()
                    .filter(|&(number, size)| files::is_there(&parts, number, size))
                    .map(|(number, _)| number)
                    .collect(),
                None => self.put_together(&row).await?,
            },
            None => match blobs.head(&key).await? {
                Some(head) if head.byte_size == row.byte_size.unsigned_abs() => vec![1],
                _ => Vec::new(),
            },
        };
        self.remaining(row, uploaded).await
    }

    /// All of its parts. They are one already, or will be soon where somebody has claimed the upload.
    async fn put_together(&self, row: &Attachment) -> Result<Vec<i32>> {
        if row.claimed_until.is_none_or(|until| until <= self.core.base.now()) {
            self.core.files.not_lost(row.id).await?;
        }
        Ok(part_sizes(row.byte_size).into_iter().map(|(number, _)| number).collect())
    }

    /// Looks into what was uploaded: READY or REJECTED. Once more it answers the same.
    pub async fn complete(&self, viewer: Viewer, id: AttachmentId, gone: &Gone) -> Result<Attachment> {
        let asked = Instant::now();
        loop {
            let mut connection = self.core.base.connection().await?;
            if let Some(claimed) = attachments::claim(&mut connection, viewer.user, id, CLAIM).await? {
                drop(connection);
                return self.examine(viewer, claimed, gone).await;
            }
            let row = attachments::own(&mut connection, viewer.user, id).await?.ok_or(NO_ATTACHMENT)?;
            if row.state != AttachmentState::Pending {
                return Ok(row);
            }
            if asked.elapsed() >= PATIENCE {
                return Err(Error::Overloaded("This file is still being looked at. Ask again in a moment."));
            }
            drop(connection);
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn examine(&self, viewer: Viewer, claimed: Attachment, gone: &Gone) -> Result<Attachment> {
        let files = &self.core.files;
        let slow = Error::Overloaded("It takes too long to look into this file. Try again in a moment.");
        let examined = tokio::time::timeout(EXAMINATION, files.examine(&claimed, (viewer.user, gone))).await;
        let done = match examined.unwrap_or(Err(slow)) {
            Ok(done) => done,
            Err(error) => {
                // It is PENDING as before, and the client may try again.
                attachments::release(&mut *self.core.base.connection().await?, &claimed).await?;
                return Err(error);
            }
        };
        let mut tx = self.core.base.log.begin().await?;
        let written = finish_in(&mut tx, &done, files.settings.attachment_grace).await;
        if !tx.finish(written).await? {
            let row = attachments::own(&mut *self.core.base.connection().await?, viewer.user, done.id).await?;
            return row.ok_or(NO_ATTACHMENT);
        }
        // What is left here, or stored once more by an address that is still good, the sweep removes.
        let removed = match done.state {
            AttachmentState::Rejected => files.remove(std::slice::from_ref(&claimed)).await,
            _ => files.blobs.delete(&[Object::Upload.key(done.id)]).await,
        };
        if let Err(error) = removed {
            tracing::warn!(%error, id = %done.id, "what was uploaded is not removed yet");
        }
        Ok(Attachment { claimed_until: None, upload_id: None, ..done })
    }

    fn checked(&self, viewer: Viewer, new: NewUpload) -> Result<Attachment> {
        let mut check = Check::default();
        let file_name = check.file_name(&new.file_name);
        let content_type = check.content_type(&new.content_type);
        let sha256 = new.sha256.map(|text| check.sha256(&text));
        let kind = files::declared_kind(&content_type);
        let max = self.core.files.max_bytes(kind);
        if new.byte_size < 1 {
            check.fail("byteSize", "A file has one byte at least.");
        } else if new.byte_size > max {
            check.fail("byteSize", files::too_large(kind, max));
        }
        check.done()?;
        let now = self.core.base.now();
        Ok(Attachment {
            id: AttachmentId::new(now, &self.core.base.random),
            uploader_id: Some(viewer.user),
            state: AttachmentState::Pending,
            kind,
            file_name,
            content_type,
            byte_size: new.byte_size,
            sha256,
            upload_id: None,
            width: None,
            height: None,
            duration_ms: None,
            blurhash: None,
            waveform: None,
            has_thumbnails: false,
            squared: false,
            rejection: None,
            created_at: now,
            claimed_until: None,
            going_until: None,
        })
    }

    async fn insert(&self, viewer: Viewer, row: &Attachment) -> Result<()> {
        let mut tx = self.core.base.log.begin().await?;
        let quota = self.core.files.settings.storage_quota_bytes;
        let done = insert_in(&mut tx, viewer, row, quota).await;
        tx.finish(done).await
    }

    /// The one request that stores all of it.
    async fn presign(&self, row: &Attachment) -> Result<Presigned> {
        let upload = Upload {
            key: &Object::Upload.key(row.id),
            content_type: &row.content_type,
            byte_size: row.byte_size.unsigned_abs(),
            sha256: row.sha256.as_deref().and_then(|bytes| bytes.try_into().ok()),
        };
        Ok(self.core.files.blobs.presign_put(&upload, URL_TTL).await?)
    }

    async fn remaining(&self, attachment: Attachment, uploaded: Vec<i32>) -> Result<Remaining> {
        let mut parts = Vec::new();
        match &attachment.upload_id {
            Some(upload_id) => {
                let (blobs, key) = (&self.core.files.blobs, Object::Upload.key(attachment.id));
                for (number, byte_size) in part_sizes(attachment.byte_size) {
                    if !uploaded.contains(&number) {
                        let size = byte_size.unsigned_abs();
                        let request = blobs.presign_part(&key, upload_id, number, size, URL_TTL).await?;
                        parts.push(UploadPart { number, byte_size, request });
                    }
                }
            }
            None if uploaded.is_empty() => {
                let request = self.presign(&attachment).await?;
                parts.push(UploadPart { number: 1, byte_size: attachment.byte_size, request });
            }
            None => {}
        }
        Ok(Remaining { expires_at: self.expires_at(), attachment, uploaded, parts })
    }

    fn expires_at(&self) -> DateTime<Utc> {
        self.core.base.now() + URL_TTL
    }
}

/// The viewer's own, which the sweep leaves alone for half of the grace at least. None where it is going.
pub(super) async fn keep(core: &FilesCore, viewer: Viewer, id: AttachmentId) -> Result<Option<Attachment>> {
    let grace = core.files.settings.attachment_grace;
    let mut tx = core.base.log.begin().await?;
    let kept = attachments::keep(tx.conn(), viewer.user, id, grace).await.map_err(Error::from);
    tx.finish(kept).await
}

async fn insert_in(tx: &mut Transaction<'_>, viewer: Viewer, row: &Attachment, quota: i64) -> Result<()> {
    // One at a time, so that they are counted right.
    users::lock(tx.conn(), viewer.user).await?;
    let usage = attachments::usage(tx.conn(), viewer.user).await?;
    if usage.pending >= MAX_PENDING {
        let message = format!(
            "At most {MAX_PENDING} uploads can be under way or lately rejected. Complete some of them, or wait a while."
        );
        return Err(Error::invalid("input", message));
    }
    if quota > 0 && usage.bytes + row.byte_size > quota {
        let message = format!("Your files have at most {quota} bytes together, and {} are left.", quota - usage.bytes);
        return Err(Error::invalid("byteSize", message));
    }
    attachments::insert(tx.conn(), row).await?;
    Ok(())
}

/// It is kept for a while from now on, until it is sent.
async fn finish_in(tx: &mut Transaction<'_>, done: &Attachment, grace: Duration) -> Result<bool> {
    let written = attachments::finish(tx.conn(), done).await?;
    if written {
        attachments::look(tx.conn(), done.id).await?;
        attachments::look_soon(tx.conn(), done.id, REMNANTS, grace).await?;
    }
    Ok(written)
}
