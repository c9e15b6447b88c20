//! A client's stream: the log from its cursor, then the tail, nothing lost and nothing twice.

use std::collections::HashSet;

use async_stream::stream;
use futures_util::Stream;

use super::Log;
use super::cursor::Cursor;
use super::event::{Audience, Change, Event, Seq};
use super::read::{self, Snapshot};
use super::streams::{Interest, receives};
use crate::error::{RETRY, Result};
use crate::ids::{ConversationId, UserId};

/// Tries until it succeeds: a stream loses nothing because Postgres is away. A macro, because it cannot be said
/// of a closure's future that it is Send.
macro_rules! patiently {
    ($work:expr) => {
        loop {
            match $work.await {
                Ok(value) => break value,
                Err(error) => tracing::warn!(%error, "a stream cannot read on; trying again"),
            }
            tokio::time::sleep(RETRY).await;
        }
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    Event(Event),
    /// Everything up to here has been sent; what follows is live.
    CaughtUp(Seq),
    /// The cursor is not of this log, or events after it are gone; the stream goes on from here.
    ResyncRequired(Seq),
    /// The user takes no part in what this is about, and nothing will follow.
    Closed,
}

impl Log {
    /// What the user may receive after the cursor, and for ever on; without a cursor, from now on. Of conversations
    /// that the user has left there is no more than that.
    /// It ends only when dropped, or after `Closed`. Where Postgres is away it waits.
    pub fn follow(
        &self,
        user: UserId,
        interest: Interest,
        after: Option<Cursor>,
    ) -> impl Stream<Item = Item> + Send + use<> {
        let log = self.clone();
        stream! {
            let mut position = None;
            let mut caught_up = false;
            let mut resync = after.is_some_and(|cursor| cursor.epoch != log.epoch);
            if let Some(cursor) = after && !resync {
                position = Some(cursor.seq);
            }
            'from_the_log: loop {
                let departures = log.streams.departures();
                let snapshot = patiently!(log.snapshot(user));
                let head = snapshot.head;
                resync |= position.is_some_and(|position| position > head);
                if std::mem::take(&mut resync) {
                    position = None;
                    yield Item::ResyncRequired(head);
                }
                if let Some(from) = position {
                    let Some(mut missed) = patiently!(Missed::new(&log, user, &snapshot, from)) else {
                        resync = true;
                        continue;
                    };
                    loop {
                        let events = match patiently!(missed.page(&log)) {
                            Page::Events(events) => events,
                            Page::End => break,
                            Page::Forgotten => {
                                resync = true;
                                continue 'from_the_log;
                            }
                        };
                        for event in events {
                            // Whoever reads slowly may have left meanwhile.
                            if log.streams.departures() != departures {
                                continue 'from_the_log;
                            }
                            position = Some(event.seq);
                            if interest.wants(&event.change) && may_see(&snapshot, &event.change) {
                                yield Item::Event(event);
                            }
                        }
                    }
                }
                if !interest.is_open(&snapshot.conversations) {
                    yield Item::Closed;
                    return;
                }
                position = Some(head);
                log.streams.reached(head).await;
                let Ok(mut joined) = log.streams.join(user, snapshot, interest) else { continue };
                if !std::mem::replace(&mut caught_up, true) {
                    yield Item::CaughtUp(head);
                }
                loop {
                    match joined.recv().await {
                        Ok(event) => yield Item::Event(event),
                        // Of a quiet stream the last event may be long ago, and out of the log.
                        Err(place) => {
                            position = Some(place);
                            break;
                        }
                    }
                }
            }
        }
    }

    async fn snapshot(&self, user: UserId) -> Result<Snapshot> {
        read::snapshot(&mut *self.database.connection().await?, user).await
    }
}

/// Whether the user still may: from a message one reads on to all of its conversation, so that who has left that
/// gets no more of what it once was.
fn may_see(snapshot: &Snapshot, change: &Change) -> bool {
    match *change {
        Change::ConversationRemoved { .. } => true,
        Change::ConversationAdded { conversation, .. } => snapshot.conversations.contains(&conversation),
        _ => match change.audience() {
            Audience::Conversation(conversation) => snapshot.conversations.contains(&conversation),
            Audience::User(_) => true,
        },
    }
}

enum Page {
    Events(Vec<Event>),
    /// The head is reached.
    End,
    /// Some that should come next were dropped.
    Forgotten,
}

/// What a stream has missed, read page by page.
struct Missed {
    user: UserId,
    position: Seq,
    head: Seq,
    /// What the user took part in at `position`.
    conversations: HashSet<ConversationId>,
    /// What the user took part in at any time from there to the head.
    ever: Vec<ConversationId>,
}

impl Missed {
    /// Rolls the memberships of the snapshot back to the position, by the user's own events in between. None where
    /// some events after the position are gone.
    async fn new(log: &Log, user: UserId, snapshot: &Snapshot, position: Seq) -> Result<Option<Self>> {
        let mut conversations = snapshot.conversations.clone();
        let mut ever = conversations.clone();
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
                        ever.insert(conversation);
                    }
                    _ => {}
                }
            }
        }
        let ever = ever.into_iter().collect();
        Ok(Some(Self { user, position, head: snapshot.head, conversations, ever }))
    }

    /// The next events for the user.
    async fn page(&mut self, log: &Log) -> Result<Page> {
        if self.position >= self.head {
            return Ok(Page::End);
        }
        let limit = log.settings.catch_up_page;
        let mut connection = log.database.connection().await?;
        let mut events =
            read::between_for(&mut connection, self.user, &self.ever, self.position, self.head, limit).await?;
        if !read::is_whole_after(&mut connection, self.position).await? {
            return Ok(Page::Forgotten);
        }
        self.position = events.last().map_or(self.head, |last| last.seq);
        events.retain(|event| receives(self.user, &mut self.conversations, &event.change));
        Ok(Page::Events(events))
    }
}
