//! A client's stream: the log from its cursor, then the tail, nothing lost and nothing twice.

use std::collections::{HashMap, HashSet};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use async_stream::stream;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};

use super::Log;
use super::cursor::Cursor;
use super::event::{Audience, Change, Event, Seq};
use super::interest::{Interest, receives, tells_of_reading};
use super::read::{self, Snapshot};
use super::streams::Joined;
use crate::apart::patiently;
use crate::error::Result;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::Connection;
use crate::store::conversations::participants;
use crate::store::messaging::messages;

/// What the log says while Postgres is away.
const CANNOT_READ: &str = "a stream cannot read on";

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
    pub fn follow(&self, user: UserId, interest: Interest, after: Option<Cursor>) -> Follow {
        let from = match after {
            None => From::Now,
            Some(cursor) if cursor.epoch == self.epoch => From::After(cursor.seq),
            Some(_) => From::Unknown,
        };
        let reading = Reading { log: self.clone(), user, interest, from, caught_up: false };
        let (log, stage) = (self.clone(), Stage::Reading(reading.steps().boxed()));
        Follow { log, user, interest, stage }
    }
}

async fn snapshot(log: Log, user: UserId) -> Result<Snapshot> {
    read::snapshot(&mut *log.database.connection().await?, user).await
}

/// A stream of the log for one user. Between two events it is a queue and nothing more.
pub struct Follow {
    log: Log,
    user: UserId,
    interest: Interest,
    stage: Stage,
}

enum Stage {
    /// In a box, because it takes kilobytes and is over soon.
    Reading(BoxStream<'static, Step>),
    Live(Joined),
    Over,
}

enum Step {
    Item(Item),
    /// Everything is read; what follows is at the tail.
    Live(Joined),
}

impl Stream for Follow {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            match &mut self.stage {
                Stage::Reading(steps) => match ready!(steps.poll_next_unpin(cx)) {
                    Some(Step::Item(item)) => return Poll::Ready(Some(item)),
                    Some(Step::Live(joined)) => self.stage = Stage::Live(joined),
                    None => self.stage = Stage::Over,
                },
                Stage::Live(joined) => match ready!(joined.poll_recv(cx)) {
                    Ok(event) => return Poll::Ready(Some(Item::Event(event))),
                    // Of a quiet stream the last event may be long ago, and out of the log.
                    Err(place) => self.stage = Stage::Reading(self.read_on(place).steps().boxed()),
                },
                Stage::Over => return Poll::Ready(None),
            }
        }
    }
}

impl Follow {
    fn read_on(&self, place: Seq) -> Reading {
        let (user, interest) = (self.user, self.interest);
        Reading { log: self.log.clone(), user, interest, from: From::After(place), caught_up: true }
    }
}

/// From where a stream reads.
enum From {
    Now,
    After(Seq),
    /// A place that is not in this log.
    Unknown,
}

/// Reads what a stream has missed, up to its place at the tail.
struct Reading {
    log: Log,
    user: UserId,
    interest: Interest,
    from: From,
    /// Whether the subscriber has been told so before.
    caught_up: bool,
}

impl Reading {
    fn steps(self) -> impl Stream<Item = Step> + Send {
        let Self { log, user, interest, from, caught_up } = self;
        stream! {
            let (mut position, mut resync) = match from {
                From::Now => (None, false),
                From::After(seq) => (Some(seq), false),
                From::Unknown => (None, true),
            };
            'from_the_log: loop {
                let losses = log.streams.losses();
                let snapshot = patiently!(CANNOT_READ, snapshot(log.clone(), user));
                let head = snapshot.head;
                resync |= position.is_some_and(|position| position > head);
                if std::mem::take(&mut resync) {
                    position = None;
                    yield Step::Item(Item::ResyncRequired(head));
                }
                if let Some(from) = position {
                    let mut missed = pin!(missed(log.clone(), user, snapshot.clone(), from));
                    while let Some(event) = missed.next().await {
                        let Ok(event) = event else {
                            resync = true;
                            continue 'from_the_log;
                        };
                        // A slow reader may have left meanwhile, or turned read receipts off.
                        if log.streams.losses() != losses {
                            continue 'from_the_log;
                        }
                        position = Some(event.seq);
                        if interest.wants(&event.change) && may_see(user, &snapshot, &event.change) {
                            yield Step::Item(Item::Event(event));
                        }
                    }
                }
                if !interest.is_open(&snapshot.conversations) {
                    yield Step::Item(Item::Closed);
                    return;
                }
                position = Some(head);
                log.streams.reached(head).await;
                let Ok(joined) = log.streams.join(user, snapshot, interest) else { continue };
                if !caught_up {
                    yield Step::Item(Item::CaughtUp(head));
                }
                yield Step::Live(joined);
                return;
            }
        }
    }
}

/// Whether the user still may: from a message one reads on to all of its conversation, so that who has left that
/// gets no more of what it once was. A user who has turned
/// read receipts off since does not get earlier `ReadAdvanced` events of others either.
fn may_see(user: UserId, snapshot: &Snapshot, change: &Change) -> bool {
    if snapshot.read_receipts_off && tells_of_reading(user, change) {
        return false;
    }
    match *change {
        Change::ConversationRemoved { .. } => true,
        Change::ConversationAdded { conversation, .. }
        | Change::MessageWithheld { conversation, .. }
        | Change::MembershipUpdated { conversation, .. } => snapshot.conversations.contains(&conversation),
        _ => match change.audience() {
            Audience::Conversation(conversation) => snapshot.conversations.contains(&conversation),
            Audience::User(_) => true,
        },
    }
}

/// Events that should come next are in the log no more.
struct Forgotten;

/// What the user may receive of the events after a place, up to the head of the snapshot.
fn missed(
    log: Log,
    user: UserId,
    snapshot: Snapshot,
    from: Seq,
) -> impl Stream<Item = std::result::Result<Event, Forgotten>> + Send {
    stream! {
        let Some(mut missed) = patiently!(CANNOT_READ, Missed::new(log.clone(), user, snapshot.clone(), from)) else {
            yield Err(Forgotten);
            return;
        };
        while missed.position < missed.head {
            let Some((rest, events)) = patiently!(CANNOT_READ, missed.clone().page(log.clone())) else {
                yield Err(Forgotten);
                return;
            };
            for event in events {
                yield Ok(event);
            }
            missed = rest;
        }
    }
}

/// What a stream has missed, read page by page.
#[derive(Clone)]
struct Missed {
    user: UserId,
    position: Seq,
    head: Seq,
    /// What the user took part in at `position`.
    conversations: HashSet<ConversationId>,
    /// What the user took part in at any time from there to the head.
    ever: Vec<ConversationId>,
    /// Where the user came back to a conversation whose beginning is hidden from them since.
    returned: HashMap<ConversationId, Seq>,
}

impl Missed {
    /// Rolls the memberships of the snapshot back to the position, by the user's own events in between. None where
    /// some events after the position are gone.
    async fn new(log: Log, user: UserId, snapshot: Snapshot, position: Seq) -> Result<Option<Self>> {
        let mut conversations = snapshot.conversations.clone();
        let mut ever = conversations.clone();
        let mut returned = HashMap::new();
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
            returned = returns(&personal, &snapshot);
            if !returned.is_empty() {
                let ids: Vec<_> = returned.keys().copied().collect();
                let hiding = participants::hiding_from(&mut connection, user, &ids).await?;
                returned.retain(|conversation, _| hiding.contains(conversation));
            }
        }
        let ever = ever.into_iter().collect();
        Ok(Some(Self { user, position, head: snapshot.head, conversations, ever, returned }))
    }

    /// The next events for the user, and what is left. None where some that should come next were dropped.
    async fn page(mut self, log: Log) -> Result<Option<(Self, Vec<Event>)>> {
        let limit = log.settings.catch_up_page;
        let mut connection = log.database.connection().await?;
        let mut events =
            read::between_for(&mut connection, self.user, &self.ever, self.position, self.head, limit).await?;
        if !read::is_whole_after(&mut connection, self.position).await? {
            return Ok(None);
        }
        self.position = events.last().map_or(self.head, |last| last.seq);
        events.retain(|event| {
            let hidden = match event.change.audience() {
                Audience::Conversation(id) => self.returned.get(&id).is_some_and(|returned| event.seq < *returned),
                Audience::User(_) => false,
            };
            receives(self.user, &mut self.conversations, &event.change) && !hidden
        });
        let concealed = concealed(&mut connection, self.user, &events).await?;
        events.retain(|event| event.change.message().is_none_or(|message| !concealed.contains(&message)));
        Ok(Some((self, events)))
    }
}

/// Where the user last joined what they had left before, as their own events tell.
fn returns(personal: &[Event], snapshot: &Snapshot) -> HashMap<ConversationId, Seq> {
    let mut left = HashSet::new();
    let mut returned = HashMap::new();
    for event in personal {
        match event.change {
            Change::ConversationRemoved { conversation, .. } => {
                left.insert(conversation);
            }
            Change::ConversationAdded { conversation, .. }
                if left.contains(&conversation) && snapshot.conversations.contains(&conversation) =>
            {
                returned.insert(conversation, event.seq);
            }
            _ => {}
        }
    }
    returned
}

/// The messages among the events that are not for this user, though the conversation is.
async fn concealed(conn: &mut Connection, user: UserId, events: &[Event]) -> Result<HashSet<MessageId>> {
    let shown: Vec<_> = events.iter().filter_map(|event| Some((user, event.change.message()?))).collect();
    let visibilities = messages::visibilities(conn, &shown).await?;
    Ok(visibilities
        .into_iter()
        .filter(|visibility| !visibility.visible)
        .map(|visibility| visibility.message_id)
        .collect())
}
