//! The former bodies of edited messages, which are kept for the audit.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::MessageId;
use crate::store::{Connection, Prepared};

/// A former body of an edited message.
#[derive(Debug)]
pub struct Edit<'a> {
    pub message_id: MessageId,
    /// The revision of the message at which this body was replaced.
    pub revision: i32,
    pub body: Option<&'a str>,
    pub until: DateTime<Utc>,
}

/// Inserts the edit for the audit. Keeps at most `max` edits of each message: the first edit, which has the original
/// body, and the newest edits. `max` must be at least 2. The conversation must be locked.
pub async fn insert(conn: &mut Connection, edit: &Edit<'_>, max: i32) -> QueryResult<()> {
    // The DELETE does not see the row that the same statement inserts, so it keeps only `max` - 1 rows.
    let query = diesel::sql_query(
        "WITH kept AS (
             SELECT revision, row_number() OVER (ORDER BY revision) AS place, count(*) OVER () AS total
             FROM message_edits WHERE message_id = $1
         ), dropped AS (
             DELETE FROM message_edits WHERE message_id = $1 AND revision IN (
                 SELECT revision FROM kept WHERE place BETWEEN 2 AND total + 2 - $5
             )
         )
         INSERT INTO message_edits (message_id, revision, body, until) VALUES ($1, $2, $3, $4)",
    )
    .bind::<SqlUuid, _>(edit.message_id)
    .bind::<Integer, _>(edit.revision)
    .bind::<Nullable<Text>, _>(edit.body)
    .bind::<Timestamptz, _>(edit.until)
    .bind::<Integer, _>(max);
    Prepared(query).execute(conn).await.map(drop)
}
