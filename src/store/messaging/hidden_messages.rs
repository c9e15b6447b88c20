//! Messages that are hidden from single users, because these users deleted them for themselves or block the sender.

use diesel::prelude::*;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::Connection;
use crate::store::schema::message_hidden;

/// Hides messages that were just inserted, each from one participant. A hidden message does not count as unread for the
/// participant.
pub async fn hide_new(conn: &mut Connection, hidden: &[(UserId, ConversationId, MessageId)]) -> QueryResult<()> {
    diesel::sql_query(
        "WITH hidden AS (
             SELECT * FROM unnest($1, $2, $3) AS hidden (user_id, conversation_id, message_id)
         ), inserted AS (
             INSERT INTO message_hidden (user_id, message_id) SELECT user_id, message_id FROM hidden
         ), counted AS (
             SELECT user_id, conversation_id, count(*) AS messages FROM hidden GROUP BY user_id, conversation_id
         )
         UPDATE participants SET uncounted = uncounted + counted.messages
         FROM counted
         WHERE participants.conversation_id = counted.conversation_id AND participants.user_id = counted.user_id",
    )
    .bind::<Array<SqlUuid>, _>(hidden.iter().map(|(user, _, _)| user).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(hidden.iter().map(|(_, conversation, _)| conversation).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(hidden.iter().map(|(_, _, message)| message).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map(drop)
}

/// Reads the conversations of hidden messages, for pairs of a user and a message. Leaves out messages that are not
/// hidden from the user.
pub async fn find(
    mut conn: &Connection,
    pairs: &[(UserId, MessageId)],
) -> QueryResult<Vec<(UserId, MessageId, ConversationId)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        user: UserId,
        #[diesel(sql_type = SqlUuid)]
        message: MessageId,
        #[diesel(sql_type = SqlUuid)]
        conversation: ConversationId,
    }
    let (users, ids): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT user_id AS \"user\", message_id AS message, messages.conversation_id AS conversation
         FROM unnest($1, $2) AS wanted (user_id, message_id)
         JOIN message_hidden USING (user_id, message_id)
         JOIN messages ON messages.id = message_id",
    )
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<SqlUuid>, _>(ids)
    .load(&mut conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.user, row.message, row.conversation)).collect())
}

/// Hides a message from one user. Returns false if the message was already hidden from the user.
pub async fn hide(conn: &mut Connection, user: UserId, message: MessageId) -> QueryResult<bool> {
    diesel::insert_into(message_hidden::table)
        .values((message_hidden::user_id.eq(user), message_hidden::message_id.eq(message)))
        .on_conflict_do_nothing()
        .execute(conn)
        .await
        .map(|inserted| inserted == 1)
}
