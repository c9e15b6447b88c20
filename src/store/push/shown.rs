//! The message that a device shows in its notification of a conversation.

use diesel::prelude::*;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{CallId, ConversationId, MessageId, PushSubscriptionId};
use crate::store::visibility::VISIBLE;
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

/// Plans to dismiss those of the notifications whose messages were read, deleted or hidden while their pushes were in
/// flight. The events of these changes have found no notification to dismiss. Call this after the transaction of `set`
/// has committed. Returns the number of planned deliveries.
pub async fn dismiss_obsolete(
    conn: &mut Connection,
    sent: &[(PushSubscriptionId, ConversationId)],
) -> QueryResult<usize> {
    if sent.is_empty() {
        return Ok(0);
    }
    let (subscriptions, conversations): (Vec<_>, Vec<_>) = sent.iter().copied().unzip();
    let query = diesel::sql_query(format!(
        "INSERT INTO push_deliveries (subscription_id, key, kind, service, conversation_id, message_id)
         SELECT device.id, 'm:' || shown.conversation_id, 'dismiss', device.service, shown.conversation_id,
             shown.message_id
         FROM unnest($1, $2) AS sent (subscription_id, conversation_id)
         JOIN push_shown AS shown
             ON shown.subscription_id = sent.subscription_id AND shown.conversation_id = sent.conversation_id
         JOIN push_subscriptions AS device ON device.id = shown.subscription_id
         LEFT JOIN messages ON messages.id = shown.message_id
         LEFT JOIN participants AS viewer
             ON viewer.conversation_id = shown.conversation_id AND viewer.user_id = device.user_id
         WHERE messages.id IS NULL OR viewer.id IS NULL OR messages.deleted_at IS NOT NULL
             OR messages.number <= viewer.last_read_number OR NOT {VISIBLE}
         ORDER BY device.id
         ON CONFLICT (subscription_id, key) DO NOTHING",
    ))
    .bind::<Array<SqlUuid>, _>(subscriptions)
    .bind::<Array<SqlUuid>, _>(conversations);
    Prepared(query).execute(conn).await
}

/// Plans to end those of the calls on their devices that have stopped to ring while their pushes were in flight.
/// Returns the number of planned deliveries.
pub async fn end_calls(conn: &mut Connection, sent: &[(PushSubscriptionId, CallId)]) -> QueryResult<usize> {
    if sent.is_empty() {
        return Ok(0);
    }
    let (subscriptions, calls): (Vec<_>, Vec<_>) = sent.iter().copied().unzip();
    let query = diesel::sql_query(
        "INSERT INTO push_deliveries (subscription_id, key, kind, service, conversation_id, call_id)
         SELECT device.id, 'c:' || sent.call_id, 'call_ended', device.service, calls.conversation_id, sent.call_id
         FROM unnest($1, $2) AS sent (subscription_id, call_id)
         JOIN push_subscriptions AS device ON device.id = sent.subscription_id
         LEFT JOIN calls ON calls.id = sent.call_id
         WHERE NOT EXISTS (
             SELECT FROM call_rings AS rings WHERE rings.call_id = sent.call_id AND rings.user_id = device.user_id
         )
         ORDER BY device.id
         ON CONFLICT (subscription_id, key) DO NOTHING",
    )
    .bind::<Array<SqlUuid>, _>(subscriptions)
    .bind::<Array<SqlUuid>, _>(calls);
    Prepared(query).execute(conn).await
}
