//! Full-text search over messages, in the index that `search_index` writes.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::messages::Message;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::Connection;
use crate::store::visibility::VISIBLE;
use crate::text::Term;

/// The criteria of a search.
#[derive(Clone, Debug)]
pub struct Criteria {
    /// Words that a message must contain.
    pub terms: Vec<Term>,
    pub conversation: Option<ConversationId>,
    pub sender: Option<UserId>,
}

/// Returns the SQL query of `messages`. This function is public because a test runs EXPLAIN on the query.
///
/// The index is queried for about 200 conversations at a time, so that the query of the index stays small. The messages
/// found in the index are filtered in a later step by sender and by what the user may see: in one step, Postgres would
/// read all messages of the sender instead of the index. Whole rows are read only for the messages of the page, because
/// a common word is in many messages. A tombstone has no body, so no search finds it, even if it is still indexed.
pub fn statement() -> String {
    format!(
        "WITH mine AS MATERIALIZED (
             SELECT conversation_id, user_id, hidden_up_to, row_number() OVER () / 200 AS part
             FROM participants WHERE user_id = $1 AND ($3 IS NULL OR conversation_id = $3)
         ), parts AS MATERIALIZED (
             SELECT part, string_agg(
                 '(' || replace($2, '%', right(conversation_id::text, 8) || ' ') || ')', ' | '
             )::tsquery AS terms
             FROM mine GROUP BY part
         ), found AS MATERIALIZED (
             SELECT id, conversation_id, number, sender_id, created_at, part
             FROM parts JOIN search_index ON words @@ terms JOIN messages ON id = message_id
             WHERE body IS NOT NULL
         ), page AS (
             SELECT messages.id FROM found AS messages JOIN mine AS viewer USING (conversation_id, part)
             WHERE {VISIBLE}
                 AND ($4 IS NULL OR sender_id = $4) AND ($5 IS NULL OR (created_at, id) < ($5, $6))
             ORDER BY created_at DESC, id DESC
             LIMIT $7
         )
         SELECT messages.* FROM page JOIN messages USING (id) ORDER BY created_at DESC, id DESC"
    )
}

/// Returns the query of the index for one conversation, with `%` in place of the prefix of the conversation. Words need
/// no escaping, because they contain no quotes, backslashes and percent signs.
fn pattern(terms: &[Term]) -> String {
    let term = |term: &Term| match term {
        Term::Word(word) => format!("'%{word}'"),
        Term::Prefix(word) => format!("'%{word}':*"),
    };
    terms.iter().map(term).collect::<Vec<_>>().join(" & ")
}

/// Reads the first `limit` messages after the position `after` that match the search and that the user may see, newest
/// first.
pub async fn messages(
    conn: &mut Connection,
    user: UserId,
    criteria: &Criteria,
    after: Option<(DateTime<Utc>, MessageId)>,
    limit: i64,
) -> QueryResult<Vec<Message>> {
    diesel::sql_query(statement())
        .bind::<SqlUuid, _>(user)
        .bind::<Text, _>(pattern(&criteria.terms))
        .bind::<Nullable<SqlUuid>, _>(criteria.conversation)
        .bind::<Nullable<SqlUuid>, _>(criteria.sender)
        .bind::<Nullable<Timestamptz>, _>(after.map(|(at, _)| at))
        .bind::<Nullable<SqlUuid>, _>(after.map(|(_, id)| id))
        .bind::<BigInt, _>(limit)
        .load(conn)
        .await
}
