//! Conversations, direct and in groups.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use diesel_async::RunQueryDsl;

use super::participants::Participant;
use crate::ids::{AttachmentId, ConversationId, MessageId, UserId};
use crate::store::messaging::messages::{Message, MessageKind};
use crate::store::schema::{conversations, participants};
use crate::store::{Connection, escape_like, text_enum};

text_enum!(ConversationKind { Direct = "DIRECT", Group = "GROUP" });

#[diesel::declare_sql_function]
extern "SQL" {
    fn lower(text: Nullable<Text>) -> Nullable<Text>;
}

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
    /// Whether those who join may see what was before.
    pub history_visible: bool,
    pub avatar_id: Option<AttachmentId>,
}

impl Conversation {
    /// The message that is next in it: an empty text of nobody's, until it is told otherwise. The conversation must be
    /// locked.
    pub fn next_message(&self, id: MessageId, now: DateTime<Utc>) -> Message {
        Message {
            id,
            conversation_id: self.id,
            number: self.last_message_number + 1,
            revision: self.revision + 1,
            sender_id: None,
            kind: MessageKind::Text,
            body: None,
            client_id: None,
            created_at: now,
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

    /// The other of the two in a direct conversation; None in a group.
    pub fn other_than(&self, user: UserId) -> Option<UserId> {
        if self.direct_low == Some(user) { self.direct_high } else { self.direct_low }
    }

    /// As it is once the message is inserted.
    pub fn has_got(&mut self, message: &Message) {
        self.last_message_id = Some(message.id);
        self.last_message_number = message.number;
        self.revision = message.revision;
        self.last_activity_at = self.last_activity_at.max(message.created_at);
    }
}

/// Which of a user's conversations to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub kind: Option<ConversationKind>,
    /// Those that are archived, in place of those that are not.
    pub archived: bool,
    pub unread_only: bool,
    /// Lower case.
    pub title_contains: Option<String>,
}

/// Returns whether it was inserted: false where the pair has its direct conversation already.
pub async fn insert(conn: &mut Connection, conversation: &Conversation) -> QueryResult<bool> {
    diesel::insert_into(conversations::table)
        .values(conversation)
        .on_conflict((conversations::direct_low, conversations::direct_high))
        .do_nothing()
        .execute(conn)
        .await
        .map(|inserted| inserted == 1)
}

/// Stores how many take part.
pub async fn update_participation(conn: &mut Connection, conversation: &Conversation) -> QueryResult<()> {
    diesel::update(conversations::table.find(conversation.id))
        .set(conversations::participant_count.eq(conversation.participant_count))
        .execute(conn)
        .await?;
    Ok(())
}

/// Stores what people set for a group. An avatar must be held.
pub async fn update_settings(conn: &mut Connection, conversation: &Conversation) -> QueryResult<()> {
    diesel::update(conversations::table.find(conversation.id))
        .set((
            conversations::title.eq(&conversation.title),
            conversations::topic.eq(&conversation.topic),
            conversations::history_visible.eq(conversation.history_visible),
            conversations::avatar_id.eq(conversation.avatar_id),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// With its messages and all else that belongs to it.
pub async fn delete(conn: &mut Connection, id: ConversationId) -> QueryResult<()> {
    diesel::delete(conversations::table.find(id)).execute(conn).await?;
    Ok(())
}

pub async fn by_ids(conn: &mut Connection, ids: &[ConversationId]) -> QueryResult<Vec<Conversation>> {
    conversations::table.filter(conversations::id.eq_any(ids)).select(Conversation::as_select()).load(conn).await
}

/// Those of the conversations that the user takes part in.
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

/// Holds the conversation until the transaction ends, so that its numbers are given out one by one.
pub async fn lock(conn: &mut Connection, id: ConversationId) -> QueryResult<Option<Conversation>> {
    conversations::table.find(id).select(Conversation::as_select()).for_no_key_update().first(conn).await.optional()
}

/// The same for several, locked in the order of their ids.
pub async fn lock_many(mut conn: &Connection, ids: &[ConversationId]) -> QueryResult<Vec<Conversation>> {
    conversations::table
        .filter(conversations::id.eq_any(ids))
        .order(conversations::id)
        .select(Conversation::as_select())
        .for_no_key_update()
        .load(&mut conn)
        .await
}

/// A user's conversations with the user's own state in each, most recently active first, after the place `after`.
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
        query = query.filter(lower(conversations::title).like(format!("%{}%", escape_like(text))));
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

/// The unread messages over all of a user's conversations that are neither archived nor muted.
pub async fn unread_count(conn: &mut Connection, user: UserId, now: DateTime<Utc>) -> QueryResult<i64> {
    participants::table
        .inner_join(conversations::table)
        .filter(participants::user_id.eq(user).and(participants::archived.eq(false)))
        .filter(participants::muted_until.is_null().or(participants::muted_until.le(now)))
        .select(diesel::dsl::sum(unread()))
        .first::<Option<i64>>(conn)
        .await
        .map(Option::unwrap_or_default)
}

/// As `Participant::unread` has it.
#[diesel::dsl::auto_type]
fn unread() -> _ {
    conversations::last_message_number - participants::last_read_number - participants::uncounted
}
