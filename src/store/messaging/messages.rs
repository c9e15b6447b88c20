//! Messages. The messages of a conversation are numbered 1, 2, 3 …

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use diesel::dsl::SqlTypeOf;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};

use super::unread;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::schema::messages;
use crate::store::visibility::VISIBLE;
use crate::store::{Connection, Prepared, text_enum};

text_enum!(MessageKind {
    Text = "TEXT",
    Image = "IMAGE",
    Video = "VIDEO",
    Audio = "AUDIO",
    File = "FILE",
    System = "SYSTEM",
});

text_enum!(SystemEventKind {
    ConversationCreated = "CONVERSATION_CREATED",
    TitleChanged = "TITLE_CHANGED",
    AvatarChanged = "AVATAR_CHANGED",
    ParticipantJoined = "PARTICIPANT_JOINED",
    ParticipantLeft = "PARTICIPANT_LEFT",
    ParticipantRemoved = "PARTICIPANT_REMOVED",
    RoleChanged = "ROLE_CHANGED",
    MessagePinned = "MESSAGE_PINNED",
    CallEnded = "CALL_ENDED",
});

#[derive(Clone, Debug, Queryable, QueryableByName, Selectable, Insertable, Serialize, Deserialize)]
#[diesel(table_name = messages, check_for_backend(diesel::pg::Pg))]
pub struct Message {
    pub id: MessageId,
    pub conversation_id: ConversationId,
    pub number: i32,
    pub revision: i32,
    pub sender_id: Option<UserId>,
    pub kind: MessageKind,
    pub body: Option<String>,
    pub client_id: Option<String>,
    pub created_at: DateTime<Utc>,
    pub edited_at: Option<DateTime<Utc>>,
    /// When the message became a tombstone, which keeps the number of the message but not its body.
    pub deleted_at: Option<DateTime<Utc>>,
    /// When the message expires and becomes a tombstone.
    pub expires_at: Option<DateTime<Utc>>,
    pub reply_to_id: Option<MessageId>,
    pub forwarded: bool,
    pub pinned_at: Option<DateTime<Utc>>,
    /// The event that a SYSTEM message reports. None for other messages.
    pub system_kind: Option<SystemEventKind>,
    /// The user who caused the event that a SYSTEM message reports.
    pub actor_id: Option<UserId>,
    /// The user whom the reported event affects, such as a removed participant.
    pub subject_id: Option<UserId>,
    /// Text of the reported event, such as the new title or the new role.
    pub system_text: Option<String>,
}

impl Message {
    /// Creates a TEXT message without body and sender. Its number and revision are 0.
    pub fn empty(id: MessageId, conversation: ConversationId, created_at: DateTime<Utc>) -> Self {
        Self {
            id,
            conversation_id: conversation,
            number: 0,
            revision: 0,
            sender_id: None,
            kind: MessageKind::Text,
            body: None,
            client_id: None,
            created_at,
            edited_at: None,
            deleted_at: None,
            expires_at: None,
            reply_to_id: None,
            forwarded: false,
            pinned_at: None,
            system_kind: None,
            actor_id: None,
            subject_id: None,
            system_text: None,
        }
    }

    /// Whether the message was sent with attachments and is not deleted.
    pub fn has_attachments(&self) -> bool {
        !matches!(self.kind, MessageKind::Text | MessageKind::System) && self.deleted_at.is_none()
    }
}

/// A range of the messages of a conversation: at most `limit` messages between the numbers `after` and `before`, both
/// excluded, from either end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    pub after: i32,
    pub before: i32,
    pub newest_first: bool,
    pub limit: i64,
}

/// Defines the columns that an insert writes. The other columns of a new message are NULL or have their default.
macro_rules! inserted_columns {
    ($($column:ident),*) => {
        const INSERTED_COLUMNS: &[&str] = &[$(stringify!($column)),*];

        /// Executes a statement whose parameters are the inserted columns, each as an array with one element for each
        /// message.
        async fn execute_insert(conn: &mut Connection, statement: &str, new: &[Message]) -> QueryResult<usize> {
            let query = diesel::sql_query(statement)$(
                .bind::<Array<SqlTypeOf<messages::$column>>, _>(
                    new.iter().map(|message| &message.$column).collect::<Vec<_>>(),
                )
            )*;
            Prepared(query).execute(conn).await
        }
    };
}

inserted_columns! {
    id, conversation_id, number, revision, sender_id, kind, body, client_id, created_at, expires_at, reply_to_id,
    forwarded, system_kind, actor_id, subject_id, system_text
}

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let columns = INSERTED_COLUMNS.join(", ");
    let parameters = (1..=INSERTED_COLUMNS.len()).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
    format!(
        "WITH new AS (
             SELECT * FROM unnest({parameters}) AS new ({columns})
         ), inserted AS (
             INSERT INTO messages ({columns})
             SELECT * FROM new
             -- The same order for all, so that two writers with the same clientIds do not wait for each other.
             ORDER BY sender_id, client_id
         ), newest AS (
             SELECT DISTINCT ON (conversation_id) * FROM new ORDER BY conversation_id, number DESC
         ), advanced AS (
             UPDATE conversations
             SET last_message_id = newest.id, last_message_number = newest.number,
                 revision = newest.revision, last_activity_at = greatest(last_activity_at, newest.created_at)
             FROM newest WHERE conversations.id = newest.conversation_id
         ), own AS (
             SELECT conversation_id, sender_id, count(*) AS messages FROM new GROUP BY conversation_id, sender_id
         )
         UPDATE participants SET uncounted = uncounted + own.messages
         FROM own
         WHERE participants.conversation_id = own.conversation_id AND participants.user_id = own.sender_id"
    )
});

/// Inserts messages in the order of their numbers, and updates their conversations and the senders' `uncounted`, all in
/// one statement. SYSTEM messages need another statement, because they count as unread for no participant. The
/// conversations must be locked.
pub async fn insert_numbered(conn: &mut Connection, new: &[Message]) -> QueryResult<()> {
    execute_insert(conn, &INSERT, new).await?;
    let system: Vec<_> = new.iter().filter(|message| message.kind == MessageKind::System).collect();
    if !system.is_empty() {
        let conversations: Vec<_> = system.iter().map(|message| message.conversation_id).collect();
        unread::uncount_for_all(conn, &conversations).await?;
    }
    Ok(())
}

/// SQL query for the messages with given pairs of a sender and a clientId. LATERAL makes Postgres use one index lookup
/// for each pair. Without LATERAL, Postgres would look up every sender with every clientId, or scan a table that has
/// grown since its last ANALYZE.
static BY_CLIENT_IDS: LazyLock<String> = LazyLock::new(|| {
    let inserted = INSERTED_COLUMNS.join(", ");
    // The columns are named because a prepared statement with `*` fails after a migration that adds a column.
    format!(
        "SELECT found.* FROM unnest($1, $2) AS sent (sender_id, client_id)
         CROSS JOIN LATERAL (
             SELECT {inserted}, edited_at, deleted_at, pinned_at
             FROM messages
             WHERE messages.sender_id = sent.sender_id AND messages.client_id = sent.client_id
             LIMIT 1
         ) AS found"
    )
});

/// Reads the messages with these pairs of a sender and a clientId.
pub async fn by_client_ids(mut conn: &Connection, sent: &[(UserId, &str)]) -> QueryResult<Vec<Message>> {
    if sent.is_empty() {
        return Ok(Vec::new());
    }
    let (senders, client_ids): (Vec<_>, Vec<_>) = sent.iter().copied().unzip();
    let query =
        diesel::sql_query(BY_CLIENT_IDS.as_str()).bind::<Array<SqlUuid>, _>(senders).bind::<Array<Text>, _>(client_ids);
    Prepared(query).load(&mut conn).await
}

/// Reads the conversation and the number of each message.
pub async fn numbers(conn: &mut Connection, ids: &[MessageId]) -> QueryResult<Vec<(MessageId, ConversationId, i32)>> {
    messages::table
        .filter(messages::id.eq_any(ids))
        .select((messages::id, messages::conversation_id, messages::number))
        .load(conn)
        .await
}

pub async fn by_ids(conn: &mut Connection, ids: &[MessageId]) -> QueryResult<Vec<Message>> {
    messages::table.filter(messages::id.eq_any(ids)).select(Message::as_select()).load(conn).await
}

/// Reads the messages with these ids. Leaves out messages that the user may not see.
pub async fn visible_to(conn: &Connection, user: UserId, ids: &[MessageId]) -> QueryResult<Vec<Message>> {
    let pairs: Vec<_> = ids.iter().map(|&id| (user, id)).collect();
    Ok(visible(conn, &pairs).await?.into_iter().map(|seen| seen.message).collect())
}

/// Whether a user may see a message of a conversation in which the user is a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryableByName)]
pub struct Visibility {
    #[diesel(sql_type = SqlUuid)]
    pub user_id: UserId,
    #[diesel(sql_type = SqlUuid)]
    pub message_id: MessageId,
    #[diesel(sql_type = SqlUuid)]
    pub conversation_id: ConversationId,
    #[diesel(sql_type = Bool)]
    pub visible: bool,
}

/// Reads the visibility for pairs of a user and a message. Leaves out pairs whose user is not a participant of the
/// conversation.
pub async fn visibilities(mut conn: &Connection, pairs: &[(UserId, MessageId)]) -> QueryResult<Vec<Visibility>> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let (users, ids): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    diesel::sql_query(format!(
        // LATERAL makes Postgres use one index lookup for each pair, as in `BY_CLIENT_IDS`.
        "SELECT wanted.user_id, wanted.message_id, messages.conversation_id, {VISIBLE} AS visible
         FROM unnest($1, $2) AS wanted (user_id, message_id)
         CROSS JOIN LATERAL (
             SELECT id, conversation_id, number FROM messages WHERE id = wanted.message_id LIMIT 1
         ) AS messages
         CROSS JOIN LATERAL (
             SELECT user_id, hidden_up_to FROM participants
             WHERE conversation_id = messages.conversation_id AND user_id = wanted.user_id LIMIT 1
         ) AS viewer"
    ))
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<SqlUuid>, _>(ids)
    .load(&mut conn)
    .await
}

/// A message, and a user who may see it.
#[derive(Clone, Debug, QueryableByName)]
pub struct Seen {
    #[diesel(sql_type = SqlUuid)]
    pub viewer_id: UserId,
    #[diesel(embed)]
    pub message: Message,
}

/// Reads the messages for pairs of a user and a message. Leaves out messages that the user may not see.
pub async fn visible(mut conn: &Connection, pairs: &[(UserId, MessageId)]) -> QueryResult<Vec<Seen>> {
    let (users, ids): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    diesel::sql_query(format!(
        // LATERAL makes Postgres use one index lookup for each pair, as in `BY_CLIENT_IDS`.
        "SELECT viewer.user_id AS viewer_id, messages.*
         FROM unnest($1, $2) AS wanted (user_id, message_id)
         CROSS JOIN LATERAL (SELECT * FROM messages WHERE id = wanted.message_id LIMIT 1) AS messages
         CROSS JOIN LATERAL (
             SELECT user_id, hidden_up_to FROM participants
             WHERE conversation_id = messages.conversation_id AND user_id = wanted.user_id LIMIT 1
         ) AS viewer
         WHERE {VISIBLE}"
    ))
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<SqlUuid>, _>(ids)
    .load(&mut conn)
    .await
}

/// Reads the messages for triples of a user, a conversation and a number. Leaves out messages that the user may not
/// see.
pub async fn by_numbers(mut conn: &Connection, wanted: &[(UserId, ConversationId, i32)]) -> QueryResult<Vec<Seen>> {
    diesel::sql_query(format!(
        "SELECT viewer.user_id AS viewer_id, messages.*
         FROM unnest($1, $2, $3) AS wanted (user_id, conversation_id, number)
         CROSS JOIN LATERAL (
             SELECT user_id, hidden_up_to FROM participants
             WHERE conversation_id = wanted.conversation_id AND user_id = wanted.user_id LIMIT 1
         ) AS viewer
         CROSS JOIN LATERAL (
             SELECT * FROM messages
             WHERE conversation_id = wanted.conversation_id AND number = wanted.number LIMIT 1
         ) AS messages
         WHERE {VISIBLE}"
    ))
    .bind::<Array<SqlUuid>, _>(wanted.iter().map(|(user, _, _)| user).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(wanted.iter().map(|(_, conversation, _)| conversation).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(wanted.iter().map(|(_, _, number)| *number).collect::<Vec<_>>())
    .load(&mut conn)
    .await
}

/// Reads the messages in the same range of each conversation, for pairs of a user and a conversation, in the order of
/// the range. Leaves out messages that the user may not see.
pub async fn pages(mut conn: &Connection, wanted: &[(UserId, ConversationId)], range: Range) -> QueryResult<Vec<Seen>> {
    let order = if range.newest_first { "DESC" } else { "ASC" };
    let (users, conversations): (Vec<_>, Vec<_>) = wanted.iter().copied().unzip();
    diesel::sql_query(format!(
        "SELECT viewer.user_id AS viewer_id, page.* FROM unnest($1, $2) AS wanted (user_id, conversation_id)
         JOIN participants AS viewer
             ON viewer.conversation_id = wanted.conversation_id AND viewer.user_id = wanted.user_id
         CROSS JOIN LATERAL (
             SELECT * FROM messages
             WHERE conversation_id = wanted.conversation_id AND number > $3 AND number < $4 AND {VISIBLE}
             ORDER BY number {order}
             LIMIT $5
         ) AS page
         ORDER BY page.number {order}"
    ))
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Integer, _>(range.after)
    .bind::<Integer, _>(range.before)
    .bind::<BigInt, _>(range.limit)
    .load(&mut conn)
    .await
}

/// Stores the body, the edit time, the pin time and the revision of a message. Sets the revision of its conversation,
/// which must be locked, to the same revision.
pub async fn update(conn: &mut Connection, message: &Message) -> QueryResult<()> {
    let query = diesel::sql_query(
        "WITH advanced AS (UPDATE conversations SET revision = $3 WHERE id = $2)
         UPDATE messages SET revision = $3, body = $4, edited_at = $5, pinned_at = $6 WHERE id = $1",
    )
    .bind::<SqlUuid, _>(message.id)
    .bind::<SqlUuid, _>(message.conversation_id)
    .bind::<Integer, _>(message.revision)
    .bind::<Nullable<Text>, _>(message.body.as_deref())
    .bind::<Nullable<Timestamptz>, _>(message.edited_at)
    .bind::<Nullable<Timestamptz>, _>(message.pinned_at);
    Prepared(query).execute(conn).await.map(drop)
}
