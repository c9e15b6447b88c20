//! The message that a device shows in its notification of a conversation.

use diesel::prelude::*;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{ConversationId, MessageId, PushSubscriptionId};
use crate::store::{Connection, Prepared};

/// Records the messages that devices show from now on. Leaves out subscriptions that no longer exist.
pub async fn set(conn: &mut Connection, shown: &[(PushSubscriptionId, ConversationId, MessageId)]) -> QueryResult<()> {
    if shown.is_empty() {
        return Ok(());
    }
    let query = diesel::sql_query(
        "INSERT INTO push_shown (subscription_id, conversation_id, message_id)
         SELECT new.subscription_id, new.conversation_id, new.message_id
         FROM unnest($1, $2, $3) AS new (subscription_id, conversation_id, message_id)
         JOIN push_subscriptions ON push_subscriptions.id = new.subscription_id
         ORDER BY new.subscription_id, new.conversation_id
         ON CONFLICT (subscription_id, conversation_id) DO UPDATE SET message_id = excluded.message_id",
    )
    .bind::<Array<SqlUuid>, _>(shown.iter().map(|(subscription, _, _)| *subscription).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(shown.iter().map(|(_, conversation, _)| *conversation).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(shown.iter().map(|(_, _, message)| *message).collect::<Vec<_>>());
    Prepared(query).execute(conn).await.map(drop)
}

/// Records that devices no longer show a notification of the conversations.
pub async fn remove(conn: &mut Connection, dismissed: &[(PushSubscriptionId, ConversationId)]) -> QueryResult<()> {
    if dismissed.is_empty() {
        return Ok(());
    }
    let (subscriptions, conversations): (Vec<_>, Vec<_>) = dismissed.iter().copied().unzip();
    let query = diesel::sql_query(
        "DELETE FROM push_shown USING unnest($1, $2) AS gone (subscription_id, conversation_id)
         WHERE push_shown.subscription_id = gone.subscription_id
             AND push_shown.conversation_id = gone.conversation_id",
    )
    .bind::<Array<SqlUuid>, _>(subscriptions)
    .bind::<Array<SqlUuid>, _>(conversations);
    Prepared(query).execute(conn).await.map(drop)
}
