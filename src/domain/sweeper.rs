//! Removes the attachments that nothing refers to: those never completed or sent, rejected, or whose last message is
//! gone. Each by one node, and none that anything still refers to.

use std::sync::Arc;
use std::time::Duration;

use diesel_async::AsyncConnection as _;
use tracing::{info, warn};

use super::files::{Files, Object};
use super::uploads::REMNANTS;
use crate::error::{Error, Result};
use crate::ids::AttachmentId;
use crate::store::attachments::{self, Attachment, AttachmentState};
use crate::store::{Connection, Database, attachment_sweep as sweep};

/// Attachments that are looked at in one transaction at most.
const BATCH: i64 = 100;
/// How long a node has to delete the objects of what it has taken, before another does.
const CLAIM: Duration = Duration::from_mins(5);
/// Attachments in a row that S3 has no answer for, after which it counts as away.
const AWAY: usize = 3;

pub(super) struct Sweep {
    pub(super) database: Database,
    pub(super) files: Arc<Files>,
}

/// What looks have come to.
#[derive(Default)]
struct Decided {
    looks: usize,
    /// This node's to remove.
    going: Vec<Attachment>,
    /// They stay. Their uploads have been over for a while, and what is left of these goes.
    staying: Vec<Attachment>,
}

impl Sweep {
    /// Begins at once.
    pub(super) async fn run(self) {
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
            let grace = self.files.settings.attachment_grace;
            let mut connection = self.database.connection().await?;
            let decided = connection.transaction(async |conn| decide(conn, grace).await).await?;
            drop(connection);
            let cleared = self.clear(&decided.staying).await;
            self.remove(&decided.going).await?;
            cleared?;
            if decided.looks == 0 {
                return Ok(());
            }
        }
    }

    /// What clients have stored for those that stay is tried again soon where it cannot be deleted: their looks are
    /// over.
    async fn clear(&self, staying: &[Attachment]) -> Result<()> {
        let uploads: Vec<_> = staying.iter().map(|row| Object::Upload.key(row.id)).collect();
        if uploads.is_empty() {
            return Ok(());
        }
        let Err(error) = self.files.blobs.delete(&uploads).await else { return Ok(()) };
        let grace = self.files.settings.attachment_grace;
        let mut connection = self.database.connection().await?;
        for row in staying {
            attachments::look_soon(&mut connection, row.id, REMNANTS, grace).await?;
        }
        Err(error)
    }

    /// The objects first: a row without objects is found again, and objects without a row are not.
    async fn remove(&self, going: &[Attachment]) -> Result<()> {
        if going.is_empty() {
            return Ok(());
        }
        let ids = match self.files.remove(going).await {
            Ok(()) => going.iter().map(|row| row.id).collect(),
            Err(error) => self.remove_singly(going, error).await?,
        };
        let removed = sweep::delete(&mut *self.database.connection().await?, &ids).await?;
        info!(removed, "removed attachments that nothing refers to");
        Ok(())
    }

    /// Those that could be removed: one that cannot holds up no other, and is tried again once CLAIM has passed. Fails
    /// with the `error` where S3 is away.
    async fn remove_singly(&self, going: &[Attachment], error: Error) -> Result<Vec<AttachmentId>> {
        let mut removed = Vec::new();
        let mut away = 0;
        for row in going {
            let result = self.files.remove(std::slice::from_ref(row)).await;
            away = if matches!(result, Err(Error::S3Away(_))) { away + 1 } else { 0 };
            match result {
                Ok(()) => removed.push(row.id),
                Err(error) => warn!(%error, id = %row.id, "an attachment is not removed yet"),
            }
            if away == AWAY {
                break;
            }
        }
        if removed.is_empty() && away > 0 { Err(error) } else { Ok(removed) }
    }
}

/// Those that somebody holds just now are left to the next time.
async fn decide(conn: &mut Connection, grace: Duration) -> Result<Decided> {
    let looks = sweep::take_looks(conn, grace, BATCH).await?;
    if looks.is_empty() {
        return Ok(Decided::default());
    }
    let ids: Vec<_> = looks.iter().map(|look| look.attachment_id).collect();
    let taken = sweep::take(conn, &ids).await?;
    // Only now that they are taken: what refers to them cannot change any more.
    let taken_ids: Vec<_> = taken.iter().map(|row| row.id).collect();
    let going = sweep::condemn(conn, &taken_ids, grace, REMNANTS, CLAIM).await?;
    let there = sweep::existing(conn, &ids).await?;
    let done = looks.iter().filter(|look| {
        let id = &look.attachment_id;
        taken_ids.contains(id) || !there.contains(id)
    });
    let done: Vec<_> = done.map(|look| look.id).collect();
    sweep::delete_looks(conn, &done).await?;
    let stays = |row: &Attachment| {
        row.state != AttachmentState::Pending && row.going_until.is_none() && going.iter().all(|gone| gone.id != row.id)
    };
    let staying = taken.into_iter().filter(stays).collect();
    Ok(Decided { looks: done.len(), going, staying })
}
