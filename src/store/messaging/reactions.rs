//! Reactions: emojis that users put on messages.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{MessageId, UserId};
use crate::store::Connection;
use crate::store::people::users::User;
use crate::store::schema::message_reactions;

#[derive(Debug, Insertable)]
#[diesel(table_name = message_reactions)]
pub struct Reaction<'a> {
    pub message_id: MessageId,
    pub user_id: UserId,
    pub emoji: &'a str,
    /// The revision of the message that this reaction created. Reactions of a message are sorted by this revision.
    pub revision: i32,
}

/// An emoji on a message, and the number of users who reacted with it.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Group {
    #[diesel(sql_type = SqlUuid)]
    pub message_id: MessageId,
    #[diesel(sql_type = Text)]
    pub emoji: String,
    #[diesel(sql_type = Integer)]
    pub count: i32,
}

/// A user who reacted to a message with an emoji. Reactions of a message are sorted by `revision`.
#[derive(Clone, Debug, QueryableByName)]
pub struct Reactor {
    #[diesel(sql_type = SqlUuid)]
    pub message_id: MessageId,
    #[diesel(sql_type = Text)]
    pub emoji: String,
    #[diesel(sql_type = Integer)]
    pub revision: i32,
    #[diesel(embed)]
    pub user: User,
}

/// Inserts the reaction. Returns whether the reaction is new.
pub async fn insert(conn: &mut Connection, reaction: &Reaction<'_>) -> QueryResult<bool> {
    let query = diesel::insert_into(message_reactions::table).values(reaction).on_conflict_do_nothing();
    query.execute(conn).await.map(|inserted| inserted == 1)
}

/// Deletes the reaction. Returns whether the reaction existed.
pub async fn delete(conn: &mut Connection, message: MessageId, user: UserId, emoji: &str) -> QueryResult<bool> {
    let reaction = message_reactions::table.find((message, user, emoji));
    diesel::delete(reaction).execute(conn).await.map(|deleted| deleted == 1)
}

/// Reads the emojis on each message, in the order of their earliest reactions.
pub async fn groups(conn: &mut Connection, messages: &[MessageId]) -> QueryResult<Vec<Group>> {
    diesel::sql_query(
        "SELECT message_id, emoji, count(*)::integer AS count FROM message_reactions
         WHERE message_id = ANY($1)
         GROUP BY message_id, emoji
         ORDER BY message_id, min(revision)",
    )
    .bind::<Array<SqlUuid>, _>(messages)
    .load(conn)
    .await
}

/// An emoji that a user put on a message.
#[derive(Clone, Debug, QueryableByName)]
pub struct Own {
    #[diesel(sql_type = SqlUuid)]
    pub user_id: UserId,
    #[diesel(sql_type = SqlUuid)]
    pub message_id: MessageId,
    #[diesel(sql_type = Text)]
    pub emoji: String,
}

/// Reads the emojis that users put on messages, for pairs of a user and a message.
pub async fn of_users(mut conn: &Connection, pairs: &[(UserId, MessageId)]) -> QueryResult<Vec<Own>> {
    let (users, messages): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    diesel::sql_query(
        "SELECT user_id, message_id, emoji
         FROM unnest($1, $2) AS wanted (user_id, message_id) JOIN message_reactions USING (user_id, message_id)",
    )
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<SqlUuid>, _>(messages)
    .load(&mut conn)
    .await
}

/// Reads the first `limit` users who reacted after the revision `after`, for pairs of a message and an emoji, in the
/// order of their reactions.
pub async fn pages(
    conn: &mut Connection,
    groups: &[(MessageId, &str)],
    after: i32,
    limit: i64,
) -> QueryResult<Vec<Reactor>> {
    let (messages, emojis): (Vec<_>, Vec<_>) = groups.iter().copied().unzip();
    diesel::sql_query(
        "SELECT page.message_id, page.emoji, page.revision, users.*
         FROM unnest($1, $2) AS wanted (message_id, emoji) CROSS JOIN LATERAL (
             SELECT message_id, emoji, revision, user_id FROM message_reactions
             WHERE message_id = wanted.message_id AND emoji = wanted.emoji AND revision > $3
             ORDER BY revision
             LIMIT $4
         ) AS page
         JOIN users ON users.id = page.user_id
         ORDER BY page.revision",
    )
    .bind::<Array<SqlUuid>, _>(messages)
    .bind::<Array<Text>, _>(emojis)
    .bind::<Integer, _>(after)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}
