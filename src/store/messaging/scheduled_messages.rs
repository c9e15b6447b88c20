//! Scheduled messages. Only the sender sees them, and only while the sender is a participant of the conversation.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::{count_star, exists};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Nullable};
use diesel_async::RunQueryDsl;

use crate::ids::{ConversationId, ScheduledMessageId, UserId};
use crate::store::Connection;
use crate::store::schema::{participants, scheduled_messages};

#[derive(Clone, Debug, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = scheduled_messages, check_for_backend(diesel::pg::Pg))]
pub struct ScheduledMessage {
    pub id: ScheduledMessageId,
    pub sender_id: UserId,
    pub conversation_id: ConversationId,
    /// Text of the message. None if the message has only attachments.
    pub body: Option<String>,
    pub send_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

pub async fn insert(conn: &mut Connection, row: &ScheduledMessage) -> QueryResult<()> {
    diesel::insert_into(scheduled_messages::table).values(row).execute(conn).await.map(drop)
}

pub async fn count(conn: &mut Connection, sender: UserId) -> QueryResult<i64> {
    scheduled_messages::table.filter(of(sender)).select(count_star()).first(conn).await
}

/// Reads the first `limit` messages of the sender after the position `after`, in the order in which they are due.
pub async fn list(
    conn: &mut Connection,
    sender: UserId,
    after: Option<(DateTime<Utc>, ScheduledMessageId)>,
    limit: i64,
) -> QueryResult<Vec<ScheduledMessage>> {
    let mut query = scheduled_messages::table
        .filter(of(sender))
        .order((scheduled_messages::send_at, scheduled_messages::id))
        .limit(limit)
        .select(ScheduledMessage::as_select())
        .into_boxed();
    if let Some((at, id)) = after {
        let later = scheduled_messages::send_at.gt(at);
        query = query.filter(later.or(scheduled_messages::send_at.eq(at).and(scheduled_messages::id.gt(id))));
    }
    query.load(conn).await
}

/// Reads the sender's messages with these ids.
pub async fn by_ids(
    conn: &mut Connection,
    sender: UserId,
    ids: &[ScheduledMessageId],
) -> QueryResult<Vec<ScheduledMessage>> {
    scheduled_messages::table
        .filter(of(sender).and(scheduled_messages::id.eq_any(ids)))
        .select(ScheduledMessage::as_select())
        .load(conn)
        .await
}

/// Deletes the sender's message and returns its conversation. Returns None if the sender has no such message. Waits for
/// a transaction that is sending the message.
pub async fn cancel(
    conn: &mut Connection,
    sender: UserId,
    id: ScheduledMessageId,
) -> QueryResult<Option<ConversationId>> {
    diesel::delete(scheduled_messages::table.filter(of(sender).and(scheduled_messages::id.eq(id))))
        .returning(scheduled_messages::conversation_id)
        .get_result(conn)
        .await
        .optional()
}

/// Deletes all of the sender's messages.
pub async fn delete_of(conn: &mut Connection, sender: UserId) -> QueryResult<()> {
    diesel::delete(scheduled_messages::table.filter(scheduled_messages::sender_id.eq(sender)))
        .execute(conn)
        .await
        .map(drop)
}

pub async fn delete(conn: &mut Connection, ids: &[ScheduledMessageId]) -> QueryResult<()> {
    diesel::delete(scheduled_messages::table.filter(scheduled_messages::id.eq_any(ids))).execute(conn).await.map(drop)
}

/// Returns the time until the next message is due, by Postgres's clock, so that all nodes agree. Returns zero if a
/// message is overdue, and None if no message is scheduled.
pub async fn due_in(conn: &mut Connection) -> QueryResult<Option<Duration>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<Double>)]
        seconds: Option<f64>,
    }
    let row: Row =
        diesel::sql_query("SELECT EXTRACT(EPOCH FROM min(send_at) - now())::float8 AS seconds FROM scheduled_messages")
            .get_result(conn)
            .await?;
    Ok(row.seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

/// Locks at most `limit` messages that are due, earliest first, until the transaction ends, and returns them. Skips
/// rows that another transaction has locked.
pub async fn claim(conn: &mut Connection, limit: i64) -> QueryResult<Vec<ScheduledMessage>> {
    diesel::sql_query(
        "SELECT * FROM scheduled_messages WHERE send_at <= now()
         ORDER BY send_at, id LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Locks one message, whether due or not, until the transaction ends. Returns None if the message does not exist or
/// another transaction has locked it.
pub async fn claim_one(conn: &mut Connection, id: ScheduledMessageId) -> QueryResult<Option<ScheduledMessage>> {
    scheduled_messages::table
        .find(id)
        .select(ScheduledMessage::as_select())
        .for_update()
        .skip_locked()
        .first(conn)
        .await
        .optional()
}

/// SQL condition: the message belongs to the sender, and the sender is a participant of its conversation.
#[diesel::dsl::auto_type(no_type_alias)]
fn of(sender: UserId) -> _ {
    let takes_part = participants::table
        .filter(participants::user_id.eq(scheduled_messages::sender_id))
        .filter(participants::conversation_id.eq(scheduled_messages::conversation_id));
    scheduled_messages::sender_id.eq(sender).and(exists(takes_part))
}
