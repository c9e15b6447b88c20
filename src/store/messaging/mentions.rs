//! Mentions of users, or of all participants, in messages.

use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Integer, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::people::users::User;
use crate::store::schema::{mentions, users};
use crate::store::visibility::UNREAD_TO;
use crate::store::{Connection, Prepared};

/// The mentions in one message.
#[derive(Clone, Debug)]
pub struct Mentions {
    pub message: MessageId,
    pub conversation: ConversationId,
    pub number: i32,
    pub sender: Option<UserId>,
    /// Whether the message mentions all participants, by @all.
    pub all: bool,
    pub users: Vec<UserId>,
}

/// Reads the users for pairs of a conversation and a username. Leaves out usernames that do not belong to a participant
/// of the conversation.
pub async fn named(
    mut conn: &Connection,
    names: &[(ConversationId, String)],
) -> QueryResult<Vec<(ConversationId, String, UserId)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        conversation_id: ConversationId,
        #[diesel(sql_type = Text)]
        username: String,
        #[diesel(sql_type = SqlUuid)]
        user_id: UserId,
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let (conversations, usernames): (Vec<_>, Vec<_>) = names.iter().map(|(id, name)| (*id, name.as_str())).unzip();
    let query = diesel::sql_query(
        // LATERAL makes Postgres use one index lookup for each pair. Without LATERAL, Postgres would scan a table that
        // has grown since its last ANALYZE.
        "SELECT named.conversation_id, named.username, found.user_id
         FROM unnest($1, $2) AS named (conversation_id, username)
         CROSS JOIN LATERAL (
             SELECT id FROM users WHERE users.username = named.username LIMIT 1
         ) AS owner
         CROSS JOIN LATERAL (
             SELECT user_id FROM participants
             WHERE participants.conversation_id = named.conversation_id AND participants.user_id = owner.id
             LIMIT 1
         ) AS found",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Array<Text>, _>(usernames);
    let rows: Vec<Row> = Prepared(query).load(&mut conn).await?;
    Ok(rows.into_iter().map(|row| (row.conversation_id, row.username, row.user_id)).collect())
}

/// Stores the mentions and updates `unread_mentions`: each message counts once for every mentioned participant who may
/// see it, has not read it and did not send it. The conversations must be locked, and the messages must not have
/// mentions yet.
pub async fn insert(conn: &mut Connection, new: &[Mentions]) -> QueryResult<()> {
    let pairs = new.iter().flat_map(|mentions| mentions.users.iter().map(|user| (mentions.message, *user)));
    let (named_in, users): (Vec<_>, Vec<_>) = pairs.unzip();
    let query = diesel::sql_query(
        "WITH new AS (
             SELECT * FROM unnest($1, $2, $3, $4, $5) AS new (id, conversation_id, number, sender_id, everybody)
         ), named AS (
             INSERT INTO mentions (message_id, user_id, conversation_id, number)
             SELECT named.message_id, named.user_id, new.conversation_id, new.number
             FROM unnest($6, $7) AS named (message_id, user_id) JOIN new ON new.id = named.message_id
             RETURNING message_id, user_id
         ), flagged AS (
             UPDATE messages SET mentions_all = true FROM new WHERE messages.id = new.id AND new.everybody
         ), mentioned AS (
             SELECT new.id, named.user_id FROM named JOIN new ON new.id = named.message_id
             UNION
             SELECT new.id, participants.user_id FROM new JOIN participants USING (conversation_id) WHERE everybody
         ), unread AS (
             SELECT participants.conversation_id, participants.user_id, count(*) AS messages
             FROM mentioned
             JOIN new USING (id)
             JOIN participants USING (conversation_id, user_id)
             WHERE participants.user_id IS DISTINCT FROM new.sender_id
                 AND new.number > participants.last_read_number
                 AND NOT EXISTS (
                     SELECT FROM message_hidden AS hidden
                     WHERE hidden.user_id = participants.user_id AND hidden.message_id = new.id
                 )
             GROUP BY 1, 2
         )
         UPDATE participants SET unread_mentions = unread_mentions + unread.messages
         FROM unread
         WHERE participants.conversation_id = unread.conversation_id AND participants.user_id = unread.user_id",
    )
    .bind::<Array<SqlUuid>, _>(new.iter().map(|mentions| mentions.message).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(new.iter().map(|mentions| mentions.conversation).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(new.iter().map(|mentions| mentions.number).collect::<Vec<_>>())
    .bind::<Array<Nullable<SqlUuid>>, _>(new.iter().map(|mentions| mentions.sender).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(new.iter().map(|mentions| mentions.all).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(named_in)
    .bind::<Array<SqlUuid>, _>(users);
    Prepared(query).execute(conn).await.map(drop)
}

/// Undoes `insert` for these messages. Their conversations must be locked.
pub async fn remove(conn: &mut Connection, messages: &[MessageId]) -> QueryResult<()> {
    // Every part of the statement sees the messages and mentions as they were before the statement.
    diesel::sql_query(format!(
        "WITH named AS (
             DELETE FROM mentions WHERE message_id = ANY($1) RETURNING message_id, user_id
         ), flagged AS (
             UPDATE messages SET mentions_all = false WHERE id = ANY($1) AND mentions_all
         ), gone AS (
             SELECT conversation_id, participants.user_id, count(*) AS messages
             FROM messages JOIN participants USING (conversation_id)
             WHERE messages.id = ANY($1)
                 AND (messages.mentions_all OR (messages.id, participants.user_id) IN (SELECT * FROM named))
                 AND {UNREAD_TO}
             GROUP BY conversation_id, participants.user_id
         )
         UPDATE participants SET unread_mentions = unread_mentions - gone.messages
         FROM gone
         WHERE participants.conversation_id = gone.conversation_id AND participants.user_id = gone.user_id",
    ))
    .bind::<Array<SqlUuid>, _>(messages)
    .execute(conn)
    .await
    .map(drop)
}

/// Reads the users whom each message mentions by username, in the order of their usernames.
pub async fn of_messages(conn: &mut Connection, ids: &[MessageId]) -> QueryResult<Vec<(MessageId, User)>> {
    mentions::table
        .inner_join(users::table)
        .filter(mentions::message_id.eq_any(ids))
        .order(users::username)
        .select((mentions::message_id, User::as_select()))
        .load(conn)
        .await
}
