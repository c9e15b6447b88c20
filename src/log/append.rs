//! Appends events to the log.

use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::event::{Audience, Change, Event, Seq};
use crate::error::Result;
use crate::store::{Connection, Prepared};

#[derive(QueryableByName)]
struct Head {
    #[diesel(sql_type = BigInt)]
    seq: Seq,
}

/// Appends the changes in their order and returns them as events. Must be the transaction's last statement, because no
/// other transaction can append until this transaction commits. `created_at` comes from Postgres's clock, because the
/// partitions follow that clock: a node's clock might be on another day.
pub(super) async fn append(conn: &mut Connection, changes: &[Change]) -> Result<Vec<Event>> {
    let count = i64::try_from(changes.len()).unwrap_or(i64::MAX);
    let audiences = changes.iter().map(Change::audience);
    let conversations = audiences.clone().map(|audience| match audience {
        Audience::Conversation(id) => Some(id.0),
        Audience::User(_) => None,
    });
    let users = audiences.map(|audience| match audience {
        Audience::User(id) => Some(id.0),
        Audience::Conversation(_) => None,
    });
    let query = diesel::sql_query(
        "WITH head AS (UPDATE log_head SET seq = seq + $1 WHERE lane = 0 RETURNING seq, clock_timestamp() AS now),
              appended AS (
                  INSERT INTO events (lane, seq, kind, conversation_id, user_id, subject_id, created_at)
                  SELECT 0, head.seq - $1 + change.place, kind, conversation_id, user_id, subject_id, head.now
                  FROM head, unnest($2, $3, $4, $5) WITH ORDINALITY
                      AS change (kind, conversation_id, user_id, subject_id, place)
              )
         SELECT seq FROM head",
    )
    .bind::<BigInt, _>(count)
    .bind::<Array<Text>, _>(changes.iter().map(Change::kind).collect::<Vec<_>>())
    .bind::<Array<Nullable<SqlUuid>>, _>(conversations.collect::<Vec<_>>())
    .bind::<Array<Nullable<SqlUuid>>, _>(users.collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(changes.iter().map(Change::subject).collect::<Vec<_>>());
    let Head { seq: head } = Prepared(query).get_result(conn).await?;
    let first = head - count + 1;
    Ok((first..).zip(changes).map(|(seq, &change)| Event { seq, change }).collect())
}
