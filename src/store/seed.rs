//! Inserts large numbers of rows with COPY.

use std::fmt::Write as _;
use std::io::Cursor;

use chrono::{DateTime, Utc};
use futures_util::SinkExt as _;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use super::connection::Connector;
use crate::error::Result;

/// A connection to Postgres for COPY. It is not from the pool, because the connections of the pool do not support COPY.
pub struct Bulk {
    client: Client,
}

/// Rows in the text format of COPY. Each method appends one value, except `end`, which ends the row.
#[derive(Default)]
pub struct Lines {
    text: String,
}

/// Rows of conversations, their participants and their messages, which are written in one transaction.
#[derive(Default)]
pub struct Chunk {
    pub conversations: Lines,
    pub participants: Lines,
    pub messages: Lines,
}

const USERS: &str = "COPY users (id, username, display_name, search_name, about, password_hash, created_at) FROM STDIN";
const CONVERSATIONS: &str =
    "COPY conversations (id, kind, title, search_title, topic, created_by, created_at, last_activity_at,
    last_message_id, last_message_number, revision, participant_count, direct_low, direct_high) FROM STDIN";
const PARTICIPANTS: &str = "COPY participants (conversation_id, user_id, id, role, joined_at, last_delivered_number,
    last_read_number, uncounted) FROM STDIN";
const MESSAGES: &str =
    "COPY messages (id, conversation_id, number, revision, sender_id, kind, body, created_at) FROM STDIN";

impl Bulk {
    pub async fn connect(url: &str) -> Result<Self> {
        let client = Connector::new(url)?.open_client().await?;
        // A commit does not wait for the disk, because rows that are lost in a crash can be generated again.
        client.batch_execute("SET synchronous_commit = off").await?;
        Ok(Self { client })
    }

    pub async fn users(&self) -> Result<i64> {
        Ok(self.client.query_one("SELECT count(*) FROM users", &[]).await?.try_get(0)?)
    }

    pub async fn write_users(&mut self, users: Lines) -> Result<()> {
        let transaction = self.client.transaction().await?;
        copy(&transaction, USERS, users).await?;
        Ok(transaction.commit().await?)
    }

    pub async fn write(&mut self, chunk: Chunk) -> Result<()> {
        let transaction = self.client.transaction().await?;
        copy(&transaction, CONVERSATIONS, chunk.conversations).await?;
        copy(&transaction, PARTICIPANTS, chunk.participants).await?;
        copy(&transaction, MESSAGES, chunk.messages).await?;
        Ok(transaction.commit().await?)
    }

    /// Updates the planner's statistics. The search index is written later.
    pub async fn vacuum(&self) -> Result<()> {
        Ok(self.client.batch_execute("VACUUM (ANALYZE) users, conversations, participants, messages").await?)
    }
}

async fn copy(transaction: &Transaction<'_>, statement: &str, lines: Lines) -> Result<()> {
    let sink = transaction.copy_in(statement).await?;
    futures_util::pin_mut!(sink);
    sink.send(Cursor::new(lines.text.into_bytes())).await?;
    sink.finish().await?;
    Ok(())
}

impl Lines {
    fn separate(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\t');
        }
    }

    pub fn text(&mut self, value: &str) -> &mut Self {
        self.separate();
        for c in value.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                c => self.text.push(c),
            }
        }
        self
    }

    pub fn null(&mut self) -> &mut Self {
        self.separate();
        self.text.push_str("\\N");
        self
    }

    pub fn id(&mut self, value: Uuid) -> &mut Self {
        self.separate();
        let mut buffer = Uuid::encode_buffer();
        self.text.push_str(value.hyphenated().encode_lower(&mut buffer));
        self
    }

    pub fn number(&mut self, value: i32) -> &mut Self {
        self.separate();
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
        self
    }

    pub fn time(&mut self, value: DateTime<Utc>) -> &mut Self {
        self.separate();
        let _ = write!(self.text, "{}", value.format("%Y-%m-%d %H:%M:%S%.6f+00"));
        self
    }

    pub fn end(&mut self) {
        self.text.push('\n');
    }
}
