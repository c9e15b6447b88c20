//! Messages that wait for their time. Each is seen by its sender alone, as long as the sender takes part.

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
    /// None where only attachments are to be sent.
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

/// The sender's, the first to be sent first, after a place in that order.
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

/// Those of them that are the sender's.
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

/// Waits for whoever sends it just now. None where there is none of the sender's.
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

/// All of a user's.
pub async fn delete_of(conn: &mut Connection, sender: UserId) -> QueryResult<()> {
    diesel::delete(scheduled_messages::table.filter(scheduled_messages::sender_id.eq(sender)))
        .execute(conn)
        .await
        .map(drop)
}

pub async fn delete(conn: &mut Connection, ids: &[ScheduledMessageId]) -> QueryResult<()> {
    diesel::delete(scheduled_messages::table.filter(scheduled_messages::id.eq_any(ids))).execute(conn).await.map(drop)
}

/// How long it is until the next is due, by Postgres's own time, so that all nodes agree.
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

/// Takes those that are due, the earliest first, until the transaction ends; what another has taken is passed over.
pub async fn claim(conn: &mut Connection, limit: i64) -> QueryResult<Vec<ScheduledMessage>> {
    diesel::sql_query(
        "SELECT * FROM scheduled_messages WHERE send_at <= now()
         ORDER BY send_at, id LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// The same for one of them.
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

/// The sender's, in conversations that the sender takes part in.
#[diesel::dsl::auto_type(no_type_alias)]
fn of(sender: UserId) -> _ {
    let takes_part = participants::table
        .filter(participants::user_id.eq(scheduled_messages::sender_id))
        .filter(participants::conversation_id.eq(scheduled_messages::conversation_id));
    scheduled_messages::sender_id.eq(sender).and(exists(takes_part))
}
