//! Queries of the log.

use std::collections::{HashMap, HashSet};

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::event::{ADDED_FOR_SENDER, Audience, Change, Event, Seq};
use crate::error::{Error, Result};
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::Connection;
use crate::store::messaging::messages;
use crate::store::schema::{events, log_head};

/// Number of the only lane that exists so far.
const LANE: i16 = 0;

/// The state of the log: its epoch, and the seq of its newest event and of its newest dropped event.
pub(super) struct Head {
    pub(super) epoch: i64,
    pub(super) seq: Seq,
    /// The highest seq of a dropped event. 0 if no event was dropped.
    pub(super) forgotten: Seq,
}

/// A user's memberships and setting of read receipts at one position of the log.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) head: Seq,
    pub(super) conversations: HashSet<ConversationId>,
    /// Whether the user has disabled read receipts, so that `ReadAdvanced` events of other users are filtered out.
    pub(super) read_receipts_off: bool,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = events, check_for_backend(diesel::pg::Pg))]
struct EventRow {
    seq: Seq,
    kind: String,
    conversation_id: Option<ConversationId>,
    user_id: Option<UserId>,
    subject_id: Uuid,
}

impl EventRow {
    /// Converts the row to an event. `conversations` contains the conversation of each `MessageAddedForSender`, which
    /// the row of its event does not contain.
    fn into_event(self, conversations: &HashMap<MessageId, ConversationId>) -> Result<Event> {
        let audience = match (self.conversation_id, self.user_id) {
            (Some(conversation), None) => Audience::Conversation(conversation),
            (None, Some(user)) => Audience::User(user),
            _ => return Err(Error::Corrupt(format!("event {} has no audience", self.seq))),
        };
        let conversation = conversations.get(&MessageId(self.subject_id)).copied();
        let change = Change::from_row(&self.kind, audience, self.subject_id, conversation);
        Ok(Event { seq: self.seq, change })
    }
}

pub(super) async fn head(conn: &mut Connection) -> Result<Head> {
    let columns = (log_head::epoch, log_head::seq, log_head::forgotten);
    let (epoch, seq, forgotten) = log_head::table.find(LANE).select(columns).first(conn).await?;
    Ok(Head { epoch, seq, forgotten })
}

/// Whether the log still contains every event after this seq. Call this after you have read the events: events are
/// dropped in the transaction that advances `forgotten`, so a result of true means that the events you read were
/// complete.
pub(super) async fn is_whole_after(conn: &mut Connection, seq: Seq) -> Result<bool> {
    Ok(head(conn).await?.forgotten <= seq)
}

pub(super) async fn set_epoch(conn: &mut Connection, epoch: i64) -> Result<()> {
    diesel::update(log_head::table).set(log_head::epoch.eq(epoch)).execute(conn).await?;
    Ok(())
}

/// Reads the head, the memberships and the setting in one statement, so that all belong to the same position of the
/// log.
pub(super) async fn snapshot(conn: &mut Connection, user: UserId) -> Result<Snapshot> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        seq: Seq,
        #[diesel(sql_type = Array<SqlUuid>)]
        conversations: Vec<ConversationId>,
        #[diesel(sql_type = Bool)]
        read_receipts_off: bool,
    }
    let row: Row = diesel::sql_query(
        "SELECT seq, ARRAY(
             SELECT conversation_id FROM participants WHERE user_id = $1 AND NOT unannounced
         ) AS conversations,
         EXISTS (SELECT FROM users WHERE id = $1 AND NOT read_receipts) AS read_receipts_off
         FROM log_head WHERE lane = 0",
    )
    .bind::<SqlUuid, _>(user)
    .get_result(conn)
    .await?;
    let conversations = row.conversations.into_iter().collect();
    Ok(Snapshot { head: row.seq, conversations, read_receipts_off: row.read_receipts_off })
}

/// Reads the first `limit` events after the seq `after`, up to and including `upto`.
pub(super) async fn between(conn: &mut Connection, after: Seq, upto: Seq, limit: i64) -> Result<Vec<Event>> {
    read(conn, events_between(after, upto).limit(limit)).await
}

/// Like `between`, but reads only events whose audience is this user or one of these conversations.
pub(super) async fn between_for(
    conn: &mut Connection,
    user: UserId,
    conversations: &[ConversationId],
    after: Seq,
    upto: Seq,
    limit: i64,
) -> Result<Vec<Event>> {
    let concerned = events::user_id.eq(user).or(events::conversation_id.eq_any(conversations));
    read(conn, events_between(after, upto).filter(concerned).limit(limit)).await
}

/// Like `between`, but reads only events of these kinds.
pub(super) async fn between_of_kinds(
    conn: &mut Connection,
    kinds: &[&str],
    after: Seq,
    upto: Seq,
    limit: i64,
) -> Result<Vec<Event>> {
    read(conn, events_between(after, upto).filter(events::kind.eq_any(kinds)).limit(limit)).await
}

/// Reads all events after the seq `after`, up to and including `upto`, whose audience is this user.
pub(super) async fn personal_between(conn: &mut Connection, user: UserId, after: Seq, upto: Seq) -> Result<Vec<Event>> {
    read(conn, events_between(after, upto).filter(events::user_id.eq(user))).await
}

fn events_between<'a>(after: Seq, upto: Seq) -> events::BoxedQuery<'a, Pg> {
    events::table
        .filter(events::lane.eq(LANE).and(events::seq.gt(after)).and(events::seq.le(upto)))
        .order(events::seq)
        .into_boxed()
}

async fn read(conn: &mut Connection, query: events::BoxedQuery<'_, Pg>) -> Result<Vec<Event>> {
    let rows: Vec<EventRow> = query.select(EventRow::as_select()).load(conn).await?;
    let conversations: Vec<_> =
        rows.iter().filter(|row| row.kind == ADDED_FOR_SENDER).map(|row| MessageId(row.subject_id)).collect();
    let conversations: HashMap<_, _> = match conversations.as_slice() {
        [] => HashMap::new(),
        ids => {
            messages::numbers(conn, ids).await?.into_iter().map(|(id, conversation, _)| (id, conversation)).collect()
        }
    };
    rows.into_iter().map(|row| row.into_event(&conversations)).collect()
}
