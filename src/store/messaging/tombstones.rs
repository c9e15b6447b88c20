//! Tombstones, which remain of deleted and expired messages, and queries of the messages that are due to expire.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double, Integer, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::messages::Message;
use super::unread;
use crate::ids::ConversationId;
use crate::store::{Connection, Prepared};

/// Turns messages into tombstones: deletes their bodies, attachments, reactions, pins and former bodies, stores the
/// given revisions and deletion times, and excludes the messages from the unread counts. Their conversations must be
/// locked.
pub async fn write(conn: &mut Connection, messages: &[Message]) -> QueryResult<()> {
    let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
    unread::uncount(conn, &ids).await?;
    let query = diesel::sql_query(
        "WITH gone AS (
             SELECT * FROM unnest($1, $2, $3, $4) AS gone (id, conversation_id, revision, deleted_at)
         ), advanced AS (
             UPDATE conversations SET revision = newest.revision
             FROM (SELECT conversation_id, max(revision) AS revision FROM gone GROUP BY conversation_id) AS newest
             WHERE conversations.id = newest.conversation_id
         ), reactions AS (
             DELETE FROM message_reactions USING gone WHERE message_id = gone.id
         ), attachments AS (
             DELETE FROM message_attachments USING gone WHERE message_id = gone.id
         ), edits AS (
             UPDATE message_edits SET body = NULL FROM gone WHERE message_id = gone.id
         )
         UPDATE messages
         SET revision = gone.revision, deleted_at = gone.deleted_at, body = NULL, pinned_at = NULL
         FROM gone WHERE messages.id = gone.id",
    )
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Array<SqlUuid>, _>(messages.iter().map(|message| message.conversation_id).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(messages.iter().map(|message| message.revision).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(messages.iter().map(|message| message.deleted_at).collect::<Vec<_>>());
    Prepared(query).execute(conn).await.map(drop)
}

/// Returns the time until the next message expires, by Postgres's clock, which is the same for all nodes. Returns zero
/// if a message is already due, and None if no message expires.
pub async fn until_next(conn: &mut Connection) -> QueryResult<Option<Duration>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<Double>)]
        seconds: Option<f64>,
    }
    let row: Row = diesel::sql_query(
        "SELECT extract(epoch FROM min(expires_at) - now())::float8 AS seconds FROM messages
         WHERE expires_at IS NOT NULL AND deleted_at IS NULL",
    )
    .get_result(conn)
    .await?;
    Ok(row.seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()))
}

/// Reads the conversations of at most `limit` messages that are due to expire. Chooses the messages that were due
/// first.
pub async fn due_in(conn: &mut Connection, limit: i64) -> QueryResult<Vec<ConversationId>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        conversation_id: ConversationId,
    }
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT DISTINCT conversation_id FROM (
             SELECT conversation_id FROM messages WHERE expires_at <= now() AND deleted_at IS NULL
             ORDER BY expires_at LIMIT $1
         ) AS due",
    )
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.conversation_id).collect())
}

/// Reads at most `limit` messages of these conversations that are due to expire, in the order of their numbers. The
/// conversations must be locked.
pub async fn due(conn: &mut Connection, conversations: &[ConversationId], limit: i64) -> QueryResult<Vec<Message>> {
    diesel::sql_query(
        "SELECT * FROM (
             SELECT * FROM messages
             WHERE expires_at <= now() AND deleted_at IS NULL AND conversation_id = ANY($1)
             ORDER BY expires_at LIMIT $2
         ) AS due
         ORDER BY conversation_id, number",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}
