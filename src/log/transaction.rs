//! A transaction that writes to the log.

use std::sync::Arc;

use diesel_async::{AnsiTransactionManager, TransactionManager as _};

use super::Log;
use super::append::append;
use super::event::Change;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::messaging::messages::Message;
use crate::store::{Connection, PooledConnection};

/// An open transaction and the changes that it will append. [`Log::transaction`] opens and ends the transaction. If the
/// transaction is dropped before its end, its connection is closed and Postgres rolls the transaction back.
pub struct Transaction<'a> {
    log: &'a Log,
    connection: PooledConnection<'a>,
    changes: Vec<Change>,
    messages: Vec<Arc<Message>>,
}

impl Log {
    /// Runs `work` in a transaction. Commits if the result is Ok, and otherwise rolls back. Appends the changes that
    /// `work` has recorded in the last statement before the commit, and publishes them after the commit. Returns the
    /// result of `work`, or the error of the commit.
    pub async fn transaction<T, E: From<Error>>(
        &self,
        work: impl AsyncFnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut transaction = Transaction::begin(self).await?;
        let result = work(&mut transaction).await;
        transaction.finish(result).await
    }
}

impl<'a> Transaction<'a> {
    async fn begin(log: &'a Log) -> Result<Self> {
        let mut connection = log.database.connection().await?;
        AnsiTransactionManager::begin_transaction(&mut *connection).await?;
        Ok(Self { log, connection, changes: Vec::new(), messages: Vec::new() })
    }

    pub fn conn(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Records a change. The changes are appended before the commit, in the order in which they were recorded.
    pub fn record(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Records a new message. The message itself is published with its event, so that nodes can render the message
    /// without a query.
    pub fn record_message(&mut self, message: &Message) {
        self.record(Change::MessageAdded { conversation: message.conversation_id, message: message.id });
        self.messages.push(Arc::new(message.clone()));
    }

    /// Like `record_message`, for a message that only its sender may see.
    pub fn record_message_for_sender(&mut self, sender: UserId, message: &Message) {
        let (conversation, id) = (message.conversation_id, message.id);
        self.record(Change::MessageAddedForSender { user: sender, conversation, message: id });
        self.messages.push(Arc::new(message.clone()));
    }

    async fn finish<T, E: From<Error>>(mut self, result: Result<T, E>) -> Result<T, E> {
        match result {
            Ok(value) => {
                self.commit().await?;
                Ok(value)
            }
            Err(error) => {
                roll_back(&mut self.connection).await;
                Err(error)
            }
        }
    }

    async fn commit(mut self) -> Result<()> {
        let events = match self.changes.as_slice() {
            [] => Vec::new(),
            changes => append(&mut self.connection, changes).await?,
        };
        AnsiTransactionManager::commit_transaction(&mut *self.connection).await?;
        self.log.publish(events, self.messages);
        Ok(())
    }
}

/// Rolls back the open transaction. If this fails, the connection is broken and Postgres rolls back by itself.
pub(super) async fn roll_back(conn: &mut Connection) {
    if let Err(error) = AnsiTransactionManager::rollback_transaction(conn).await {
        tracing::debug!(%error, "a rollback failed");
    }
}
