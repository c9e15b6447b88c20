//! Messages that delete themselves, on time: each once, whichever node does it.

use std::collections::HashMap;
use std::time::Duration;

use super::change;
use crate::clock::Clock;
use crate::domain::tasks;
use crate::error::Result;
use crate::log::{Log, Transaction};
use crate::store::Database;
use crate::store::conversations::conversations;
use crate::store::messaging::tombstones;

/// Until the next look at Postgres while a message is known to be pending, unless one is due before: another node may
/// have stored one that is due sooner.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks of the tail between two of ours while none is known to be pending. Of new ones the log tells; this is for one
/// whose publication is lost.
const TAIL_LOOKS: u32 = 10;
/// Messages that one transaction deletes at most.
const BATCH: i64 = 100;

pub(in crate::domain) struct Reaper {
    pub(in crate::domain) database: Database,
    pub(in crate::domain) log: Log,
    pub(in crate::domain) clock: Clock,
    /// Between two looks of the tail.
    pub(in crate::domain) tail_look: Duration,
}

impl Reaper {
    /// Begins with what is due already.
    pub(in crate::domain) async fn run(self) {
        let idle_look = self.tail_look * TAIL_LOOKS;
        loop {
            let looked = self.reap().await;
            tasks::rest(looked, idle_look, self.log.expiring_message(), "expired messages are not deleted").await;
        }
    }

    /// Deletes what is due, and tells how long it is until the next look; None where none is pending.
    async fn reap(&self) -> Result<Option<Duration>> {
        loop {
            match tombstones::until_next(&mut *self.database.connection().await?).await? {
                Some(Duration::ZERO) => {
                    let mut tx = self.log.begin().await?;
                    let done = self.reap_batch(&mut tx).await;
                    tx.finish(done).await?;
                }
                wait => return Ok(wait.map(|wait| wait.min(LOOK_INTERVAL))),
            }
        }
    }

    /// Another node that is at the same waits for the locks, and then finds nothing left to do.
    async fn reap_batch(&self, tx: &mut Transaction<'_>) -> Result<()> {
        let ids = tombstones::due_in(tx.conn(), BATCH).await?;
        let locked = conversations::lock_many(tx.conn(), &ids).await?;
        let mut locked: HashMap<_, _> =
            locked.into_iter().map(|conversation| (conversation.id, conversation)).collect();
        let mut due = tombstones::due(tx.conn(), &ids, BATCH).await?;
        let now = self.clock.now();
        for message in &mut due {
            if let Some(conversation) = locked.get_mut(&message.conversation_id) {
                change::bury(tx, conversation, message, now);
            }
        }
        // One whose conversation has gone since is not among the locked.
        due.retain(|message| message.deleted_at.is_some());
        tombstones::bury(tx.conn(), &due).await?;
        Ok(())
    }
}
