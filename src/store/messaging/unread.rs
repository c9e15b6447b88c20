//! Updates the counts of unread messages. A participant has read up to a number, and `uncounted` says how many of the
//! later messages do not count as unread.

use diesel::QueryResult;
use diesel::sql_query;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::mentions;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::Connection;
use crate::store::visibility::UNREAD_TO;

/// Excludes new messages from the unread counts of all participants. `conversations` contains the conversation of each
/// message, so a conversation can occur several times. The conversations must be locked.
pub async fn uncount_for_all(conn: &mut Connection, conversations: &[ConversationId]) -> QueryResult<()> {
    sql_query(
        "UPDATE participants SET uncounted = uncounted + new.messages
         FROM (
             SELECT conversation_id, count(*) AS messages FROM unnest($1) AS ids (conversation_id) GROUP BY 1
         ) AS new
         WHERE participants.conversation_id = new.conversation_id",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .execute(conn)
    .await
    .map(drop)
}

/// Excludes messages that this transaction deletes for everyone from the unread counts, and removes their mentions.
/// Call this only once for each message, with the conversation of the message locked.
pub async fn uncount(conn: &mut Connection, messages: &[MessageId]) -> QueryResult<()> {
    mentions::remove(conn, messages).await?;
    sql_query(format!(
        "UPDATE participants SET uncounted = uncounted + gone.messages
         FROM (
             SELECT conversation_id, participants.user_id, count(*) AS messages
             FROM messages JOIN participants USING (conversation_id)
             WHERE messages.id = ANY($1) AND messages.kind <> 'SYSTEM' AND {UNREAD_TO}
             GROUP BY conversation_id, participants.user_id
         ) AS gone
         WHERE participants.conversation_id = gone.conversation_id AND participants.user_id = gone.user_id",
    ))
    .bind::<Array<SqlUuid>, _>(messages)
    .execute(conn)
    .await
    .map(drop)
}

/// Excludes a message from the counts of unread messages and unread mentions of one user, who has just deleted the
/// message for themselves.
pub async fn uncount_for(conn: &mut Connection, user: UserId, message: MessageId) -> QueryResult<()> {
    sql_query(
        "UPDATE participants
         SET uncounted = uncounted + 1,
             unread_mentions = unread_mentions - CASE
                 WHEN messages.mentions_all OR EXISTS (
                     SELECT FROM mentions WHERE mentions.message_id = messages.id AND mentions.user_id = $1
                 ) THEN 1 ELSE 0
             END
         FROM messages
         WHERE messages.id = $2 AND messages.kind <> 'SYSTEM' AND messages.deleted_at IS NULL
             AND participants.conversation_id = messages.conversation_id AND participants.user_id = $1
             AND messages.sender_id IS DISTINCT FROM $1 AND messages.number > participants.last_read_number",
    )
    .bind::<SqlUuid, _>(user)
    .bind::<SqlUuid, _>(message)
    .execute(conn)
    .await
    .map(drop)
}
