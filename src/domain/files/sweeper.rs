//! Removes attachments that nothing refers to: incomplete, rejected or unsent uploads, and attachments whose last
//! message is deleted. Only one node removes each attachment.

use std::sync::Arc;
use std::time::Duration;

use diesel_async::AsyncConnection as _;
use tracing::{info, warn};

use super::files::Files;
use super::objects::Object;
use super::uploads::CLEANUP_DELAY;
use crate::config::ATTACHMENT_GRACE;
use crate::error::{Error, Result};
use crate::ids::AttachmentId;
use crate::store::files::attachment_sweep as sweep;
use crate::store::files::attachments::{Attachment, AttachmentState};
use crate::store::{Connection, Database};

/// Maximum number of attachments that one transaction checks.
const BATCH_SIZE: i64 = 100;
/// Time for which a node claims the attachments that it removes. After that time, another node can claim these
/// attachments.
const CLAIM_DURATION: Duration = Duration::from_mins(5);
/// Number of consecutive attachments that cannot be deleted because S3 is unavailable. After that number, the remaining
/// attachments of the batch are left for a later sweep.
const MAX_FAILURES: usize = 3;

pub(in crate::domain) struct Sweep {
    pub(in crate::domain) database: Database,
    pub(in crate::domain) files: Arc<Files>,
}

/// The decisions about a batch of candidates: attachments for which a check is due.
#[derive(Default)]
struct Decisions {
    /// Number of candidates about which a decision was made.
    decided: usize,
    /// Attachments that this node has to remove.
    to_remove: Vec<Attachment>,
    to_keep: KeptAttachments,
}

/// Attachments that are kept. Their uploads have ended, so the uploaded objects are deleted.
#[derive(Default)]
struct KeptAttachments {
    attachments: Vec<AttachmentId>,
    /// Ids of the candidates of these attachments, postponed by `CLAIM_DURATION`.
    candidates: Vec<i64>,
}

impl Sweep {
    /// Sweeps now, and then once in each interval.
    pub(in crate::domain) async fn run(self) {
        let interval = self.files.settings.attachment_sweep_interval;
        loop {
            if let Err(error) = self.sweep().await {
                warn!(%error, after = ?interval, "removing attachments failed; trying again");
            }
            tokio::time::sleep(interval).await;
        }
    }

    async fn sweep(&self) -> Result<()> {
        loop {
            let abandoned =
                sweep::claim_abandoned(&mut *self.database.connection().await?, CLAIM_DURATION, BATCH_SIZE).await?;
            if abandoned.is_empty() {
                break;
            }
            self.remove(&abandoned).await?;
        }
        loop {
            let mut connection = self.database.connection().await?;
            let decisions = connection.transaction(async |conn| decide(conn).await).await?;
            drop(connection);
            let deleted = self.delete_uploads(&decisions.to_keep).await;
            self.remove(&decisions.to_remove).await?;
            deleted?;
            if decisions.decided == 0 {
                return Ok(());
            }
        }
    }

    /// Deletes the uploaded objects of kept attachments, and then the candidates of these attachments. If S3 fails or
    /// this node dies before the end, the candidates are due again after `CLAIM_DURATION`.
    async fn delete_uploads(&self, to_keep: &KeptAttachments) -> Result<()> {
        let uploads: Vec<_> = to_keep.attachments.iter().map(|&id| Object::Upload.key(id)).collect();
        if uploads.is_empty() {
            return Ok(());
        }
        self.files.blobs.delete(&uploads).await?;
        Ok(sweep::delete_candidates(&mut *self.database.connection().await?, &to_keep.candidates).await?)
    }

    /// Removes attachments. Deletes the objects before the rows: after a failure, a later sweep finds a row without
    /// objects, but cannot find objects without a row.
    async fn remove(&self, to_remove: &[Attachment]) -> Result<()> {
        if to_remove.is_empty() {
            return Ok(());
        }
        let ids = match self.files.remove(to_remove).await {
            Ok(()) => to_remove.iter().map(|row| row.id).collect(),
            Err(error) => self.remove_individually(to_remove, error).await?,
        };
        let removed = sweep::delete(&mut *self.database.connection().await?, &ids).await?;
        info!(removed, "removed unused attachments");
        Ok(())
    }

    /// Deletes the objects of one attachment after another, so that a failure for one attachment does not stop the
    /// deletion for other attachments. Returns the ids of the attachments whose objects are deleted. The other
    /// attachments are retried after `CLAIM_DURATION`. Returns `error` if S3 is unavailable and no objects were
    /// deleted.
    async fn remove_individually(&self, to_remove: &[Attachment], error: Error) -> Result<Vec<AttachmentId>> {
        let mut removed = Vec::new();
        let mut failures = 0;
        for row in to_remove {
            let result = self.files.remove(std::slice::from_ref(row)).await;
            failures = if matches!(result, Err(Error::S3Unavailable(_))) { failures + 1 } else { 0 };
            match result {
                Ok(()) => removed.push(row.id),
                Err(error) => warn!(%error, id = %row.id, "could not delete an attachment; trying again later"),
            }
            if failures == MAX_FAILURES {
                break;
            }
        }
        if removed.is_empty() && failures > 0 { Err(error) } else { Ok(removed) }
    }
}

/// Decides which attachments are removed and which are kept. Attachments that another transaction has locked are left
/// for a later sweep.
async fn decide(conn: &mut Connection) -> Result<Decisions> {
    let candidates = sweep::claim_candidates(conn, ATTACHMENT_GRACE, BATCH_SIZE).await?;
    if candidates.is_empty() {
        return Ok(Decisions::default());
    }
    let ids: Vec<_> = candidates.iter().map(|candidate| candidate.attachment_id).collect();
    let locked = sweep::lock_unclaimed(conn, &ids).await?;
    // References are checked after the rows are locked, because then no transaction can add a reference to these rows.
    let locked_ids: Vec<_> = locked.iter().map(|row| row.id).collect();
    let to_remove = sweep::mark_deleting(conn, &locked_ids, ATTACHMENT_GRACE, CLEANUP_DELAY, CLAIM_DURATION).await?;
    let existing = sweep::existing(conn, &ids).await?;
    let is_kept = |row: &&Attachment| {
        row.state != AttachmentState::Pending
            && row.going_until.is_none()
            && to_remove.iter().all(|removed| removed.id != row.id)
    };
    let mut to_keep = KeptAttachments {
        attachments: locked.iter().filter(is_kept).map(|row| row.id).collect(),
        candidates: Vec::new(),
    };
    let mut done = Vec::new();
    for candidate in &candidates {
        let id = &candidate.attachment_id;
        if to_keep.attachments.contains(id) {
            to_keep.candidates.push(candidate.id);
        } else if locked_ids.contains(id) || !existing.contains(id) {
            done.push(candidate.id);
        }
    }
    sweep::delete_candidates(conn, &done).await?;
    sweep::postpone_candidates(conn, &to_keep.candidates, CLAIM_DURATION, ATTACHMENT_GRACE).await?;
    Ok(Decisions { decided: done.len() + to_keep.candidates.len(), to_remove, to_keep })
}
