//! Receipts: the last message that each participant has received and read, and the last message that all participants
//! have received and read.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Integer, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{ConversationId, UserId};
use crate::store::Connection;
use crate::store::schema::{participants, users};

/// New watermarks of a participant: the numbers of the last delivered and the last read message. 0 means no message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watermarks {
    pub delivered: i32,
    pub read: i32,
}

/// A participant whose watermarks have moved.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct Advanced {
    #[diesel(sql_type = SqlUuid)]
    pub conversation_id: ConversationId,
    #[diesel(sql_type = SqlUuid)]
    pub user_id: UserId,
    /// Whether the delivered position advanced.
    #[diesel(sql_type = Bool)]
    pub delivered: bool,
    /// Whether the user has enabled read receipts.
    #[diesel(sql_type = Bool)]
    pub shows_reading: bool,
}

/// Moves watermarks forward, never back, and returns the participants whose watermarks have moved. The conversations
/// must be locked, because `uncounted` and `unread_mentions` are recomputed from the messages after the new read
/// position. A count of 0 is not recomputed, because it stays 0.
pub async fn advance(
    conn: &mut Connection,
    watermarks: &BTreeMap<(ConversationId, UserId), Watermarks>,
) -> QueryResult<Vec<Advanced>> {
    diesel::sql_query(
        "UPDATE participants AS old
         SET last_delivered_number = greatest(old.last_delivered_number, new.delivered),
             last_read_number = greatest(old.last_read_number, new.read),
             uncounted = CASE WHEN new.read <= old.last_read_number OR old.uncounted = 0 THEN old.uncounted ELSE (
                 SELECT count(*) FROM messages
                 WHERE conversation_id = new.conversation_id AND sender_id = new.user_id
                     AND number > new.read
             ) + (
                 SELECT count(*) FROM messages
                 WHERE conversation_id = new.conversation_id AND (kind = 'SYSTEM' OR deleted_at IS NOT NULL)
                     AND number > new.read AND sender_id IS DISTINCT FROM new.user_id
             ) + (
                 SELECT count(*) FROM messages JOIN message_hidden ON message_hidden.message_id = messages.id
                 WHERE conversation_id = new.conversation_id AND message_hidden.user_id = new.user_id
                     AND kind <> 'SYSTEM' AND deleted_at IS NULL
                     AND number > new.read AND sender_id IS DISTINCT FROM new.user_id
             ) END,
             unread_mentions = CASE
                 WHEN new.read <= old.last_read_number OR old.unread_mentions = 0 THEN old.unread_mentions
                 ELSE (SELECT count(*) FROM (
                     SELECT mentions.number FROM mentions JOIN messages ON messages.id = mentions.message_id
                     WHERE mentions.user_id = new.user_id AND mentions.conversation_id = new.conversation_id
                         AND mentions.number > new.read
                         AND sender_id IS DISTINCT FROM new.user_id
                     UNION
                     SELECT number FROM messages
                     WHERE conversation_id = new.conversation_id AND mentions_all
                         AND number > new.read AND sender_id IS DISTINCT FROM new.user_id
                     EXCEPT
                     SELECT number FROM messages JOIN message_hidden ON message_hidden.message_id = messages.id
                     WHERE conversation_id = new.conversation_id AND message_hidden.user_id = new.user_id
                         AND number > new.read
                 ) AS mentioning)
             END
         FROM unnest($1, $2, $3, $4) AS new (conversation_id, user_id, delivered, read)
         WHERE old.conversation_id = new.conversation_id AND old.user_id = new.user_id
             AND (old.last_delivered_number < new.delivered OR old.last_read_number < new.read)
         RETURNING old.conversation_id, old.user_id,
             NOT EXISTS (SELECT 1 FROM users WHERE id = old.user_id AND NOT read_receipts) AS shows_reading,
             -- What a statement reads is as of before it.
             old.last_delivered_number > (
                 SELECT last_delivered_number FROM participants AS before
                 WHERE before.conversation_id = old.conversation_id AND before.user_id = old.user_id
             ) AS delivered",
    )
    .bind::<Array<SqlUuid>, _>(watermarks.keys().map(|(conversation, _)| conversation).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(watermarks.keys().map(|(_, user)| user).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(watermarks.values().map(|to| to.delivered).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(watermarks.values().map(|to| to.read).collect::<Vec<_>>())
    .load(conn)
    .await
}

/// The progress of a conversation: its participants with the lowest watermarks.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The two participants with the lowest delivered numbers, the lowest first. For messages that the first
    /// participant sent, the number of the second participant counts.
    pub delivered: Vec<(UserId, i32)>,
    /// The two participants with the lowest read numbers, the lowest first.
    pub read: Vec<(UserId, i32)>,
    /// Whether any participant has disabled read receipts.
    pub hidden: bool,
}

/// Reads the progress of each conversation that has participants.
pub async fn progress(
    conn: &mut Connection,
    conversations: &[ConversationId],
) -> QueryResult<HashMap<ConversationId, Progress>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        conversation_id: ConversationId,
        #[diesel(sql_type = Bool)]
        hidden: bool,
        #[diesel(sql_type = Bool)]
        is_read: bool,
        #[diesel(sql_type = SqlUuid)]
        user_id: UserId,
        #[diesel(sql_type = Integer)]
        number: i32,
    }
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT wanted.id AS conversation_id, lowest.is_read, lowest.user_id, lowest.number, EXISTS (
             SELECT 1 FROM participants JOIN users ON users.id = participants.user_id
             WHERE participants.conversation_id = wanted.id AND NOT read_receipts
         ) AS hidden
         FROM unnest($1) AS wanted (id) CROSS JOIN LATERAL (
             (
                 SELECT false AS is_read, user_id, last_delivered_number AS number
                 FROM participants WHERE conversation_id = wanted.id ORDER BY number LIMIT 2
             )
             UNION ALL
             (
                 SELECT true, user_id, last_read_number AS number
                 FROM participants WHERE conversation_id = wanted.id ORDER BY number LIMIT 2
             )
         ) AS lowest
         ORDER BY lowest.number",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .load(conn)
    .await?;
    let mut progress: HashMap<_, Progress> = HashMap::new();
    for row in rows {
        let of = progress.entry(row.conversation_id).or_default();
        of.hidden = row.hidden;
        let marks = if row.is_read { &mut of.read } else { &mut of.delivered };
        marks.push((row.user_id, row.number));
    }
    Ok(progress)
}

/// Reads the participants of the conversations who have disabled read receipts.
pub async fn receipts_off(
    conn: &mut Connection,
    conversations: &[ConversationId],
) -> QueryResult<Vec<(ConversationId, UserId)>> {
    participants::table
        .inner_join(users::table)
        .filter(participants::conversation_id.eq_any(conversations).and(users::read_receipts.eq(false)))
        .select((participants::conversation_id, participants::user_id))
        .load(conn)
        .await
}
