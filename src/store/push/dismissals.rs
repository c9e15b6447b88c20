//! Plans the pushes that dismiss notifications of messages that were read or are gone.

use std::sync::LazyLock;

use diesel::QueryResult;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::planning::LOCKED_DEVICE;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::visibility::VISIBLE;
use crate::store::{Connection, Prepared};

/// Changes that can make notifications obsolete.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    /// Users whose membership in a conversation changed or ended, or who have read messages.
    pub memberships: Vec<(UserId, ConversationId)>,
    /// Messages that users have deleted for themselves.
    pub removed: Vec<(UserId, MessageId)>,
    /// Messages that have changed. Only those that were deleted make a notification obsolete.
    pub updated: Vec<MessageId>,
}

impl Changed {
    pub fn is_empty(&self) -> bool {
        self.memberships.is_empty() && self.removed.is_empty() && self.updated.is_empty()
    }
}

/// A delivery that was never tried needs no dismissal. It stays, because the node that sends it reads the messages
/// again. If a delivery was tried, the device may show its message, also if the attempt failed.
static DISMISS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH changed AS (
             SELECT user_id, conversation_id FROM unnest($1, $2) AS memberships (user_id, conversation_id)
             UNION
             SELECT removed.user_id, messages.conversation_id
             FROM unnest($3, $4) AS removed (user_id, message_id)
             CROSS JOIN LATERAL (
                 SELECT conversation_id FROM messages WHERE messages.id = removed.message_id LIMIT 1
             ) AS messages
             UNION
             SELECT member.user_id, gone.conversation_id
             FROM (
                 SELECT DISTINCT messages.conversation_id
                 FROM unnest($5) AS updated (id)
                 CROSS JOIN LATERAL (
                     SELECT conversation_id FROM messages
                     WHERE messages.id = updated.id AND deleted_at IS NOT NULL
                     LIMIT 1
                 ) AS messages
             ) AS gone
             CROSS JOIN LATERAL (
                 SELECT user_id FROM participants WHERE participants.conversation_id = gone.conversation_id OFFSET 0
             ) AS member
         ), notified AS MATERIALIZED (
             SELECT device.id AS subscription_id, changed.user_id, changed.conversation_id,
                 coalesce(shown.message_id, waiting.message_id) AS message_id, waiting.message_id AS waiting_id
             FROM changed
             CROSS JOIN LATERAL (
                 SELECT id FROM push_subscriptions WHERE push_subscriptions.user_id = changed.user_id OFFSET 0
             ) AS device
             LEFT JOIN LATERAL (
                 SELECT message_id FROM push_shown
                 WHERE push_shown.subscription_id = device.id
                     AND push_shown.conversation_id = changed.conversation_id
                 LIMIT 1
             ) AS shown ON true
             LEFT JOIN LATERAL (
                 SELECT message_id, claimed_until IS NOT NULL OR attempts > 0 AS is_tried FROM push_deliveries
                 WHERE push_deliveries.subscription_id = device.id
                     AND push_deliveries.key = 'm:' || changed.conversation_id::text
                     AND push_deliveries.kind = 'message'
                 LIMIT 1
             ) AS waiting ON true
             WHERE (shown.message_id IS NOT NULL OR waiting.is_tried)
                 -- Evaluated once: without any subscription, nothing else is read.
                 AND EXISTS (SELECT FROM push_subscriptions)
         ), planned AS MATERIALIZED (
             SELECT notified.subscription_id, notified.conversation_id, notified.message_id
             FROM notified
             LEFT JOIN LATERAL (
                 SELECT true AS is_unread
                 FROM messages JOIN participants AS viewer
                     ON viewer.conversation_id = messages.conversation_id AND viewer.user_id = notified.user_id
                 WHERE messages.id IN (notified.message_id, notified.waiting_id)
                     AND messages.deleted_at IS NULL AND messages.number > viewer.last_read_number AND {VISIBLE}
                     AND viewer.notification_level <> 'nothing'
                     AND (viewer.muted_until IS NULL OR viewer.muted_until <= now())
                 LIMIT 1
             ) AS current_message ON true
             WHERE current_message.is_unread IS NULL
             ORDER BY notified.subscription_id, notified.conversation_id
         )
         INSERT INTO push_deliveries (subscription_id, key, kind, service, conversation_id, message_id)
         SELECT device.id, 'm:' || planned.conversation_id::text, 'dismiss', device.service, planned.conversation_id,
             planned.message_id
         FROM planned
         CROSS JOIN LATERAL {LOCKED_DEVICE} AS device
         ON CONFLICT (subscription_id, key) DO UPDATE
         SET kind = excluded.kind, message_id = excluded.message_id, version = push_deliveries.version + 1,
             created_at = excluded.created_at
         WHERE push_deliveries.kind = 'message'"
    )
});

/// Plans a push to each device whose notification is obsolete: its message was read, deleted, hidden or has expired, or
/// its user is no longer a participant or no longer wants to be notified. Returns the number of planned pushes.
pub async fn plan(conn: &mut Connection, changed: &Changed) -> QueryResult<usize> {
    let (users, conversations): (Vec<_>, Vec<_>) = changed.memberships.iter().copied().unzip();
    let (removers, removed): (Vec<_>, Vec<_>) = changed.removed.iter().copied().unzip();
    let query = diesel::sql_query(DISMISS.as_str())
        .bind::<Array<SqlUuid>, _>(users)
        .bind::<Array<SqlUuid>, _>(conversations)
        .bind::<Array<SqlUuid>, _>(removers)
        .bind::<Array<SqlUuid>, _>(removed)
        .bind::<Array<SqlUuid>, _>(changed.updated.as_slice());
    Prepared(query).execute(conn).await
}
