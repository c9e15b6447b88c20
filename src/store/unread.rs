//! What keeps the counts of unread messages true: each participant has read up to a number, and knows how many of
//! those after it do not count.

use diesel::QueryResult;
use diesel::sql_query;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::{Connection, mentions};
use crate::ids::{ConversationId, MessageId};

/// For each conversation once more: one new message in it is unread to nobody. The conversations must be locked.
pub async fn uncount_for_all(conn: &mut Connection, conversations: &[ConversationId]) -> QueryResult<()> {
    sql_query(
        "UPDATE participants SET own_unread = own_unread + uncounted.messages
         FROM (
             SELECT conversation_id, count(*) AS messages FROM unnest($1) AS new (conversation_id) GROUP BY 1
         ) AS uncounted
         WHERE participants.conversation_id = uncounted.conversation_id",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .execute(conn)
    .await
    .map(drop)
}

/// The message was deleted for everybody in this transaction, which holds its conversation: those to whom it was
/// unread have one less, and nobody is mentioned by it any more. To be called once for a message.
pub async fn uncount(conn: &mut Connection, message: MessageId) -> QueryResult<()> {
    mentions::remove(conn, message).await?;
    sql_query(
        "UPDATE participants SET own_unread = own_unread + 1
         FROM messages
         WHERE messages.id = $1 AND messages.kind <> 'SYSTEM'
             AND participants.conversation_id = messages.conversation_id
             AND participants.user_id IS DISTINCT FROM messages.sender_id
             AND messages.number > participants.last_read_number",
    )
    .bind::<SqlUuid, _>(message)
    .execute(conn)
    .await
    .map(drop)
}
