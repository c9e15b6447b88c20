//! Plans pushes about new messages: which devices get a push about which message. Two statements serve a batch of
//! messages with all participants: one reads the candidates, and one stores those that are planned.

use std::sync::LazyLock;

use diesel::prelude::*;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::conditions;
use crate::ids::{ConversationId, MessageId, PushSubscriptionId, SessionId, UserId};
use crate::store::visibility::VISIBLE;
use crate::store::{Connection, Prepared};

/// Maximum number of rows that one statement inserts, so that its parameters stay small.
const ROWS: usize = 10_000;

/// SQL query of the device of a row with the column `subscription_id`. Nobody can delete the subscription until the
/// transaction ends. A subscription that is being deleted is left out, so that its foreign key is not violated. A
/// statement that uses this must name the row `planned`.
pub(super) const LOCKED_DEVICE: &str = "(
    SELECT id, service FROM push_subscriptions
    WHERE push_subscriptions.id = planned.subscription_id
    LIMIT 1 FOR KEY SHARE SKIP LOCKED
)";

/// SQL query of the subscriptions of a user whose sessions are neither revoked nor expired, unless the user has quiet
/// hours now. A statement that uses this must name the user `member`. LATERAL with OFFSET or LIMIT makes Postgres use
/// one index lookup for each user, also if it does not know the sizes of the tables.
pub(super) const DEVICES: &str = "(
    SELECT device.id, device.session_id
    FROM (
        SELECT id, session_id FROM push_subscriptions WHERE push_subscriptions.user_id = member.user_id OFFSET 0
    ) AS device
    CROSS JOIN LATERAL (
        SELECT id FROM sessions
        WHERE sessions.id = device.session_id AND revoked_at IS NULL AND expires_at > now()
        LIMIT 1
    ) AS session
    LEFT JOIN LATERAL (
        SELECT is_quiet_now(quiet_from, quiet_to, time_zone) AS is_quiet FROM notification_settings
        WHERE notification_settings.user_id = member.user_id
        LIMIT 1
    ) AS settings ON true
    WHERE settings.is_quiet IS NOT TRUE
    OFFSET 0
)";

/// A device that gets a push about a message, unless its user sees the message there or on another device.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct Candidate {
    #[diesel(sql_type = SqlUuid)]
    pub subscription_id: PushSubscriptionId,
    #[diesel(sql_type = SqlUuid)]
    pub session_id: SessionId,
    #[diesel(sql_type = SqlUuid)]
    pub user_id: UserId,
    #[diesel(sql_type = SqlUuid)]
    pub conversation_id: ConversationId,
    /// The newest of the messages that notify the user.
    #[diesel(sql_type = SqlUuid)]
    pub message_id: MessageId,
}

/// The messages of a conversation in one batch are a range of its numbers. For each device, the statement looks up the
/// newest message of the range that notifies its user. With the level ALL, a backward scan finds it, usually as the
/// first row. Otherwise the indexes of mentions find it.
static CANDIDATES: LazyLock<String> = LazyLock::new(|| {
    // Whether the message notifies the viewer, apart from the level.
    let notifies = format!("{} AND {VISIBLE}", conditions::unread("now()"));
    format!(
        "WITH added AS (
             SELECT messages.conversation_id, min(messages.number) AS first_number, max(messages.number) AS last_number
             FROM unnest($1) AS batch (id)
             CROSS JOIN LATERAL (
                 SELECT conversation_id, number FROM messages
                 WHERE messages.id = batch.id AND kind <> 'SYSTEM' AND deleted_at IS NULL
                 LIMIT 1
             ) AS messages
             -- Evaluated once: without any subscription, nothing else is read.
             WHERE EXISTS (SELECT FROM push_subscriptions)
             GROUP BY messages.conversation_id
         ), viewer AS MATERIALIZED (
             SELECT added.conversation_id, added.first_number, added.last_number,
                 member.user_id, member.last_read_number, member.hidden_up_to, member.hears_all,
                 device.id AS subscription_id, device.session_id
             FROM added
             CROSS JOIN LATERAL (
                 SELECT user_id, last_read_number, hidden_up_to,
                     notification_level = 'all' AND NOT archived AS hears_all
                 FROM participants
                 WHERE participants.conversation_id = added.conversation_id
                     AND last_read_number < added.last_number
                     AND notification_level <> 'nothing' AND NOT unannounced
                     AND (muted_until IS NULL OR muted_until <= now())
                 OFFSET 0
             ) AS member
             CROSS JOIN LATERAL {DEVICES} AS device
         )
         SELECT viewer.subscription_id, viewer.session_id, viewer.user_id, viewer.conversation_id,
             newest.id AS message_id
         FROM viewer
         CROSS JOIN LATERAL (
             SELECT id, number FROM (
                 (
                     SELECT messages.id, messages.number FROM messages
                     WHERE viewer.hears_all AND messages.conversation_id = viewer.conversation_id
                         AND messages.number BETWEEN viewer.first_number AND viewer.last_number AND {notifies}
                     ORDER BY messages.number DESC LIMIT 1
                 )
                 UNION ALL
                 (
                     SELECT messages.id, messages.number
                     FROM mentions JOIN messages ON messages.id = mentions.message_id
                     WHERE NOT viewer.hears_all AND mentions.user_id = viewer.user_id
                         AND mentions.conversation_id = viewer.conversation_id
                         AND mentions.number BETWEEN viewer.first_number AND viewer.last_number AND {notifies}
                     ORDER BY mentions.number DESC LIMIT 1
                 )
                 UNION ALL
                 (
                     SELECT messages.id, messages.number FROM messages
                     WHERE NOT viewer.hears_all AND messages.mentions_all
                         AND messages.conversation_id = viewer.conversation_id
                         AND messages.number BETWEEN viewer.first_number AND viewer.last_number AND {notifies}
                     ORDER BY messages.number DESC LIMIT 1
                 )
             ) AS found
             ORDER BY number DESC LIMIT 1
         ) AS newest
         LEFT JOIN LATERAL (
             SELECT messages.number FROM push_shown JOIN messages ON messages.id = push_shown.message_id
             WHERE push_shown.subscription_id = viewer.subscription_id
                 AND push_shown.conversation_id = viewer.conversation_id
             LIMIT 1
         ) AS shown ON true
         -- A push that was sent meanwhile may have shown this message already.
         WHERE shown.number IS NULL OR shown.number < newest.number"
    )
});

/// The rows are stored in the order of their keys, so that two transactions do not wait for each other. A row that
/// waits already stays due at the same time, because its push service may be down. It keeps its claim, so that its
/// pushes are sent one after the other.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO push_deliveries (subscription_id, key, kind, service, conversation_id, message_id)
         SELECT device.id, 'm:' || planned.conversation_id::text, 'message', device.service, planned.conversation_id,
             planned.message_id
         FROM (
             SELECT * FROM unnest($1, $2, $3) AS planned (subscription_id, conversation_id, message_id)
             ORDER BY subscription_id, conversation_id
         ) AS planned
         CROSS JOIN LATERAL {LOCKED_DEVICE} AS device
         ON CONFLICT (subscription_id, key) DO UPDATE
         SET kind = excluded.kind, message_id = excluded.message_id, version = push_deliveries.version + 1,
             created_at = excluded.created_at"
    )
});

/// Reads the devices that these new messages notify, once for each device and conversation. Leaves out devices of users
/// who have muted the conversation, do not want to be notified of these messages, have read them, may not see them,
/// block their sender, or have quiet hours; and devices whose sessions are revoked or expired.
pub async fn candidates(conn: &mut Connection, messages: &[MessageId]) -> QueryResult<Vec<Candidate>> {
    let query = diesel::sql_query(CANDIDATES.as_str()).bind::<Array<SqlUuid>, _>(messages);
    Prepared(query).load(conn).await
}

/// Stores a delivery for each of the devices, or replaces the one that waits for the same conversation.
pub async fn insert(conn: &mut Connection, planned: &[Candidate]) -> QueryResult<()> {
    for rows in planned.chunks(ROWS) {
        let query = diesel::sql_query(INSERT.as_str())
            .bind::<Array<SqlUuid>, _>(rows.iter().map(|row| row.subscription_id).collect::<Vec<_>>())
            .bind::<Array<SqlUuid>, _>(rows.iter().map(|row| row.conversation_id).collect::<Vec<_>>())
            .bind::<Array<SqlUuid>, _>(rows.iter().map(|row| row.message_id).collect::<Vec<_>>());
        Prepared(query).execute(conn).await?;
    }
    Ok(())
}
