//! Reads what pushes show, for all claimed deliveries at once: messages, unread counts and calls. Nothing is read
//! before a delivery is claimed, so a push never shows what was deleted or read while the delivery waited.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Double, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::conditions::{self, UNREAD_COUNT};
use crate::ids::{CallId, ConversationId, MessageId, UserId};
use crate::store::calls::calls::CallKind;
use crate::store::conversations::conversations::ConversationKind;
use crate::store::messaging::messages::MessageKind;
use crate::store::{Connection, Prepared};

/// SQL condition: the quiet hours of the user have begun and not ended. A statement that uses this condition must join
/// the settings of the user as `settings`.
const QUIET: &str = "is_quiet_now(settings.quiet_from, settings.quiet_to, settings.time_zone)";

/// The newest message of a conversation that notifies a user.
#[derive(Clone, Debug, QueryableByName)]
pub struct Shown {
    #[diesel(sql_type = SqlUuid)]
    pub user_id: UserId,
    #[diesel(sql_type = SqlUuid)]
    pub conversation_id: ConversationId,
    #[diesel(sql_type = SqlUuid)]
    pub message_id: MessageId,
    #[diesel(sql_type = Text)]
    pub kind: MessageKind,
    #[diesel(sql_type = Nullable<Text>)]
    pub body: Option<String>,
    #[diesel(sql_type = Timestamptz)]
    pub sent_at: DateTime<Utc>,
    /// Display name of the sender. None if the sender's account was deleted.
    #[diesel(sql_type = Nullable<Text>)]
    pub sender: Option<String>,
    #[diesel(sql_type = Text)]
    pub conversation_kind: ConversationKind,
    #[diesel(sql_type = Nullable<Text>)]
    pub title: Option<String>,
    /// Number of unread messages of the conversation.
    #[diesel(sql_type = Integer)]
    pub unread: i32,
}

/// Reads the newest unread message for pairs of a user and a conversation. Leaves out messages that the user may not
/// see or does not want to be notified of, and pairs of users who are not participants, have muted the conversation,
/// or are in their quiet hours.
pub async fn shown(
    conn: &mut Connection,
    pairs: &[(UserId, ConversationId)],
    now: DateTime<Utc>,
) -> QueryResult<Vec<Shown>> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let (users, conversations): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let notifies = conditions::notifies("$3");
    let query = diesel::sql_query(format!(
        // LATERAL makes Postgres use one index lookup for each pair.
        "SELECT wanted.user_id, wanted.conversation_id, messages.id AS message_id, messages.kind, messages.body,
             messages.created_at AS sent_at, sender.display_name AS sender,
             conversations.kind AS conversation_kind, conversations.title,
             greatest({UNREAD_COUNT}, 0) AS unread
         FROM unnest($1, $2) AS wanted (user_id, conversation_id)
         CROSS JOIN LATERAL (
             SELECT user_id, last_read_number, uncounted, hidden_up_to, archived, notification_level FROM participants
             WHERE participants.conversation_id = wanted.conversation_id AND participants.user_id = wanted.user_id
                 AND notification_level <> 'nothing' AND NOT unannounced AND (muted_until IS NULL OR muted_until <= $3)
             LIMIT 1
         ) AS viewer
         CROSS JOIN LATERAL (
             SELECT kind, title, last_message_number FROM conversations WHERE id = wanted.conversation_id LIMIT 1
         ) AS conversations
         LEFT JOIN notification_settings AS settings ON settings.user_id = wanted.user_id
         CROSS JOIN LATERAL (
             SELECT id, kind, body, created_at, sender_id FROM messages
             WHERE conversation_id = wanted.conversation_id AND {notifies}
             ORDER BY number DESC
             LIMIT 1
         ) AS messages
         LEFT JOIN users AS sender ON sender.id = messages.sender_id
         WHERE NOT {QUIET}",
    ))
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Timestamptz, _>(now);
    Prepared(query).load(conn).await
}

/// A call that rings for a user.
#[derive(Clone, Debug, QueryableByName)]
pub struct Ring {
    #[diesel(sql_type = SqlUuid)]
    pub user_id: UserId,
    #[diesel(sql_type = SqlUuid)]
    pub call_id: CallId,
    #[diesel(sql_type = SqlUuid)]
    pub conversation_id: ConversationId,
    #[diesel(sql_type = Text)]
    pub kind: CallKind,
    #[diesel(sql_type = Timestamptz)]
    pub started_at: DateTime<Utc>,
    /// Seconds until the call has been missed.
    #[diesel(sql_type = Double)]
    pub seconds_left: f64,
    /// Display name of the caller. None if the caller's account was deleted.
    #[diesel(sql_type = Nullable<Text>)]
    pub caller: Option<String>,
    #[diesel(sql_type = Text)]
    pub conversation_kind: ConversationKind,
    #[diesel(sql_type = Nullable<Text>)]
    pub title: Option<String>,
    /// Whether the user has muted the conversation or is in the quiet hours.
    #[diesel(sql_type = Bool)]
    pub is_silent: bool,
}

/// Reads the calls that ring now, for pairs of a user and a call.
pub async fn ringing(conn: &mut Connection, pairs: &[(UserId, CallId)], now: DateTime<Utc>) -> QueryResult<Vec<Ring>> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let (users, calls): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let query = diesel::sql_query(format!(
        "SELECT wanted.user_id, wanted.call_id, calls.conversation_id, calls.kind, calls.created_at AS started_at,
             extract(epoch FROM calls.rings_until - now())::float8 AS seconds_left,
             caller.display_name AS caller, conversations.kind AS conversation_kind, conversations.title,
             (coalesce(viewer.muted_until > $3, false) OR {QUIET}) AS is_silent
         FROM unnest($1, $2) AS wanted (user_id, call_id)
         JOIN call_rings AS rings ON rings.call_id = wanted.call_id AND rings.user_id = wanted.user_id
         JOIN calls ON calls.id = wanted.call_id AND calls.rings_until > now()
         JOIN conversations ON conversations.id = calls.conversation_id
         JOIN participants AS viewer
             ON viewer.conversation_id = calls.conversation_id AND viewer.user_id = wanted.user_id
         LEFT JOIN notification_settings AS settings ON settings.user_id = wanted.user_id
         LEFT JOIN users AS caller ON caller.id = calls.started_by
         WHERE calls.withheld_from IS DISTINCT FROM wanted.user_id",
    ))
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<SqlUuid>, _>(calls)
    .bind::<Timestamptz, _>(now);
    Prepared(query).load(conn).await
}
