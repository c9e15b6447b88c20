//! Conversations: direct conversations and groups.

use chrono::{DateTime, Utc};
use diesel::dsl::Eq;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::participants::Participant;
use crate::ids::{AttachmentId, ConversationId, MessageId, UserId};
use crate::store::messaging::messages::Message;
use crate::store::schema::{conversations, participants};
use crate::store::{Connection, Prepared, escape_like, text_enum};
use crate::text;

text_enum!(ConversationKind { Direct = "DIRECT", Group = "GROUP" });

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = conversations, check_for_backend(diesel::pg::Pg))]
pub struct Conversation {
    pub id: ConversationId,
    pub kind: ConversationKind,
    pub title: Option<String>,
    pub topic: Option<String>,
    pub created_by: Option<UserId>,
    pub created_at: DateTime<Utc>,
    pub last_activity_at: DateTime<Utc>,
    pub last_message_id: Option<MessageId>,
    pub last_message_number: i32,
    pub revision: i32,
    pub participant_count: i32,
    pub direct_low: Option<UserId>,
    pub direct_high: Option<UserId>,
    /// Whether users who join may see earlier messages.
    pub history_visible: bool,
    pub avatar_id: Option<AttachmentId>,
}

impl Conversation {
    /// Returns a template of the next message: a TEXT message without body and sender, with the next number and
    /// revision. The conversation must be locked.
    pub fn next_message(&self, id: MessageId, now: DateTime<Utc>) -> Message {
        Message {
            number: self.last_message_number + 1,
            revision: self.revision + 1,
            ..Message::empty(id, self.id, now)
        }
    }

    /// Returns the other participant of a direct conversation. Returns None for a group.
    pub fn other_than(&self, user: UserId) -> Option<UserId> {
        if self.direct_low == Some(user) { self.direct_high } else { self.direct_low }
    }

    /// Updates this copy of the conversation in the same way as the insert of the message updates the row.
    pub fn apply_new_message(&mut self, message: &Message) {
        self.last_message_id = Some(message.id);
        self.last_message_number = message.number;
        self.revision = message.revision;
        self.last_activity_at = self.last_activity_at.max(message.created_at);
    }
}

/// Filter for the list of a user's conversations.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub kind: Option<ConversationKind>,
    /// If true, only archived conversations are listed. If false, only conversations that are not archived.
    pub archived: bool,
    pub unread_only: bool,
    /// Text that the title must contain, folded by `text::fold`.
    pub title_contains: Option<String>,
}

/// Returns the assignment of the column `search_title`.
fn search_title(conversation: &Conversation) -> Eq<conversations::search_title, Option<String>> {
    conversations::search_title.eq(conversation.title.as_deref().map(text::fold))
}

/// Inserts the conversation. Returns false and inserts nothing if the two users already have a direct conversation.
pub async fn insert(conn: &mut Connection, conversation: &Conversation) -> QueryResult<bool> {
    diesel::insert_into(conversations::table)
        .values((conversation, search_title(conversation)))
        .on_conflict((conversations::direct_low, conversations::direct_high))
        .do_nothing()
        .execute(conn)
        .await
        .map(|inserted| inserted == 1)
}

/// Stores the number of participants of the conversation.
pub async fn update_participation(conn: &mut Connection, conversation: &Conversation) -> QueryResult<()> {
    diesel::update(conversations::table.find(conversation.id))
        .set(conversations::participant_count.eq(conversation.participant_count))
        .execute(conn)
        .await?;
    Ok(())
}

/// Stores the settings of a group. A new avatar must be locked with `attachments::lock`.
pub async fn update_settings(conn: &mut Connection, conversation: &Conversation) -> QueryResult<()> {
    diesel::update(conversations::table.find(conversation.id))
        .set((
            conversations::title.eq(&conversation.title),
            search_title(conversation),
            conversations::topic.eq(&conversation.topic),
            conversations::history_visible.eq(conversation.history_visible),
            conversations::avatar_id.eq(conversation.avatar_id),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Deletes the conversation, its messages and everything else that belongs to it.
pub async fn delete(conn: &mut Connection, id: ConversationId) -> QueryResult<()> {
    diesel::delete(conversations::table.find(id)).execute(conn).await?;
    Ok(())
}

pub async fn by_ids(conn: &mut Connection, ids: &[ConversationId]) -> QueryResult<Vec<Conversation>> {
    conversations::table.filter(conversations::id.eq_any(ids)).select(Conversation::as_select()).load(conn).await
}

/// Reads the conversations with these ids. Leaves out conversations in which the user is not a participant.
pub async fn visible_to(conn: &mut Connection, user: UserId, ids: &[ConversationId]) -> QueryResult<Vec<Conversation>> {
    conversations::table
        .inner_join(participants::table)
        .filter(conversations::id.eq_any(ids).and(participants::user_id.eq(user)))
        .select(Conversation::as_select())
        .load(conn)
        .await
}

pub async fn direct_of(conn: &mut Connection, low: UserId, high: UserId) -> QueryResult<Option<Conversation>> {
    conversations::table
        .filter(conversations::direct_low.eq(low).and(conversations::direct_high.eq(high)))
        .select(Conversation::as_select())
        .first(conn)
        .await
        .optional()
}

/// Locks the conversation until the transaction ends, so that message numbers are assigned one by one. Returns None if
/// the conversation does not exist.
pub async fn lock(conn: &mut Connection, id: ConversationId) -> QueryResult<Option<Conversation>> {
    conversations::table.find(id).select(Conversation::as_select()).for_no_key_update().first(conn).await.optional()
}

/// Locks several conversations, in the order of their ids, until the transaction ends. Returns those that exist.
pub async fn lock_many(mut conn: &Connection, ids: &[ConversationId]) -> QueryResult<Vec<Conversation>> {
    conversations::table
        .filter(conversations::id.eq_any(ids))
        .order(conversations::id)
        .select(Conversation::as_select())
        .for_no_key_update()
        .load(&mut conn)
        .await
}

/// Reads the first `limit` conversations of the user after the position `after`, most recently active first, each with
/// the user's participant. Leaves out conversations that are hidden from the user.
pub async fn list(
    conn: &mut Connection,
    user: UserId,
    filter: &Filter,
    after: Option<(DateTime<Utc>, ConversationId)>,
    limit: i64,
) -> QueryResult<Vec<(Conversation, Participant)>> {
    let mut query = participants::table
        .inner_join(conversations::table)
        .filter(participants::user_id.eq(user).and(diesel::dsl::not(participants::unannounced)))
        .filter(participants::archived.eq(filter.archived))
        .order((conversations::last_activity_at.desc(), conversations::id.desc()))
        .limit(limit)
        .select((Conversation::as_select(), Participant::as_select()))
        .into_boxed();
    if let Some(kind) = filter.kind {
        query = query.filter(conversations::kind.eq(kind));
    }
    if filter.unread_only {
        query = query.filter(unread().gt(0));
    }
    if let Some(text) = &filter.title_contains {
        query = query.filter(conversations::search_title.like(format!("%{}%", escape_like(text))));
    }
    if let Some((at, id)) = after {
        query = query.filter(
            conversations::last_activity_at
                .lt(at)
                .or(conversations::last_activity_at.eq(at).and(conversations::id.lt(id))),
        );
    }
    query.load(conn).await
}

/// Counts the unread messages in all of the user's conversations that are neither archived nor muted.
pub async fn unread_count(conn: &mut Connection, user: UserId, now: DateTime<Utc>) -> QueryResult<i64> {
    let counts = unread_counts(conn, &[user], now).await?;
    Ok(counts.into_iter().next().map_or(0, |(_, unread)| unread))
}

/// Counts for each user what `unread_count` counts for one. Leaves out users without such conversations.
pub async fn unread_counts(
    conn: &mut Connection,
    users: &[UserId],
    now: DateTime<Utc>,
) -> QueryResult<Vec<(UserId, i64)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        user_id: UserId,
        #[diesel(sql_type = BigInt)]
        unread: i64,
    }
    let query = diesel::sql_query(
        "SELECT user_id, sum(last_message_number - last_read_number - uncounted)::bigint AS unread
         FROM participants JOIN conversations ON conversations.id = participants.conversation_id
         WHERE user_id = ANY($1) AND NOT archived AND (muted_until IS NULL OR muted_until <= $2)
         GROUP BY user_id",
    )
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Timestamptz, _>(now);
    let rows: Vec<Row> = Prepared(query).load(conn).await?;
    Ok(rows.into_iter().map(|row| (row.user_id, row.unread)).collect())
}

/// SQL expression that computes `Participant::unread`, but without the lower bound of 0.
#[diesel::dsl::auto_type]
fn unread() -> _ {
    conversations::last_message_number - participants::last_read_number - participants::uncounted
}
