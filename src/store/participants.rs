//! Participants: who takes part in a conversation, and how far each has read.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::schema::participants;
use super::{Connection, Prepared, text_enum};
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
    pub archived: bool,
    pub pinned: bool,
    /// Muted while in the future.
    pub muted_until: Option<DateTime<Utc>>,
    /// Messages up to this number are from before the participant's time, and hidden.
    pub hidden_up_to: i32,
    /// How many of the messages after `last_read_number` mention the participant.
    pub unread_mentions: i32,
}

impl Participant {
    /// One who joins now, and has read nothing.
    pub fn new(
        id: ParticipantId,
        conversation_id: ConversationId,
        user_id: UserId,
        role: ParticipantRole,
        joined_at: DateTime<Utc>,
    ) -> Self {
        Self {
            conversation_id,
            user_id,
            id,
            role,
            joined_at,
            last_delivered_number: 0,
            last_read_number: 0,
            own_unread: 0,
            archived: false,
            pinned: false,
            muted_until: None,
            hidden_up_to: 0,
            unread_mentions: 0,
        }
    }
}

pub async fn insert(conn: &mut Connection, rows: &[Participant]) -> QueryResult<()> {
    /// Postgres takes 65,535 parameters in a statement, and a row has thirteen.
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

/// The user's own state in every conversation.
pub async fn all_of_user(conn: &mut Connection, user: UserId) -> QueryResult<Vec<Participant>> {
    participants::table.filter(participants::user_id.eq(user)).select(Participant::as_select()).load(conn).await
}

pub async fn delete(conn: &mut Connection, conversation: ConversationId, user: UserId) -> QueryResult<()> {
    diesel::delete(participants::table.find((conversation, user))).execute(conn).await?;
    Ok(())
}

pub async fn set_role(
    conn: &mut Connection,
    conversation: ConversationId,
    user: UserId,
    role: ParticipantRole,
) -> QueryResult<()> {
    diesel::update(participants::table.find((conversation, user)))
        .set(participants::role.eq(role))
        .execute(conn)
        .await?;
    Ok(())
}

/// Makes the longest-standing admin the owner, else the longest-standing member, and tells who that is; nobody where
/// nobody is left.
pub async fn promote_successor(conn: &mut Connection, conversation: ConversationId) -> QueryResult<Option<UserId>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        user_id: UserId,
    }
    let row: Option<Row> = diesel::sql_query(
        "UPDATE participants SET role = 'OWNER' WHERE id = (
             SELECT id FROM participants WHERE conversation_id = $1
             ORDER BY role <> 'ADMIN', joined_at, id
             LIMIT 1
         )
         RETURNING user_id",
    )
    .bind::<SqlUuid, _>(conversation)
    .get_result(conn)
    .await
    .optional()?;
    Ok(row.map(|row| row.user_id))
}

/// Those of the conversations whose beginning is hidden from the user.
pub async fn hiding_from(
    conn: &mut Connection,
    user: UserId,
    conversations: &[ConversationId],
) -> QueryResult<Vec<ConversationId>> {
    participants::table
        .filter(participants::user_id.eq(user).and(participants::conversation_id.eq_any(conversations)))
        .filter(participants::hidden_up_to.gt(0))
        .select(participants::conversation_id)
        .load(conn)
        .await
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

/// Those of the users who take part in the conversation beside them, each with the number up to which its messages
/// are hidden from the user.
pub async fn among(
    mut conn: &Connection,
    pairs: &[(ConversationId, UserId)],
) -> QueryResult<Vec<((ConversationId, UserId), i32)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        conversation_id: ConversationId,
        #[diesel(sql_type = SqlUuid)]
        user_id: UserId,
        #[diesel(sql_type = Integer)]
        hidden_up_to: i32,
    }
    let (conversations, users): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let query = diesel::sql_query(
        "SELECT found.* FROM unnest($1, $2) AS wanted (conversation_id, user_id)
         CROSS JOIN LATERAL (
             SELECT conversation_id, user_id, hidden_up_to FROM participants
             WHERE participants.conversation_id = wanted.conversation_id AND participants.user_id = wanted.user_id
             LIMIT 1
         ) AS found",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Array<SqlUuid>, _>(users);
    let rows: Vec<Row> = Prepared(query).load(&mut conn).await?;
    Ok(rows.into_iter().map(|row| ((row.conversation_id, row.user_id), row.hidden_up_to)).collect())
}

/// How far a participant is to come, by messages' numbers; 0 is nowhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watermarks {
    pub delivered: i32,
    pub read: i32,
}

/// Moves watermarks forward, never back, and returns whose have moved. The conversations must be locked: where more
/// is read, the participant's own messages after it are counted anew.
pub async fn advance(
    conn: &mut Connection,
    watermarks: &BTreeMap<(ConversationId, UserId), Watermarks>,
) -> QueryResult<Vec<(ConversationId, UserId)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        conversation_id: ConversationId,
        #[diesel(sql_type = SqlUuid)]
        user_id: UserId,
    }
    let rows: Vec<Row> = diesel::sql_query(
        "UPDATE participants AS old
         SET last_delivered_number = greatest(old.last_delivered_number, new.delivered),
             last_read_number = greatest(old.last_read_number, new.read),
             own_unread = CASE WHEN new.read <= old.last_read_number THEN old.own_unread ELSE (
                 SELECT count(*) FROM messages
                 WHERE conversation_id = new.conversation_id AND sender_id = new.user_id AND number > new.read
             ) END
         FROM unnest($1, $2, $3, $4) AS new (conversation_id, user_id, delivered, read)
         WHERE old.conversation_id = new.conversation_id AND old.user_id = new.user_id
             AND (old.last_delivered_number < new.delivered OR old.last_read_number < new.read)
         RETURNING old.conversation_id, old.user_id",
    )
    .bind::<Array<SqlUuid>, _>(watermarks.keys().map(|(conversation, _)| conversation).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(watermarks.keys().map(|(_, user)| user).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(watermarks.values().map(|to| to.delivered).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(watermarks.values().map(|to| to.read).collect::<Vec<_>>())
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.conversation_id, row.user_id)).collect())
}
