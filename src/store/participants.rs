//! Participants: who takes part in a conversation, and how far each has read.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::schema::participants;
use super::{Connection, text_enum};
use crate::ids::{ConversationId, ParticipantId, UserId};

text_enum!(ParticipantRole { Owner = "OWNER", Admin = "ADMIN", Member = "MEMBER" });

#[derive(Clone, Debug, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = participants, check_for_backend(diesel::pg::Pg))]
pub struct Participant {
    pub conversation_id: ConversationId,
    pub user_id: UserId,
    pub id: ParticipantId,
    pub role: ParticipantRole,
    pub joined_at: DateTime<Utc>,
    pub last_delivered_number: i32,
    pub last_read_number: i32,
    /// How many of the messages after `last_read_number` are the participant's own.
    pub own_unread: i32,
}

pub async fn insert(conn: &mut Connection, rows: &[Participant]) -> QueryResult<()> {
    /// Postgres takes 65,535 parameters in a statement, and a row has eight.
    const ROWS: usize = 5000;
    for rows in rows.chunks(ROWS) {
        diesel::insert_into(participants::table).values(rows).execute(conn).await?;
    }
    Ok(())
}

/// The state of one user in each of several conversations, where the user takes part.
pub async fn of_user(
    conn: &mut Connection,
    user: UserId,
    conversations: &[ConversationId],
) -> QueryResult<Vec<Participant>> {
    participants::table
        .filter(participants::user_id.eq(user).and(participants::conversation_id.eq_any(conversations)))
        .select(Participant::as_select())
        .load(conn)
        .await
}

/// Those of the users who take part in a conversation.
pub async fn of_users(
    conn: &mut Connection,
    conversation: ConversationId,
    users: &[UserId],
) -> QueryResult<Vec<Participant>> {
    participants::table
        .filter(participants::conversation_id.eq(conversation).and(participants::user_id.eq_any(users)))
        .select(Participant::as_select())
        .load(conn)
        .await
}

pub async fn delete(conn: &mut Connection, conversation: ConversationId, user: UserId) -> QueryResult<()> {
    diesel::delete(participants::table.find((conversation, user))).execute(conn).await?;
    Ok(())
}

/// Makes the longest-standing admin the owner, else the longest-standing member; nobody where nobody is left.
pub async fn promote_successor(conn: &mut Connection, conversation: ConversationId) -> QueryResult<()> {
    diesel::sql_query(
        "UPDATE participants SET role = 'OWNER' WHERE id = (
             SELECT id FROM participants WHERE conversation_id = $1
             ORDER BY role <> 'ADMIN', joined_at, id
             LIMIT 1
         )",
    )
    .bind::<SqlUuid, _>(conversation)
    .execute(conn)
    .await?;
    Ok(())
}

/// Those of the participants in whose conversations the user takes part.
pub async fn visible_to(conn: &mut Connection, user: UserId, ids: &[ParticipantId]) -> QueryResult<Vec<Participant>> {
    let own = diesel::alias!(participants as own);
    participants::table
        .inner_join(own.on(own.field(participants::conversation_id).eq(participants::conversation_id)))
        .filter(participants::id.eq_any(ids).and(own.field(participants::user_id).eq(user)))
        .select(Participant::as_select())
        .load(conn)
        .await
}

/// The first `limit` participants of each conversation after a place in the order (joined_at, id).
pub async fn pages(
    conn: &mut Connection,
    conversations: &[ConversationId],
    after: Option<(DateTime<Utc>, ParticipantId)>,
    limit: i64,
) -> QueryResult<Vec<Participant>> {
    diesel::sql_query(
        "SELECT page.* FROM unnest($1) AS wanted (id) CROSS JOIN LATERAL (
             SELECT * FROM participants
             WHERE conversation_id = wanted.id AND ($2 IS NULL OR (joined_at, id) > ($2, $3))
             ORDER BY joined_at, id
             LIMIT $4
         ) AS page
         ORDER BY conversation_id, joined_at, page.id",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Nullable<Timestamptz>, _>(after.map(|(at, _)| at))
    .bind::<Nullable<SqlUuid>, _>(after.map(|(_, id)| id))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Which of the users take part in which of the conversations.
pub async fn among(
    conn: &mut Connection,
    conversations: &[ConversationId],
    users: &[UserId],
) -> QueryResult<Vec<(ConversationId, UserId)>> {
    participants::table
        .filter(participants::conversation_id.eq_any(conversations).and(participants::user_id.eq_any(users)))
        .select((participants::conversation_id, participants::user_id))
        .load(conn)
        .await
}

/// Everything up to `number` is delivered; returns whether that is news.
pub async fn advance_delivered(
    conn: &mut Connection,
    conversation: ConversationId,
    user: UserId,
    number: i32,
) -> QueryResult<bool> {
    diesel::update(
        participants::table.find((conversation, user)).filter(participants::last_delivered_number.lt(number)),
    )
    .set(participants::last_delivered_number.eq(number))
    .execute(conn)
    .await
    .map(|updated| updated == 1)
}

/// Everything up to `number` is read; returns whether that is news. The conversation must be locked:
/// the participant's own messages after `number` are counted anew.
pub async fn advance_read(
    conn: &mut Connection,
    conversation: ConversationId,
    user: UserId,
    number: i32,
) -> QueryResult<bool> {
    diesel::sql_query(
        "UPDATE participants
         SET last_read_number = $3,
             last_delivered_number = greatest(last_delivered_number, $3),
             own_unread = (
                 SELECT count(*) FROM messages WHERE conversation_id = $1 AND sender_id = $2 AND number > $3
             )
         WHERE conversation_id = $1 AND user_id = $2 AND last_read_number < $3",
    )
    .bind::<SqlUuid, _>(conversation)
    .bind::<SqlUuid, _>(user)
    .bind::<Integer, _>(number)
    .execute(conn)
    .await
    .map(|updated| updated == 1)
}
