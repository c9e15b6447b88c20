//! The search index: the words of messages, and names and titles without case, accents and width.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::ids::{ConversationId, MessageId};
use crate::store::schema::{messages, search_state};
use crate::store::{Connection, Prepared, text_enum};
use crate::text::fold;

text_enum!(Rebuilding { Messages = "MESSAGES", Users = "USERS", Conversations = "CONVERSATIONS" });

/// A message to index.
#[derive(Debug, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = messages, check_for_backend(diesel::pg::Pg))]
pub struct Source {
    pub id: MessageId,
    pub conversation_id: ConversationId,
    pub body: Option<String>,
}

/// The index entry of a message. A message without words has no entry.
pub struct Entry {
    pub message: MessageId,
    pub conversation: ConversationId,
    pub words: Vec<String>,
}

/// The state of the index.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = search_state, check_for_backend(diesel::pg::Pg))]
pub struct State {
    /// Version of the text analysis that computed the index.
    pub analysis: i32,
    /// The rows that a rebuild indexes now. None if no rebuild is running.
    pub rebuilding: Option<Rebuilding>,
    /// The last row that the rebuild has indexed.
    pub rebuilt_up_to: Uuid,
}

pub async fn state(conn: &mut Connection) -> QueryResult<State> {
    search_state::table.select(State::as_select()).first(conn).await
}

/// Begins a rebuild with this version of the text analysis, or begins it again if one is running.
pub async fn begin_rebuild(conn: &mut Connection, analysis: i32) -> QueryResult<()> {
    diesel::update(search_state::table)
        .set((
            search_state::analysis.eq(analysis),
            search_state::rebuilding.eq(Some(Rebuilding::Messages)),
            search_state::rebuilt_up_to.eq(Uuid::nil()),
        ))
        .execute(conn)
        .await
        .map(drop)
}

/// Stores the progress of a rebuild. Changes nothing if the state is no longer `old`, because a new rebuild has begun.
pub async fn advance_rebuild(conn: &mut Connection, old: &State, new: &State) -> QueryResult<()> {
    diesel::update(search_state::table)
        .filter(search_state::analysis.eq(old.analysis))
        .filter(search_state::rebuilding.is_not_distinct_from(old.rebuilding))
        .filter(search_state::rebuilt_up_to.eq(old.rebuilt_up_to))
        .set((
            search_state::analysis.eq(new.analysis),
            search_state::rebuilding.eq(new.rebuilding),
            search_state::rebuilt_up_to.eq(new.rebuilt_up_to),
        ))
        .execute(conn)
        .await
        .map(drop)
}

/// Reads the messages with these ids that exist. The subquery with LIMIT makes Postgres use the primary key, also in a
/// new database, where the planner does not know the size of the table.
pub async fn sources(conn: &mut Connection, ids: &[MessageId]) -> QueryResult<Vec<Source>> {
    let query = diesel::sql_query(
        "SELECT found.* FROM unnest($1) AS wanted (id)
         CROSS JOIN LATERAL (
             SELECT id, conversation_id, body FROM messages WHERE messages.id = wanted.id LIMIT 1
         ) AS found",
    );
    Prepared(query.bind::<Array<SqlUuid>, _>(ids)).load(conn).await
}

/// Reads the first `limit` messages after the id `after`.
pub async fn sources_after(conn: &mut Connection, after: Uuid, limit: i64) -> QueryResult<Vec<Source>> {
    messages::table
        .filter(messages::id.gt(MessageId(after)))
        .order(messages::id)
        .limit(limit)
        .select(Source::as_select())
        .load(conn)
        .await
}

/// Replaces the index entries of these messages. Leaves out messages that no longer exist.
pub async fn write(conn: &mut Connection, entries: &[Entry]) -> QueryResult<()> {
    let (empty, filled): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.words.is_empty());
    let empty: Vec<_> = empty.into_iter().map(|entry| entry.message).collect();
    if !empty.is_empty() {
        diesel::sql_query("DELETE FROM search_index WHERE message_id = ANY($1)")
            .bind::<Array<SqlUuid>, _>(empty)
            .execute(conn)
            .await?;
    }
    if filled.is_empty() {
        return Ok(());
    }
    // Reactions and pins also update a message. Its words then stay the same, and its entry is not written again.
    let query = diesel::sql_query(
        "INSERT INTO search_index (message_id, words)
         SELECT found.id, array_to_tsvector(string_to_array(entry.words, E'\\n'))
         FROM unnest($1, $2) AS entry (id, words)
         CROSS JOIN LATERAL (SELECT id FROM messages WHERE messages.id = entry.id LIMIT 1) AS found
         ON CONFLICT (message_id) DO UPDATE SET words = excluded.words
         WHERE search_index.words <> excluded.words",
    )
    .bind::<Array<SqlUuid>, _>(filled.iter().map(|entry| entry.message).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(filled.iter().map(|entry| scoped(entry)).collect::<Vec<_>>());
    Prepared(query).execute(conn).await.map(drop)
}

/// Returns the words of an entry, one on each line, each with the prefix of its conversation.
fn scoped(entry: &Entry) -> String {
    let scope = scope(entry.conversation);
    entry.words.iter().map(|word| format!("{scope}{word}")).collect::<Vec<_>>().join("\n")
}

/// Returns the prefix of all index entries of a conversation. Two conversations may have the same prefix, so a search
/// also filters by conversation.
fn scope(conversation: ConversationId) -> String {
    let id = conversation.0.to_string();
    format!("{} ", &id[id.len() - 8..])
}

/// Folds the names of the first `limit` users after the id `after`. Returns the id of the last of them, or None if there
/// are fewer than `limit`.
pub async fn fold_names(conn: &mut Connection, after: Uuid, limit: i64) -> QueryResult<Option<Uuid>> {
    fold_column(conn, ["users", "display_name", "search_name"], after, limit).await
}

/// Like `fold_names`, for the titles of conversations.
pub async fn fold_titles(conn: &mut Connection, after: Uuid, limit: i64) -> QueryResult<Option<Uuid>> {
    fold_column(conn, ["conversations", "title", "search_title"], after, limit).await
}

async fn fold_column(
    conn: &mut Connection,
    [table, shown, folded]: [&str; 3],
    after: Uuid,
    limit: i64,
) -> QueryResult<Option<Uuid>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        id: Uuid,
        #[diesel(sql_type = Nullable<Text>)]
        shown: Option<String>,
    }
    let page = format!("SELECT id, {shown} AS shown FROM {table} WHERE id > $1 ORDER BY id LIMIT $2 FOR NO KEY UPDATE");
    let rows: Vec<Row> = diesel::sql_query(page).bind::<SqlUuid, _>(after).bind::<BigInt, _>(limit).load(conn).await?;
    let update = format!(
        "UPDATE {table} SET {folded} = new.folded FROM unnest($1, $2) AS new (id, folded)
         WHERE {table}.id = new.id AND {table}.{folded} IS DISTINCT FROM new.folded"
    );
    diesel::sql_query(update)
        .bind::<Array<SqlUuid>, _>(rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|row| row.shown.as_deref().map(fold)).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(last_of_page(rows.iter().map(|row| row.id), limit))
}

/// Returns the last id of a page with `limit` rows. Returns None if the page is not full.
pub fn last_of_page(ids: impl ExactSizeIterator<Item = Uuid>, limit: i64) -> Option<Uuid> {
    if i64::try_from(ids.len()).is_ok_and(|count| count == limit) { ids.last() } else { None }
}

/// Counts the messages with a higher id, for the progress of a rebuild.
pub async fn count_after(conn: &mut Connection, after: Uuid) -> QueryResult<i64> {
    messages::table.filter(messages::id.gt(MessageId(after))).count().get_result(conn).await
}
