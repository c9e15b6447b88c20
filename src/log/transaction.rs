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

/// An open transaction and the changes it will append. Dropped unfinished, it is rolled back with its connection.
pub struct Transaction<'a> {
    log: &'a Log,
    connection: PooledConnection<'a>,
    changes: Vec<Change>,
    messages: Vec<Arc<Message>>,
}

impl<'a> Transaction<'a> {
    pub(super) async fn begin(log: &'a Log) -> Result<Self> {
        let mut connection = log.database.connection().await?;
        AnsiTransactionManager::begin_transaction(&mut *connection).await?;
        Ok(Self { log, connection, changes: Vec::new(), messages: Vec::new() })
    }

    pub fn conn(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Will be appended at the end, in the order recorded.
    pub fn record(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// The same, with the message itself for those who will render it.
    pub fn record_message(&mut self, message: &Message) {
        self.record(Change::MessageAdded { conversation: message.conversation_id, message: message.id });
        self.messages.push(Arc::new(message.clone()));
    }

    /// The same, of a message that nobody but its sender is to see.
    pub fn record_withheld(&mut self, sender: UserId, message: &Message) {
        let (conversation, id) = (message.conversation_id, message.id);
        self.record(Change::MessageWithheld { user: sender, conversation, message: id });
        self.messages.push(Arc::new(message.clone()));
    }

    /// Commits where the work went well and rolls back where it did not; the result is the work's own,
    /// unless the commit fails.
    pub async fn finish<T, E: From<Error>>(mut self, result: Result<T, E>) -> Result<T, E> {
        match result {
            Ok(value) => {
                self.commit().await?;
                Ok(value)
            }
            Err(error) => {
                // Where it fails the connection is broken, and Postgres rolls back by itself.
                if let Err(error) = AnsiTransactionManager::rollback_transaction(&mut *self.connection).await {
                    tracing::debug!(%error, "a rollback failed");
                }
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
