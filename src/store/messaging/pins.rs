//! Pinned messages of conversations.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::messages::Seen;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::Connection;
use crate::store::schema::messages;
use crate::store::visibility::VISIBLE;

pub async fn count(conn: &mut Connection, conversation: ConversationId) -> QueryResult<i64> {
    messages::table
        .filter(messages::conversation_id.eq(conversation).and(messages::pinned_at.is_not_null()))
        .count()
        .get_result(conn)
        .await
}

/// Reads the first `limit` pinned messages after the position `after`, newest pin first, for pairs of a user and a
/// conversation. Leaves out messages that the user may not see.
pub async fn pages(
    mut conn: &Connection,
    wanted: &[(UserId, ConversationId)],
    after: Option<(DateTime<Utc>, MessageId)>,
    limit: i64,
) -> QueryResult<Vec<Seen>> {
    let (users, conversations): (Vec<_>, Vec<_>) = wanted.iter().copied().unzip();
    diesel::sql_query(format!(
        "SELECT viewer.user_id AS viewer_id, page.* FROM unnest($1, $2) AS wanted (user_id, conversation_id)
         JOIN participants AS viewer
             ON viewer.conversation_id = wanted.conversation_id AND viewer.user_id = wanted.user_id
         CROSS JOIN LATERAL (
             SELECT * FROM messages
             WHERE conversation_id = wanted.conversation_id AND pinned_at IS NOT NULL
                 AND ($3 IS NULL OR (pinned_at, id) < ($3, $4)) AND {VISIBLE}
             ORDER BY pinned_at DESC, id DESC
             LIMIT $5
         ) AS page
         ORDER BY page.pinned_at DESC, page.id DESC"
    ))
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Nullable<Timestamptz>, _>(after.map(|(at, _)| at))
    .bind::<Nullable<SqlUuid>, _>(after.map(|(_, id)| id))
    .bind::<BigInt, _>(limit)
    .load(&mut conn)
    .await
}
