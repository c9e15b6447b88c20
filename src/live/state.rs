//! The live state that a node knows: its own, and that of the other nodes. One lock protects all of it, and no task
//! awaits while it holds the lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::exchange::{Activity, Change, NodeId, To};
use super::facts::Facts;
use super::peer::Peer;
use super::watch::{Stamp, Subject, Topic, Watchers};
use crate::clock::Clock;
use crate::config::LiveSettings;
use crate::ids::{ConversationId, UserId};
use crate::metrics::{LiveKind, Metrics};

/// How long a node remembers when a user was last seen. Postgres has stored it by then.
const SEEN_KEPT: Duration = Duration::from_mins(1);
/// Maximum number of changes in the outbox. If there are more, they are dropped and the other nodes ask for all facts.
const OUTBOX: usize = 10_000;

/// Returns the participants of a conversation who have a stream on this node.
pub type Listeners = Arc<dyn Fn(ConversationId) -> Vec<UserId> + Send + Sync>;
/// A user who has disconnected, and when.
pub type Departure = (UserId, DateTime<Utc>);

pub(super) struct State {
    pub(super) me: NodeId,
    pub(super) facts: Facts,
    /// When the typing of each user in a conversation ends.
    typing: BTreeMap<(ConversationId, UserId), Instant>,
    /// When users who have just disconnected were last seen, and until when that is remembered.
    seen: HashMap<UserId, (DateTime<Utc>, Instant)>,
    connected: HashMap<UserId, Connections>,
    /// Number of a user's devices that have a conversation open on this node.
    entered: HashMap<(ConversationId, UserId), usize>,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) timers: BTreeSet<(Instant, Timer)>,
    pub(super) outbox: Outbox,
    pub(super) watchers: Watchers,
    stamp: Stamp,
    pub(super) parts: Parts,
}

/// Settings and dependencies of the state.
pub(super) struct Parts {
    pub(super) settings: LiveSettings,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) listeners: Listeners,
    /// Sends the users whose last-seen time this node has to store.
    pub(super) departures: mpsc::UnboundedSender<Departure>,
}

/// The connections of one user to this node.
#[derive(Default)]
struct Connections {
    count: usize,
    /// When the last connection closed, and until when the user can reconnect without a change of presence.
    closed: Option<(DateTime<Utc>, Instant)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Typing(ConversationId, UserId),
    Absent(UserId),
    Peer(NodeId),
    Seen(UserId),
}

/// Everything that waits to be published.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) changes: Vec<Change>,
    /// Whether changes were dropped because there were too many.
    pub(super) lost: bool,
    pub(super) asks: Vec<To>,
    pub(super) answers: BTreeSet<NodeId>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.lost && self.asks.is_empty() && self.answers.is_empty()
    }
}

impl State {
    pub(super) fn new(me: NodeId, parts: Parts) -> Self {
        Self {
            me,
            facts: Facts::default(),
            typing: BTreeMap::new(),
            seen: HashMap::new(),
            connected: HashMap::new(),
            entered: HashMap::new(),
            peers: BTreeMap::new(),
            timers: BTreeSet::new(),
            outbox: Outbox::default(),
            watchers: Watchers::default(),
            stamp: 0,
            parts,
        }
    }

    /// Adds a connection of the user to this node. Only the first connection is published.
    pub(super) fn connect(&mut self, user: UserId) {
        let known = self.connected.contains_key(&user);
        let connections = self.connected.entry(user).or_default();
        connections.count += 1;
        connections.closed = None;
        if !known {
            let activity = self.facts.activity(user).unwrap_or(Activity { at: self.millis(), away: false });
            self.say(Change::Present { user, activity });
        }
    }

    /// Removes a connection of the user. After the last one, the user has PRESENCE_GRACE to reconnect before it is
    /// published.
    pub(super) fn disconnect(&mut self, user: UserId) {
        let Some(connections) = self.connected.get_mut(&user) else { return };
        connections.count -= 1;
        if connections.count == 0 {
            let until = Instant::now() + self.parts.settings.presence_grace;
            connections.closed = Some((self.parts.clock.now(), until));
            self.timers.insert((until, Timer::Absent(user)));
        }
    }

    /// Marks the user as away or not. Does nothing if the user is offline.
    pub(super) fn set_away(&mut self, user: UserId, away: bool) {
        if let Some(activity) = self.facts.activity(user)
            && activity.away != away
        {
            let at = self.millis().max(activity.at + 1);
            self.say(Change::Activity { user, activity: Activity { at, away } });
        }
    }

    pub(super) fn set_typing(&mut self, conversation: ConversationId, user: UserId, typing: bool) {
        if typing || self.is_typing(conversation, user) {
            self.say(Change::Typing { conversation, user, typing });
        }
    }

    pub(super) fn enter(&mut self, conversation: ConversationId, user: UserId) {
        let devices = self.entered.entry((conversation, user)).or_default();
        *devices += 1;
        if *devices == 1 {
            self.say(Change::Entered { conversation, user });
        }
    }

    pub(super) fn leave(&mut self, conversation: ConversationId, user: UserId) {
        let Some(devices) = self.entered.get_mut(&(conversation, user)) else { return };
        *devices -= 1;
        if *devices == 0 {
            self.entered.remove(&(conversation, user));
            self.say(Change::Left { conversation, user });
        }
    }

    pub(super) fn is_typing(&self, conversation: ConversationId, user: UserId) -> bool {
        self.typing.contains_key(&(conversation, user))
    }

    pub(super) fn typing_in(&self, conversation: ConversationId) -> Vec<UserId> {
        let from = self.typing.range((conversation, UserId(uuid::Uuid::nil()))..);
        from.take_while(|((there, _), _)| *there == conversation).map(|((_, user), _)| *user).collect()
    }

    pub(super) fn seen(&self, user: UserId) -> Option<DateTime<Utc>> {
        self.seen.get(&user).map(|(at, _)| *at)
    }

    /// All users of this node, with the time at which they were last seen: now, or when their last connection closed.
    pub(super) fn everybody(&self) -> Vec<Departure> {
        let now = self.parts.clock.now();
        let departure = |(user, of): (&UserId, &Connections)| (*user, of.closed.map_or(now, |(at, _)| at));
        self.connected.iter().map(departure).collect()
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Serves the timers that are due.
    pub(super) fn ring(&mut self) {
        let now = Instant::now();
        while self.next_timer().is_some_and(|at| at <= now)
            && let Some((_, timer)) = self.timers.pop_first()
        {
            // The deadline may have moved since the timer was set.
            match (self.due(timer), timer) {
                (Some(due), timer) if due > now => drop(self.timers.insert((due, timer))),
                (None, _) => {}
                (Some(_), Timer::Typing(conversation, user)) => self.end_typing(conversation, user),
                (Some(_), Timer::Absent(user)) => self.depart(user),
                (Some(_), Timer::Peer(node)) => self.forget_peer(node, self.parts.settings.presence_grace),
                (Some(_), Timer::Seen(user)) => drop(self.seen.remove(&user)),
            }
        }
    }

    fn due(&self, timer: Timer) -> Option<Instant> {
        match timer {
            Timer::Typing(conversation, user) => self.typing.get(&(conversation, user)).copied(),
            Timer::Absent(user) => self.connected.get(&user)?.closed.map(|(_, until)| until),
            Timer::Peer(node) => self.peers.get(&node)?.leaving,
            Timer::Seen(user) => self.seen.get(&user).map(|(_, until)| *until),
        }
    }

    fn depart(&mut self, user: UserId) {
        let closed = self.connected.remove(&user).and_then(|connections| connections.closed);
        let Some((seen, _)) = closed else { return };
        self.say(Change::Absent { user, seen });
        // It fails only during shutdown, after the receiver was dropped.
        let _ = self.parts.departures.send((user, seen));
    }

    /// Applies a change of this node, and queues it for publication to the other nodes.
    fn say(&mut self, change: Change) {
        self.apply(self.me, change);
        self.parts.metrics.live_published(match change {
            Change::Present { .. } | Change::Absent { .. } | Change::Activity { .. } => LiveKind::Presence,
            Change::Entered { .. } | Change::Left { .. } => LiveKind::Room,
            Change::Typing { .. } => LiveKind::Typing,
        });
        if self.outbox.changes.len() >= OUTBOX {
            self.outbox.changes.clear();
            self.outbox.lost = true;
        }
        self.outbox.changes.push(change);
    }

    pub(super) fn apply(&mut self, node: NodeId, change: Change) {
        match change {
            Change::Present { user, activity } => {
                self.seen.remove(&user);
                self.alter(&[user], &[], |facts| facts.set_present(node, user, activity));
            }
            Change::Absent { user, seen } => {
                self.alter(&[user], &[], |facts| facts.set_absent(node, user));
                self.keep_seen(user, seen);
            }
            Change::Activity { user, activity } => self.alter(&[user], &[], |facts| facts.set_activity(user, activity)),
            Change::Entered { conversation, user } => {
                self.alter(&[], &[(conversation, user)], |facts| facts.enter(node, conversation, user));
            }
            Change::Left { conversation, user } => {
                self.alter(&[], &[(conversation, user)], |facts| facts.leave(node, conversation, user));
            }
            Change::Typing { conversation, user, typing: false } => self.end_typing(conversation, user),
            Change::Typing { conversation, user, typing: true } => {
                let until = Instant::now() + self.parts.settings.typing_timeout;
                if self.typing.insert((conversation, user), until).is_none() {
                    self.timers.insert((until, Timer::Typing(conversation, user)));
                    self.tell(Subject::Typing(conversation, user));
                }
            }
        }
    }

    fn end_typing(&mut self, conversation: ConversationId, user: UserId) {
        if self.typing.remove(&(conversation, user)).is_some() {
            self.tell(Subject::Typing(conversation, user));
        }
    }

    /// Remembers when the user was last seen on one node. The user may still be connected to another node.
    pub(super) fn keep_seen(&mut self, user: UserId, at: DateTime<Utc>) {
        let until = Instant::now() + SEEN_KEPT;
        let at = self.seen(user).map_or(at, |known| known.max(at));
        self.seen.insert(user, (at, until));
        self.timers.insert((until, Timer::Seen(user)));
    }

    /// Changes the facts, and notifies the watches of what is different afterwards: the presence of `users`, and the
    /// users in the rooms `places`.
    pub(super) fn alter(
        &mut self,
        users: &[UserId],
        places: &[(ConversationId, UserId)],
        change: impl FnOnce(&mut Facts),
    ) {
        let statuses: Vec<_> = users.iter().map(|user| self.facts.status(*user)).collect();
        let rooms: Vec<_> = places.iter().map(|(place, user)| self.facts.is_in_room(*place, *user)).collect();
        change(&mut self.facts);
        for (&user, before) in users.iter().zip(statuses) {
            if self.facts.status(user) != before {
                self.tell(Subject::Presence(user));
            }
        }
        for (&(conversation, user), before) in places.iter().zip(rooms) {
            if self.facts.is_in_room(conversation, user) != before {
                self.tell(Subject::Room(conversation, user));
            }
        }
    }

    pub(super) fn tell(&mut self, subject: Subject) {
        self.stamp += 1;
        let tell = |topic| self.watchers.tell(topic, subject, self.stamp);
        match subject {
            Subject::Presence(user) => {
                tell(Topic::Presence(user));
                tell(Topic::Inbox(user));
            }
            Subject::Room(conversation, _) => tell(Topic::Room(conversation)),
            Subject::Typing(conversation, user) => {
                tell(Topic::Typing(conversation));
                let listeners = (self.parts.listeners)(conversation).into_iter();
                listeners.filter(|listener| *listener != user).map(Topic::Inbox).for_each(tell);
            }
        }
    }

    fn millis(&self) -> i64 {
        self.parts.clock.now().timestamp_millis()
    }
}
