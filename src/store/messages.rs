//! Messages, numbered 1, 2, 3 … in their conversation.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::schema::{messages, participants};
use super::{Connection, text_enum};
use crate::ids::{ConversationId, MessageId, UserId};

text_enum!(MessageKind {
    Text = "TEXT",
    Image = "IMAGE",
    Video = "VIDEO",
    Audio = "AUDIO",
    File = "FILE",
    System = "SYSTEM",
});

#[derive(Clone, Debug, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = messages, check_for_backend(diesel::pg::Pg))]
pub struct Message {
    pub id: MessageId,
    pub conversation_id: ConversationId,
    pub number: i32,
    pub revision: i32,
    pub sender_id: Option<UserId>,
    pub kind: MessageKind,
    pub body: Option<String>,
    pub client_id: Option<String>,
    pub created_at: DateTime<Utc>,
}

/// Which messages of a conversation: those between two numbers, both left out, from the one end or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    pub after: i32,
    pub before: i32,
    pub newest_first: bool,
    pub limit: i64,
}

pub async fn insert(conn: &mut Connection, message: &Message) -> QueryResult<()> {
    diesel::insert_into(messages::table).values(message).execute(conn).await.map(drop)
}

/// The message that the sender sent under this clientId.
pub async fn by_client_id(conn: &mut Connection, sender: UserId, client_id: &str) -> QueryResult<Option<Message>> {
    messages::table
        .filter(messages::sender_id.eq(sender).and(messages::client_id.eq(client_id)))
        .select(Message::as_select())
        .first(conn)
        .await
        .optional()
}

pub async fn by_ids(conn: &mut Connection, ids: &[MessageId]) -> QueryResult<Vec<Message>> {
    messages::table.filter(messages::id.eq_any(ids)).select(Message::as_select()).load(conn).await
}

/// Those of the messages that are in conversations the user takes part in.
pub async fn visible_to(conn: &mut Connection, user: UserId, ids: &[MessageId]) -> QueryResult<Vec<Message>> {
    messages::table
        .inner_join(participants::table.on(participants::conversation_id.eq(messages::conversation_id)))
        .filter(messages::id.eq_any(ids).and(participants::user_id.eq(user)))
        .select(Message::as_select())
        .load(conn)
        .await
}

/// The messages with these numbers of these conversations.
pub async fn by_numbers(conn: &mut Connection, wanted: &[(ConversationId, i32)]) -> QueryResult<Vec<Message>> {
    let (conversations, numbers): (Vec<_>, Vec<_>) = wanted.iter().copied().unzip();
    diesel::sql_query(
        "SELECT messages.* FROM unnest($1, $2) AS wanted (conversation_id, number)
         JOIN messages USING (conversation_id, number)",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Array<Integer>, _>(numbers)
    .load(conn)
    .await
}

/// The same range of each of several conversations, each in the order of the range.
pub async fn pages(conn: &mut Connection, conversations: &[ConversationId], range: Range) -> QueryResult<Vec<Message>> {
    let order = if range.newest_first { "DESC" } else { "ASC" };
    diesel::sql_query(format!(
        "SELECT page.* FROM unnest($1) AS wanted (id) CROSS JOIN LATERAL (
             SELECT * FROM messages
             WHERE conversation_id = wanted.id AND number > $2 AND number < $3
             ORDER BY number {order}
             LIMIT $4
         ) AS page
         ORDER BY conversation_id, number {order}"
    ))
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Integer, _>(range.after)
    .bind::<Integer, _>(range.before)
    .bind::<BigInt, _>(range.limit)
    .load(conn)
    .await
}
