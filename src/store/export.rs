//! What belongs to one user, page by page.

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl, SimpleAsyncConnection as _};

use super::Connection;
use super::conversations::Conversation;
use super::messages::Message;
use super::participants::Participant;
use super::schema::{conversations, messages, participants, sessions};
use super::sessions::Session;
use crate::error::{Error, Result};
use crate::ids::{ConversationId, MessageId, SessionId, UserId};

/// The database as of one moment. No statement has a time limit: an archive may take as long as it takes.
pub struct Snapshot {
    conn: Connection,
}

impl Snapshot {
    pub async fn open(url: &str) -> Result<Self> {
        let mut conn = Connection::establish(url).await.map_err(|error| Error::Connection(error.to_string()))?;
        conn.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(Self { conn })
    }

    pub fn conn(&mut self) -> &mut Connection {
        &mut self.conn
    }
}

/// The ended ones too, as long as they are kept.
pub async fn sessions(
    conn: &mut Connection,
    user: UserId,
    after: Option<SessionId>,
    limit: i64,
) -> QueryResult<Vec<Session>> {
    let mut query = sessions::table
        .filter(sessions::user_id.eq(user))
        .order(sessions::id)
        .limit(limit)
        .select(Session::as_select())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(sessions::id.gt(after));
    }
    query.load(conn).await
}

pub async fn memberships(
    conn: &mut Connection,
    user: UserId,
    after: Option<ConversationId>,
    limit: i64,
) -> QueryResult<Vec<(Participant, Conversation)>> {
    let mut query = participants::table
        .inner_join(conversations::table)
        .filter(participants::user_id.eq(user))
        .order(participants::conversation_id)
        .limit(limit)
        .select((Participant::as_select(), Conversation::as_select()))
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(participants::conversation_id.gt(after));
    }
    query.load(conn).await
}

/// What the user has sent, also where they take no part any more. There is no index for it: all pages together read
/// every message once.
pub async fn messages(
    conn: &mut Connection,
    user: UserId,
    after: Option<MessageId>,
    limit: i64,
) -> QueryResult<Vec<Message>> {
    let mut query = messages::table
        .filter(messages::sender_id.eq(user))
        .order(messages::id)
        .limit(limit)
        .select(Message::as_select())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(messages::id.gt(after));
    }
    query.load(conn).await
}
