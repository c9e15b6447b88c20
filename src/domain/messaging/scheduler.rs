//! Sends scheduled messages when they are due. Every node runs this task. One transaction sends a message and deletes
//! the scheduled message, so that each message is sent only once, even if a node dies.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use super::batch::{self, Outgoing};
use super::new_message::NewMessage;
use super::writer::Committer;
use crate::config::Writing;
use crate::domain::error::{Error, Result};
use crate::domain::tasks::Tasks;
use crate::ids::{AttachmentId, ScheduledMessageId};
use crate::log::{Change, Transaction};
use crate::store::Database;
use crate::store::files::attachment_uses;
use crate::store::messaging::scheduled_messages::{self, ScheduledMessage};

/// Maximum number of messages that one transaction sends.
const BATCH_SIZE: i64 = 100;
/// Time until the next poll if another node is sending the due messages.
const BUSY_POLL_INTERVAL: Duration = Duration::from_millis(50);

pub(in crate::domain) struct Scheduler {
    wake: Arc<Notify>,
}

struct Sender {
    database: Database,
    committer: Committer,
    interval: Duration,
}

/// Which scheduled messages a transaction sends.
#[derive(Clone, Copy)]
enum Which {
    Any,
    One(ScheduledMessageId),
}

impl Scheduler {
    pub(in crate::domain) fn start(
        tasks: &mut Tasks,
        database: &Database,
        committer: Committer,
        settings: &Writing,
    ) -> Self {
        let sender = Sender { database: database.clone(), committer, interval: settings.schedule_poll_interval };
        let wake = Arc::<Notify>::default();
        tasks.spawn(sender.run(wake.clone()));
        Self { wake }
    }

    /// Makes the scheduler poll now, because a message has been scheduled.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Sender {
    async fn run(self, wake: Arc<Notify>) {
        loop {
            let wait = match self.send_due().await {
                Ok(wait) => wait.min(self.interval),
                Err(error) => {
                    warn!(?error, after = ?self.interval, "sending scheduled messages failed; trying again");
                    self.interval
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = wake.notified() => {}
            }
        }
    }

    /// Sends all due messages. Returns the time until the next poll, or `Duration::MAX` if no message is scheduled.
    async fn send_due(&self) -> Result<Duration> {
        loop {
            let due = {
                let mut connection = self.database.connection().await?;
                scheduled_messages::due_in(&mut connection).await?
            };
            match due {
                None => return Ok(Duration::MAX),
                Some(Duration::ZERO) => {
                    if self.send_some().await? == 0 {
                        return Ok(BUSY_POLL_INTERVAL);
                    }
                }
                Some(wait) => return Ok(wait),
            }
        }
    }

    /// Sends one batch of due messages. If the transaction fails, sends each message of the batch in a separate
    /// transaction. Returns the number of messages that were sent or dropped.
    async fn send_some(&self) -> Result<usize> {
        let (claimed, error) = match self.send(Which::Any).await {
            Ok(sent) => return Ok(sent.len()),
            Err((claimed, error)) => (claimed, error),
        };
        if claimed.len() < 2 {
            return Err(error);
        }
        let mut done = 0;
        for id in claimed {
            match self.send(Which::One(id)).await {
                Ok(sent) => done += sent.len(),
                Err((_, error)) => warn!(?error, %id, "a scheduled message was not sent; trying again"),
            }
        }
        if done == 0 { Err(error) } else { Ok(done) }
    }

    /// Sends messages in one transaction. Returns the ids of the messages that were sent or dropped. If the transaction
    /// fails, returns the error and the ids of the messages that the transaction had claimed.
    async fn send(&self, which: Which) -> Result<Vec<ScheduledMessageId>, (Vec<ScheduledMessageId>, Error)> {
        let mut claimed = Vec::new();
        match self.committer.log.transaction(async |tx| self.claim_and_send(tx, which, &mut claimed).await).await {
            Ok(stored) => {
                self.committer.metrics.messages_stored(stored);
                Ok(claimed)
            }
            Err(error) => Err((claimed, error)),
        }
    }

    /// Claims scheduled messages, sends them in the name of their senders, and returns the number of stored messages.
    /// Drops a message that its sender may no longer send. Records no event for a sender who is no longer a
    /// participant.
    async fn claim_and_send(
        &self,
        tx: &mut Transaction<'_>,
        which: Which,
        claimed: &mut Vec<ScheduledMessageId>,
    ) -> Result<usize> {
        let rows = match which {
            Which::Any => scheduled_messages::claim(tx.conn(), BATCH_SIZE).await?,
            Which::One(id) => scheduled_messages::claim_one(tx.conn(), id).await?.into_iter().collect(),
        };
        if rows.is_empty() {
            return Ok(0);
        }
        claimed.extend(rows.iter().map(|row| row.id));
        let attachments = attachment_uses::ids_of_scheduled(tx.conn(), claimed).await?;
        let sends: Vec<_> = rows.iter().map(|row| outgoing(row, &attachments)).collect();
        let results = batch::store(tx, &sends, &[], self.committer.clock, &self.committer.random).await?;
        scheduled_messages::delete(tx.conn(), claimed).await?;
        for (row, result) in rows.iter().zip(results.sends) {
            if !matches!(result, Err(Error::NotFound(_))) {
                tx.record(Change::MembershipUpdated { user: row.sender_id, conversation: row.conversation_id });
            }
        }
        Ok(results.stored)
    }
}

/// Makes the message to send. Its clientId is the id of the scheduled message, so that clients recognise the message.
fn outgoing(row: &ScheduledMessage, attachments: &[(ScheduledMessageId, AttachmentId)]) -> Outgoing {
    let own = attachments.iter().filter(|(of, _)| *of == row.id);
    let body = row.body.clone().unwrap_or_default();
    let attachments = own.map(|(_, attachment)| *attachment).collect();
    let message = NewMessage {
        client_id: Some(row.id.to_string()),
        ..NewMessage::with_content(row.conversation_id, body, attachments)
    };
    Outgoing { sender: row.sender_id, message }
}
