//! Full-text search over messages: the words of each lie in an index, under its conversation.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::messages::{Message, VISIBLE};
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::Connection;

/// Which messages a user looks for.
#[derive(Clone, Debug)]
pub struct Search {
    /// All of its words must be there, the last one as a prefix.
    pub query: String,
    pub conversation: Option<ConversationId>,
    pub sender: Option<UserId>,
}

/// The statement of `messages`. Public for the test that explains it.
///
/// The index is asked for many conversations at once, up to a number that keeps its query small; what it finds is then
/// held against what the user may see. That comes after, because Postgres would rather read all messages of a sender.
/// Rows are read whole only for the page: a common word is in many. A tombstone has no body, and so is never found.
pub fn statement() -> String {
    format!(
        "WITH mine AS MATERIALIZED (
             SELECT conversation_id, user_id, hidden_up_to, row_number() OVER () / 200 AS part
             FROM participants WHERE user_id = $1 AND ($3 IS NULL OR conversation_id = $3)
         ), parts AS MATERIALIZED (
             SELECT part, message_query(array_agg(conversation_id), $2) AS terms FROM mine GROUP BY part
         ), found AS MATERIALIZED (
             SELECT id, conversation_id, number, sender_id, created_at, part
             FROM parts JOIN messages ON message_terms(conversation_id, body) @@ terms
             WHERE body IS NOT NULL
         ), page AS (
             SELECT messages.id FROM found AS messages JOIN mine AS viewer USING (conversation_id, part)
             WHERE {VISIBLE}
                 AND ($4 IS NULL OR sender_id = $4) AND ($5 IS NULL OR (created_at, id) < ($5, $6))
             ORDER BY created_at DESC, id DESC
             LIMIT $7
         )
         SELECT messages.* FROM page JOIN messages USING (id) ORDER BY created_at DESC, id DESC"
    )
}

/// Those that the user may see, newest first, after the place `after`.
pub async fn messages(
    conn: &mut Connection,
    user: UserId,
    search: &Search,
    after: Option<(DateTime<Utc>, MessageId)>,
    limit: i64,
) -> QueryResult<Vec<Message>> {
    diesel::sql_query(statement())
        .bind::<SqlUuid, _>(user)
        .bind::<Text, _>(&search.query)
        .bind::<Nullable<SqlUuid>, _>(search.conversation)
        .bind::<Nullable<SqlUuid>, _>(search.sender)
        .bind::<Nullable<Timestamptz>, _>(after.map(|(at, _)| at))
        .bind::<Nullable<SqlUuid>, _>(after.map(|(_, id)| id))
        .bind::<BigInt, _>(limit)
        .load(conn)
        .await
}
