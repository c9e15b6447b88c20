//! Uploads: from the request for an upload to an attachment that can be sent. Clients send the bytes directly to S3.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::core::FilesCore;
use super::files;
use super::objects::Object;
use super::parts::{is_stored, part_sizes};
use crate::blobs::{Presigned, Upload};
use crate::config::{ATTACHMENT_GRACE, MAX_EXAMINATION};
use crate::domain::error::{Error, Result};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::fair::Gone;
use crate::ids::AttachmentId;
use crate::limiter::Rate;
use crate::log::Transaction;
use crate::store::files::attachments::{self, Attachment, AttachmentState};
use crate::store::people::users;

/// Time for which the URLs of an upload are valid.
const URL_TTL: Duration = Duration::from_mins(15);
/// Time between the end of an upload and the deletion of the uploaded object. After this time, no client can write to
/// the object: the time covers the validity of the URLs, and the same time again for a request that starts just before
/// a URL expires.
pub(super) const CLEANUP_DELAY: Duration = Duration::from_mins(30);
/// Maximum number of uploads of one user that are not complete or were rejected recently.
const MAX_PENDING: i64 = 100;

/// Time for which a node claims an upload to examine it. If the node dies, the client cannot complete the upload before
/// the claim expires.
const CLAIM_DURATION: Duration = Duration::from_mins(5);
/// Maximum time for an examination. It is less than `CLAIM_DURATION`, so that two nodes never examine an upload at the
/// same time.
pub(super) const EXAMINATION_TIMEOUT: Duration = Duration::from_secs(MAX_EXAMINATION);
/// Maximum time that a request to complete an upload waits while another request examines the upload.
const MAX_COMPLETION_WAIT: Duration = Duration::from_secs(20);
/// Poll interval of a request that waits while another request examines the upload.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

const NO_ATTACHMENT: Error = Error::NotFound("No such attachment. Upload the file again.");

pub struct Uploads<'a> {
    pub(in crate::domain) core: &'a Arc<FilesCore>,
}

#[derive(Debug)]
pub struct NewUpload {
    pub file_name: String,
    pub content_type: String,
    pub byte_size: i64,
    /// SHA-256 of the file in hexadecimal digits, if the client has declared it.
    pub sha256: Option<String>,
}

/// A new upload that the client sends in one request.
#[derive(Debug)]
pub struct Started {
    pub attachment: Attachment,
    pub request: Presigned,
    pub expires_at: DateTime<Utc>,
}

/// State of an upload: the parts that are stored, and the parts that are missing.
#[derive(Debug)]
pub struct Remaining {
    pub attachment: Attachment,
    /// Numbers of the parts that are stored.
    pub uploaded: Vec<i32>,
    /// The parts that are missing, with the requests to upload them.
    pub parts: Vec<UploadPart>,
    pub expires_at: DateTime<Utc>,
}

#[derive(Debug)]
pub struct UploadPart {
    /// Number of the part, from 1.
    pub number: i32,
    pub byte_size: i64,
    pub request: Presigned,
}

impl Uploads<'_> {
    /// Returns the maximum size of a file of any kind in bytes.
    pub fn max_bytes(&self) -> i64 {
        self.core.files.settings.max_upload_bytes
    }

    /// Returns the number of files that this node examines, and the number of files that wait for examination.
    pub fn inspection_load(&self) -> (usize, usize) {
        self.core.files.load()
    }

    /// Starts an upload in one request.
    pub async fn create(&self, viewer: Viewer, new: NewUpload) -> Result<Started> {
        let row = self.validate(viewer, new)?;
        self.core.base.check_rate(Rate::Uploads, viewer, 1)?;
        let request = self.presign(&row).await?;
        self.insert(viewer, &row).await?;
        Ok(Started { expires_at: self.expires_at(), attachment: row, request })
    }

    /// Starts an upload in parts, which can be resumed.
    pub async fn create_multipart(&self, viewer: Viewer, new: NewUpload) -> Result<Remaining> {
        let mut row = self.validate(viewer, new)?;
        self.core.base.check_rate(Rate::Uploads, viewer, 1)?;
        let blobs = &self.core.files.blobs;
        let key = Object::Upload.key(row.id);
        let upload_id = blobs.create_multipart(&key, &row.content_type).await?;
        row.upload_id = Some(upload_id.clone());
        let inserted = self.insert(viewer, &row).await;
        if let Err(error) = inserted {
            if let Err(error) = blobs.abort_multipart(&key, &upload_id).await {
                tracing::warn!(%error, key, "could not abort an unused multipart upload");
            }
            return Err(error);
        }
        self.remaining(row, Vec::new()).await
    }

    /// Returns the missing parts of an interrupted upload, with new URLs. An upload in one request counts as one part.
    pub async fn resume(&self, viewer: Viewer, id: AttachmentId) -> Result<Remaining> {
        // The attachment is protected first, so that the sweeper does not remove it while the URLs are valid.
        let row = protect(self.core, viewer, id).await?.ok_or(NO_ATTACHMENT)?;
        if row.state != AttachmentState::Pending {
            return Err(Error::invalid("attachmentId", "This upload is complete."));
        }
        let blobs = &self.core.files.blobs;
        let key = Object::Upload.key(id);
        let uploaded = match &row.upload_id {
            Some(upload_id) => match blobs.list_parts(&key, upload_id).await? {
                Some(parts) => part_sizes(row.byte_size)
                    .into_iter()
                    .filter(|&(number, size)| is_stored(&parts, number, size))
                    .map(|(number, _)| number)
                    .collect(),
                None => self.joined_parts(&row).await?,
            },
            None => match blobs.head(&key).await? {
                Some(head) if head.byte_size == row.byte_size.unsigned_abs() => vec![1],
                _ => Vec::new(),
            },
        };
        self.remaining(row, uploaded).await
    }

    /// Returns the numbers of all parts of an upload whose parts S3 no longer lists, because they are joined. Returns
    /// CONFLICT if the joined file is lost. Does not check an upload that a request has claimed, because that request
    /// might be joining the parts.
    async fn joined_parts(&self, row: &Attachment) -> Result<Vec<i32>> {
        if row.claimed_until.is_none_or(|until| until <= self.core.base.now()) {
            self.core.files.check_not_lost(row.id).await?;
        }
        Ok(part_sizes(row.byte_size).into_iter().map(|(number, _)| number).collect())
    }

    /// Examines the uploaded file and makes the attachment READY or REJECTED. A repeated call returns the same result.
    pub async fn complete(&self, viewer: Viewer, id: AttachmentId, gone: &Gone) -> Result<Attachment> {
        let started = Instant::now();
        loop {
            let mut connection = self.core.base.connection().await?;
            if let Some(claimed) = attachments::claim(&mut connection, viewer.user, id, CLAIM_DURATION).await? {
                drop(connection);
                return self.examine(viewer, claimed, gone).await;
            }
            let row = attachments::own(&mut connection, viewer.user, id).await?.ok_or(NO_ATTACHMENT)?;
            if row.state != AttachmentState::Pending {
                return Ok(row);
            }
            if started.elapsed() >= MAX_COMPLETION_WAIT {
                return Err(Error::Overloaded("This file is still being examined. Try again in a moment."));
            }
            drop(connection);
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn examine(&self, viewer: Viewer, claimed: Attachment, gone: &Gone) -> Result<Attachment> {
        let files = &self.core.files;
        let slow = Error::Overloaded("The examination of this file takes too long. Try again in a moment.");
        let examined = tokio::time::timeout(EXAMINATION_TIMEOUT, files.examine(&claimed, (viewer.user, gone))).await;
        let done = match examined.unwrap_or(Err(slow)) {
            Ok(done) => done,
            Err(error) => {
                // The attachment stays PENDING, so that the client can retry.
                attachments::release(&mut *self.core.base.connection().await?, &claimed).await?;
                return Err(error);
            }
        };
        let log = &self.core.base.log;
        if !log.transaction(async |tx| store_examined(tx, &done).await).await? {
            let row = attachments::own(&mut *self.core.base.connection().await?, viewer.user, done.id).await?;
            return row.ok_or(NO_ATTACHMENT);
        }
        // The sweeper removes objects that cannot be deleted here, and objects that clients write later to URLs that
        // are still valid.
        let removed = match done.state {
            AttachmentState::Rejected => files.remove(std::slice::from_ref(&claimed)).await,
            _ => files.blobs.delete(&[Object::Upload.key(done.id)]).await,
        };
        if let Err(error) = removed {
            tracing::warn!(%error, id = %done.id, "could not delete the objects of an upload; the sweeper tries again");
        }
        Ok(Attachment { claimed_until: None, upload_id: None, ..done })
    }

    fn validate(&self, viewer: Viewer, new: NewUpload) -> Result<Attachment> {
        let mut check = Check::default();
        let file_name = check.file_name(&new.file_name);
        let content_type = check.content_type(&new.content_type);
        let sha256 = new.sha256.map(|text| check.sha256(&text));
        let kind = files::declared_kind(&content_type);
        let max = self.core.files.max_bytes(kind);
        if new.byte_size < 1 {
            check.fail("byteSize", "A file must have at least one byte.");
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
        let (log, quota) = (&self.core.base.log, self.core.files.settings.storage_quota_bytes);
        log.transaction(async |tx| insert_within_quota(tx, viewer, row, quota).await).await
    }

    /// Returns the request that uploads the whole file.
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

/// Protects an attachment of the viewer from the sweeper for at least half of the grace period, and returns the
/// attachment. Returns None if the viewer has no such attachment, or if the sweeper is removing it.
pub(super) async fn protect(core: &FilesCore, viewer: Viewer, id: AttachmentId) -> Result<Option<Attachment>> {
    let log = &core.base.log;
    log.transaction(async |tx| Ok(attachments::protect(tx.conn(), viewer.user, id, ATTACHMENT_GRACE).await?)).await
}

async fn insert_within_quota(tx: &mut Transaction<'_>, viewer: Viewer, row: &Attachment, quota: i64) -> Result<()> {
    // The lock serialises the viewer's requests, so that concurrent requests cannot exceed the limits.
    users::lock(tx.conn(), viewer.user).await?;
    let usage = attachments::usage(tx.conn(), viewer.user).await?;
    if usage.pending >= MAX_PENDING {
        let message = format!(
            "You can have at most {MAX_PENDING} incomplete or recently rejected uploads. Complete some of them, or wait."
        );
        return Err(Error::invalid("input", message));
    }
    if quota > 0 && usage.bytes + row.byte_size > quota {
        let message = format!("Your files can have {quota} bytes in total, and {} are left.", quota - usage.bytes);
        return Err(Error::invalid("byteSize", message));
    }
    attachments::insert(tx.conn(), row).await?;
    Ok(())
}

/// Stores the result of an examination and returns true, or returns false if the claim is lost. After a result is
/// stored, the sweeper checks the attachment twice: after `CLEANUP_DELAY`, to delete the uploaded object, and after the
/// grace period, to remove the attachment if nothing uses it.
async fn store_examined(tx: &mut Transaction<'_>, done: &Attachment) -> Result<bool> {
    let written = attachments::finish(tx.conn(), done).await?;
    if written {
        attachments::add_sweep_candidate(tx.conn(), done.id).await?;
        attachments::add_early_sweep_candidate(tx.conn(), done.id, CLEANUP_DELAY, ATTACHMENT_GRACE).await?;
    }
    Ok(written)
}
