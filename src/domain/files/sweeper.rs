//! Removes attachments that nothing refers to: they were never completed, never sent or rejected, or their last message
//! is deleted. Each one is removed by one node.

use std::sync::Arc;
use std::time::Duration;

use diesel_async::AsyncConnection as _;
use tracing::{info, warn};

use super::files::Files;
use super::objects::Object;
use super::uploads::REMNANTS;
use crate::config::ATTACHMENT_GRACE;
use crate::error::{Error, Result};
use crate::ids::AttachmentId;
use crate::store::files::attachment_sweep as sweep;
use crate::store::files::attachments::{Attachment, AttachmentState};
use crate::store::{Connection, Database};

/// Maximum number of attachments that one transaction checks.
const BATCH: i64 = 100;
/// Time for which a node claims the attachments that it removes. After that, another node takes them over.
const CLAIM: Duration = Duration::from_mins(5);
/// Number of consecutive attachments without an answer from S3 after which S3 counts as unavailable.
const AWAY: usize = 3;

pub(in crate::domain) struct Sweep {
    pub(in crate::domain) database: Database,
    pub(in crate::domain) files: Arc<Files>,
}

/// The result of a batch of due looks at attachments.
#[derive(Default)]
struct Decided {
    /// Number of looks that are done.
    looks: usize,
    /// Attachments that this node has to remove.
    going: Vec<Attachment>,
    staying: Staying,
}

/// Attachments that stay. Their uploads are over, so the uploaded objects are deleted.
#[derive(Default)]
struct Staying {
    attachments: Vec<AttachmentId>,
    /// Their due looks, postponed by `CLAIM`.
    looks: Vec<i64>,
}

impl Sweep {
    /// Sweeps now, and then periodically.
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
            let left = sweep::take_over(&mut *self.database.connection().await?, CLAIM, BATCH).await?;
            if left.is_empty() {
                break;
            }
            self.remove(&left).await?;
        }
        loop {
            let mut connection = self.database.connection().await?;
            let decided = connection.transaction(async |conn| decide(conn).await).await?;
            drop(connection);
            let cleared = self.clear(&decided.staying).await;
            self.remove(&decided.going).await?;
            cleared?;
            if decided.looks == 0 {
                return Ok(());
            }
        }
    }

    /// Deletes the uploaded objects of attachments that stay, then their looks. If S3 fails or this node dies in between,
    /// the looks are due again after `CLAIM`.
    async fn clear(&self, staying: &Staying) -> Result<()> {
        let uploads: Vec<_> = staying.attachments.iter().map(|&id| Object::Upload.key(id)).collect();
        if uploads.is_empty() {
            return Ok(());
        }
        self.files.blobs.delete(&uploads).await?;
        Ok(sweep::delete_looks(&mut *self.database.connection().await?, &staying.looks).await?)
    }

    /// Deletes the objects before the rows: a row without objects is found again, but objects without a row are not.
    async fn remove(&self, going: &[Attachment]) -> Result<()> {
        if going.is_empty() {
            return Ok(());
        }
        let ids = match self.files.remove(going).await {
            Ok(()) => going.iter().map(|row| row.id).collect(),
            Err(error) => self.remove_singly(going, error).await?,
        };
        let removed = sweep::delete(&mut *self.database.connection().await?, &ids).await?;
        info!(removed, "removed unused attachments");
        Ok(())
    }

    /// Deletes the objects of one attachment after another, so that a failure does not stop the others. Returns the
    /// attachments without failure; the others are retried after `CLAIM`. Returns `error` if S3 is unavailable.
    async fn remove_singly(&self, going: &[Attachment], error: Error) -> Result<Vec<AttachmentId>> {
        let mut removed = Vec::new();
        let mut away = 0;
        for row in going {
            let result = self.files.remove(std::slice::from_ref(row)).await;
            away = if matches!(result, Err(Error::S3Unavailable(_))) { away + 1 } else { 0 };
            match result {
                Ok(()) => removed.push(row.id),
                Err(error) => warn!(%error, id = %row.id, "could not delete an attachment; trying again later"),
            }
            if away == AWAY {
                break;
            }
        }
        if removed.is_empty() && away > 0 { Err(error) } else { Ok(removed) }
    }
}

/// Decides which attachments go and which stay. Attachments that a transaction has locked are left for the next sweep.
async fn decide(conn: &mut Connection) -> Result<Decided> {
    let looks = sweep::claim_candidates(conn, ATTACHMENT_GRACE, BATCH).await?;
    if looks.is_empty() {
        return Ok(Decided::default());
    }
    let ids: Vec<_> = looks.iter().map(|look| look.attachment_id).collect();
    let taken = sweep::take(conn, &ids).await?;
    // Checked after the rows are locked, because no transaction can add a reference to them now.
    let taken_ids: Vec<_> = taken.iter().map(|row| row.id).collect();
    let going = sweep::mark_deleting(conn, &taken_ids, ATTACHMENT_GRACE, REMNANTS, CLAIM).await?;
    let there = sweep::existing(conn, &ids).await?;
    let stays = |row: &&Attachment| {
        row.state != AttachmentState::Pending && row.going_until.is_none() && going.iter().all(|gone| gone.id != row.id)
    };
    let mut staying =
        Staying { attachments: taken.iter().filter(stays).map(|row| row.id).collect(), looks: Vec::new() };
    let mut done = Vec::new();
    for look in &looks {
        let id = &look.attachment_id;
        if staying.attachments.contains(id) {
            staying.looks.push(look.id);
        } else if taken_ids.contains(id) || !there.contains(id) {
            done.push(look.id);
        }
    }
    sweep::delete_looks(conn, &done).await?;
    sweep::postpone_looks(conn, &staying.looks, CLAIM, ATTACHMENT_GRACE).await?;
    Ok(Decided { looks: done.len() + staying.looks.len(), going, staying })
}
