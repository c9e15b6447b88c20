//! A client's stream of events: first the events of the log after the client's cursor, then the events of the tail. A
//! stream neither loses nor repeats an event.

use std::collections::{HashMap, HashSet};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use async_stream::stream;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};

use super::Log;
use super::cursor::Cursor;
use super::dispatcher::Joined;
use super::event::{Audience, Change, Event, Seq};
use super::interest::{Interest, apply_membership, is_read_receipt_of_another, is_recipient};
use super::item::Item;
use super::read::{self, Snapshot};
use crate::error::Result;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::Connection;
use crate::store::conversations::participants;
use crate::store::messaging::messages;
use crate::task::retry;

/// The warning that is logged while Postgres is unavailable.
const CANNOT_READ: &str = "a stream cannot read the log";

impl Log {
    /// Streams the events after the cursor that the user may receive and that `interest` selects. Without a cursor,
    /// streams the events from now on. Leaves out the events of conversations that the user has left, including events
    /// from before the user left, but not the `ConversationRemoved` event itself. The stream ends only after `Closed`,
    /// or when it is dropped. While Postgres is unavailable, the stream waits.
    pub fn stream(&self, user: UserId, interest: Interest, after: Option<Cursor>) -> LogStream {
        let start = match after {
            None => Start::Now,
            Some(cursor) if cursor.epoch == self.epoch => Start::After(cursor.seq),
            Some(_) => Start::Unknown,
        };
        let catch_up = CatchUp { log: self.clone(), user, interest, start, caught_up: false };
        let (log, stage) = (self.clone(), Stage::CatchUp(catch_up.steps().boxed()));
        LogStream { log, user, interest, stage }
    }
}

async fn snapshot(log: Log, user: UserId) -> Result<Snapshot> {
    read::snapshot(&mut *log.database.connection().await?, user).await
}

/// A stream of the log for one user. A live stream needs little memory in addition to its queue.
pub struct LogStream {
    log: Log,
    user: UserId,
    interest: Interest,
    stage: Stage,
}

enum Stage {
    /// Boxed, because this stage needs several kilobytes but soon ends.
    CatchUp(BoxStream<'static, Step>),
    Live(Joined),
    Ended,
}

enum Step {
    Item(Item),
    /// The stream has read the log and continues at the tail.
    Live(Joined),
}

impl Stream for LogStream {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            match &mut self.stage {
                Stage::CatchUp(steps) => match ready!(steps.poll_next_unpin(cx)) {
                    Some(Step::Item(item)) => return Poll::Ready(Some(item)),
                    Some(Step::Live(joined)) => self.stage = Stage::Live(joined),
                    None => self.stage = Stage::Ended,
                },
                Stage::Live(joined) => match ready!(joined.poll_recv(cx)) {
                    Ok(event) => return Poll::Ready(Some(Item::Event(event))),
                    // Reads the log after this seq and not after the last event: the last event of a quiet stream can
                    // be so old that the log has dropped events after it.
                    Err(seq) => self.stage = Stage::CatchUp(self.catch_up_after(seq).steps().boxed()),
                },
                Stage::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl LogStream {
    fn catch_up_after(&self, seq: Seq) -> CatchUp {
        let (user, interest) = (self.user, self.interest);
        CatchUp { log: self.log.clone(), user, interest, start: Start::After(seq), caught_up: true }
    }
}

/// The position from which a stream reads the log.
enum Start {
    Now,
    After(Seq),
    /// The cursor belongs to another epoch.
    Unknown,
}

/// Reads the events that a stream has missed, until it joins the tail.
struct CatchUp {
    log: Log,
    user: UserId,
    interest: Interest,
    start: Start,
    /// Whether `CaughtUp` was sent before. A stream sends `CaughtUp` only once.
    caught_up: bool,
}

impl CatchUp {
    fn steps(self) -> impl Stream<Item = Step> + Send {
        let Self { log, user, interest, start, caught_up } = self;
        stream! {
            let (mut position, mut resync) = match start {
                Start::Now => (None, false),
                Start::After(seq) => (Some(seq), false),
                Start::Unknown => (None, true),
            };
            'from_the_log: loop {
                let losses = log.dispatcher.access_losses();
                let snapshot = retry(CANNOT_READ, || snapshot(log.clone(), user)).await;
                let head = snapshot.head;
                resync |= position.is_some_and(|position| position > head);
                if std::mem::take(&mut resync) {
                    position = None;
                    yield Step::Item(Item::ResyncRequired(head));
                }
                if let Some(from) = position {
                    let mut missed = pin!(missed_events(log.clone(), user, snapshot.clone(), from));
                    while let Some(event) = missed.next().await {
                        let Ok(event) = event else {
                            resync = true;
                            continue 'from_the_log;
                        };
                        // The user might have left a conversation or turned read receipts off since the snapshot.
                        if log.dispatcher.access_losses() != losses {
                            continue 'from_the_log;
                        }
                        position = Some(event.seq);
                        if interest.wants(&event.change) && may_receive(user, &snapshot, &event.change) {
                            yield Step::Item(Item::Event(event));
                        }
                    }
                }
                if !interest.is_open(&snapshot.conversations) {
                    yield Step::Item(Item::Closed);
                    return;
                }
                position = Some(head);
                log.dispatcher.reached(head).await;
                let Ok(joined) = log.dispatcher.join(user, snapshot, interest) else { continue };
                if !caught_up {
                    yield Step::Item(Item::CaughtUp(head));
                }
                yield Step::Live(joined);
                return;
            }
        }
    }
}

/// Whether the user may still receive the change. A client can navigate from a message to its whole conversation, so a
/// user who has left the conversation does not receive its earlier events either. A user who has turned read receipts
/// off does not receive the earlier `ReadAdvanced` events of other users either.
fn may_receive(user: UserId, snapshot: &Snapshot, change: &Change) -> bool {
    if snapshot.read_receipts_off && is_read_receipt_of_another(user, change) {
        return false;
    }
    matches!(change, Change::ConversationRemoved { .. })
        || change.conversation().is_none_or(|conversation| snapshot.conversations.contains(&conversation))
}

/// The error if the log has dropped events that the stream has not read.
struct EventsDropped;

/// Streams the events after `from` that the user may receive, up to the head of the snapshot.
fn missed_events(
    log: Log,
    user: UserId,
    snapshot: Snapshot,
    from: Seq,
) -> impl Stream<Item = std::result::Result<Event, EventsDropped>> + Send {
    stream! {
        let Some(mut missed) = retry(CANNOT_READ, || MissedEvents::new(log.clone(), user, snapshot.clone(), from)).await else {
            yield Err(EventsDropped);
            return;
        };
        while missed.position < missed.head {
            let Some((rest, events)) = retry(CANNOT_READ, || missed.clone().next_page(log.clone())).await else {
                yield Err(EventsDropped);
                return;
            };
            for event in events {
                yield Ok(event);
            }
            missed = rest;
        }
    }
}

/// Reads the events that a stream has missed, page by page.
#[derive(Clone)]
struct MissedEvents {
    user: UserId,
    position: Seq,
    head: Seq,
    /// The conversations of which the user is a participant at `position`.
    conversations: HashSet<ConversationId>,
    /// The conversations of which the user is a participant at any position between the start of the catch-up and
    /// `head`.
    conversations_since: Vec<ConversationId>,
    /// For each conversation that the user left and joined again, and that hides its earlier messages from the user:
    /// the seq at which the user last joined.
    rejoined_at: HashMap<ConversationId, Seq>,
}

impl MissedEvents {
    /// Begins to read after `position`. Computes the memberships at this position by undoing the user's later
    /// membership changes in the snapshot. Returns None if the log has dropped events after the position.
    async fn new(log: Log, user: UserId, snapshot: Snapshot, position: Seq) -> Result<Option<Self>> {
        let mut conversations = snapshot.conversations.clone();
        let mut conversations_since = conversations.clone();
        let mut rejoined_at = HashMap::new();
        if position < snapshot.head {
            let mut connection = log.database.connection().await?;
            let personal = read::personal_between(&mut connection, user, position, snapshot.head).await?;
            if !read::is_whole_after(&mut connection, position).await? {
                return Ok(None);
            }
            for event in personal.iter().rev() {
                match event.change {
                    Change::ConversationAdded { conversation, .. } => {
                        conversations.remove(&conversation);
                    }
                    Change::ConversationRemoved { conversation, .. } => {
                        conversations.insert(conversation);
                        conversations_since.insert(conversation);
                    }
                    _ => {}
                }
            }
            rejoined_at = rejoins(&personal, &snapshot);
            if !rejoined_at.is_empty() {
                let ids: Vec<_> = rejoined_at.keys().copied().collect();
                let hidden_history = participants::with_hidden_history(&mut connection, user, &ids).await?;
                rejoined_at.retain(|conversation, _| hidden_history.contains(conversation));
            }
        }
        let conversations_since = conversations_since.into_iter().collect();
        Ok(Some(Self { user, position, head: snapshot.head, conversations, conversations_since, rejoined_at }))
    }

    /// Reads the next events for the user. Returns them with the state for the next page, or None if the log has
    /// dropped events after the position.
    async fn next_page(mut self, log: Log) -> Result<Option<(Self, Vec<Event>)>> {
        let limit = log.settings.catch_up_page;
        let mut connection = log.database.connection().await?;
        let mut events =
            read::between_for(&mut connection, self.user, &self.conversations_since, self.position, self.head, limit)
                .await?;
        if !read::is_whole_after(&mut connection, self.position).await? {
            return Ok(None);
        }
        self.position = events.last().map_or(self.head, |last| last.seq);
        events.retain(|event| {
            apply_membership(self.user, &mut self.conversations, &event.change);
            let before_rejoin = match event.change.audience() {
                Audience::Conversation(id) => self.rejoined_at.get(&id).is_some_and(|rejoined| event.seq < *rejoined),
                Audience::User(_) => false,
            };
            is_recipient(self.user, &self.conversations, &event.change) && !before_rejoin
        });
        let hidden = hidden_messages(&mut connection, self.user, &events).await?;
        events.retain(|event| event.change.message().is_none_or(|message| !hidden.contains(&message)));
        Ok(Some((self, events)))
    }
}

/// Returns the seq at which the user last joined each conversation that the user left and joined again. `personal` are
/// the events whose audience is the user.
fn rejoins(personal: &[Event], snapshot: &Snapshot) -> HashMap<ConversationId, Seq> {
    let mut left = HashSet::new();
    let mut rejoined_at = HashMap::new();
    for event in personal {
        match event.change {
            Change::ConversationRemoved { conversation, .. } => {
                left.insert(conversation);
            }
            Change::ConversationAdded { conversation, .. }
                if left.contains(&conversation) && snapshot.conversations.contains(&conversation) =>
            {
                rejoined_at.insert(conversation, event.seq);
            }
            _ => {}
        }
    }
    rejoined_at
}

/// Returns the messages of the events that the user may not see, although the user is a participant of their
/// conversations.
async fn hidden_messages(conn: &mut Connection, user: UserId, events: &[Event]) -> Result<HashSet<MessageId>> {
    let shown: Vec<_> = events.iter().filter_map(|event| Some((user, event.change.message()?))).collect();
    let visibilities = messages::visibilities(conn, &shown).await?;
    Ok(visibilities
        .into_iter()
        .filter(|visibility| !visibility.visible)
        .map(|visibility| visibility.message_id)
        .collect())
}
