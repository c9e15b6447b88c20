//! Pins: the messages that a conversation holds up.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::Connection;
use super::messages::{Message, VISIBLE};
use super::schema::messages;
use crate::ids::{ConversationId, MessageId, UserId};

pub async fn count(conn: &mut Connection, conversation: ConversationId) -> QueryResult<i64> {
    messages::table
        .filter(messages::conversation_id.eq(conversation).and(messages::pinned_at.is_not_null()))
        .count()
        .get_result(conn)
        .await
}

/// The first `limit` pinned messages of each conversation after a place, newest pin first, of those that the user may
/// see.
pub async fn pages(
    conn: &mut Connection,
    user: UserId,
    conversations: &[ConversationId],
    after: Option<(DateTime<Utc>, MessageId)>,
    limit: i64,
) -> QueryResult<Vec<Message>> {
    diesel::sql_query(format!(
        "SELECT page.* FROM unnest($1) AS wanted (id)
         JOIN participants AS viewer ON viewer.conversation_id = wanted.id AND viewer.user_id = $2
         CROSS JOIN LATERAL (
             SELECT * FROM messages
             WHERE conversation_id = wanted.id AND pinned_at IS NOT NULL
                 AND ($3 IS NULL OR (pinned_at, id) < ($3, $4)) AND {VISIBLE}
             ORDER BY pinned_at DESC, id DESC
             LIMIT $5
         ) AS page
         ORDER BY page.conversation_id, page.pinned_at DESC, page.id DESC"
    ))
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<SqlUuid, _>(user)
    .bind::<Nullable<Timestamptz>, _>(after.map(|(at, _)| at))
    .bind::<Nullable<SqlUuid>, _>(after.map(|(_, id)| id))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}
