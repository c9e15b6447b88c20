//! Deletes messages that have expired. Every node runs this task, but each message is deleted only once.

use std::collections::HashMap;
use std::time::Duration;

use super::locked_message;
use crate::clock::Clock;
use crate::domain::tasks::{self, IDLE_TAIL_POLLS};
use crate::error::Result;
use crate::log::{Log, Signals, Transaction};
use crate::store::Database;
use crate::store::conversations::conversations;
use crate::store::messaging::tombstones;

/// Maximum time until the next poll while a message waits to expire. The wait is limited because another node can store
/// a message that expires sooner.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of messages that one transaction deletes.
const BATCH_SIZE: i64 = 100;

pub(in crate::domain) struct MessageExpiry {
    database: Database,
    log: Log,
    signals: Signals,
    clock: Clock,
    idle_interval: Duration,
}

impl MessageExpiry {
    pub(in crate::domain) fn new(
        database: &Database,
        log: &Log,
        signals: &Signals,
        clock: Clock,
        tail_poll_interval: Duration,
    ) -> Self {
        let (database, log, signals) = (database.clone(), log.clone(), signals.clone());
        Self { database, log, signals, clock, idle_interval: tail_poll_interval * IDLE_TAIL_POLLS }
    }

    /// Deletes messages that are already due, and then polls for due messages.
    pub(in crate::domain) async fn run(self) {
        loop {
            let polled = self.delete_due().await;
            let wake = self.signals.expiring_message();
            tasks::wait_for_next_poll(polled, self.idle_interval, wake, "deleting expired messages failed").await;
        }
    }

    /// Deletes all messages that are due. Returns the time until the next poll, or None if no message waits to expire.
    async fn delete_due(&self) -> Result<Option<Duration>> {
        loop {
            match tombstones::until_next(&mut *self.database.connection().await?).await? {
                Some(Duration::ZERO) => {
                    self.log.transaction(async |tx| self.delete_batch(tx).await).await?;
                }
                wait => return Ok(wait.map(|wait| wait.min(POLL_INTERVAL))),
            }
        }
    }

    /// Deletes one batch of due messages. If two nodes do this at the same time, the second node waits for the locks
    /// and then finds no due message.
    async fn delete_batch(&self, tx: &mut Transaction<'_>) -> Result<()> {
        let ids = tombstones::due_in(tx.conn(), BATCH_SIZE).await?;
        let locked = conversations::lock_many(tx.conn(), &ids).await?;
        let mut locked: HashMap<_, _> =
            locked.into_iter().map(|conversation| (conversation.id, conversation)).collect();
        let mut due = tombstones::due(tx.conn(), &ids, BATCH_SIZE).await?;
        let now = self.clock.now();
        for message in &mut due {
            if let Some(conversation) = locked.get_mut(&message.conversation_id) {
                locked_message::tombstone(tx, conversation, message, now);
            }
        }
        // Leaves out messages whose conversation was deleted before it could be locked.
        due.retain(|message| message.deleted_at.is_some());
        tombstones::write(tx.conn(), &due).await?;
        Ok(())
    }
}
