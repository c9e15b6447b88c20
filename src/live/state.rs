//! The live state that a node knows: its own live state, and that of the other nodes. One lock protects the whole
//! state, and no task awaits while it holds the lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::exchange::{Activity, DeviceChange, DeviceState, LiveChange, NodeId, Target};
use super::facts::Facts;
use super::peer::Peer;
use super::watch::{Stamp, Subject, Topic, Watchers};
use crate::clock::Clock;
use crate::config::LiveSettings;
use crate::ids::{ConversationId, SessionId, UserId};
use crate::metrics::{LiveKind, Metrics};

/// Time for which a node remembers when a user was last seen. Postgres has stored the last-seen time before this time
/// ends.
const SEEN_TTL: Duration = Duration::from_mins(1);
/// Maximum number of changes in the outbox. If the outbox is full, its changes are dropped, and the other nodes ask for
/// all facts.
const MAX_OUTBOX: usize = 10_000;

/// Function that returns the participants of a conversation who have a stream on this node.
pub type Listeners = Arc<dyn Fn(ConversationId) -> Vec<UserId> + Send + Sync>;
/// A user who has disconnected, and the time at which the user was last seen.
pub type Departure = (UserId, DateTime<Utc>);

pub(super) struct State {
    pub(super) own_id: NodeId,
    pub(super) facts: Facts,
    /// Time at which the typing of each user in a conversation ends.
    typing: BTreeMap<(ConversationId, UserId), Instant>,
    /// For each user who has recently disconnected: the time at which the user was last seen, and the time until which
    /// this node remembers it.
    seen: HashMap<UserId, (DateTime<Utc>, Instant)>,
    connections: HashMap<UserId, Connections>,
    /// Number of connections of each device to this node.
    devices: HashMap<SessionId, usize>,
    /// Number of a user's devices that have a conversation open on this node.
    entered: HashMap<(ConversationId, UserId), usize>,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) timers: BTreeSet<(Instant, Timer)>,
    pub(super) outbox: Outbox,
    pub(super) watchers: Watchers,
    stamp: Stamp,
    pub(super) settings: LiveSettings,
    pub(super) clock: Clock,
    metrics: Metrics,
    listeners: Listeners,
    /// Sends the users whose last-seen time this node has to store.
    pub(super) departures: mpsc::UnboundedSender<Departure>,
}

/// The connections of one user to this node.
#[derive(Default)]
struct Connections {
    count: usize,
    /// Time at which the last connection closed, and time until which the user can reconnect without a change of
    /// presence. None while a connection is open.
    closed: Option<(DateTime<Utc>, Instant)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Typing(ConversationId, UserId),
    Absent(UserId),
    Peer(NodeId),
    Seen(UserId),
}

/// The changes, requests and responses that wait to be published.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) changes: Vec<LiveChange>,
    /// Whether changes were dropped because there were too many.
    pub(super) changes_dropped: bool,
    pub(super) fact_requests: Vec<Target>,
    pub(super) fact_responses: BTreeSet<NodeId>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && !self.changes_dropped
            && self.fact_requests.is_empty()
            && self.fact_responses.is_empty()
    }
}

impl State {
    pub(super) fn new(
        own_id: NodeId,
        settings: LiveSettings,
        clock: Clock,
        metrics: Metrics,
        listeners: Listeners,
        departures: mpsc::UnboundedSender<Departure>,
    ) -> Self {
        Self {
            own_id,
            facts: Facts::default(),
            typing: BTreeMap::new(),
            seen: HashMap::new(),
            connections: HashMap::new(),
            devices: HashMap::new(),
            entered: HashMap::new(),
            peers: BTreeMap::new(),
            timers: BTreeSet::new(),
            outbox: Outbox::default(),
            watchers: Watchers::default(),
            stamp: 0,
            settings,
            clock,
            metrics,
            listeners,
            departures,
        }
    }

    /// Adds a connection of one of the user's devices to this node. Only the first connection of the user, and of the
    /// device, is published.
    pub(super) fn connect(&mut self, user: UserId, session: SessionId) {
        let known = self.connections.contains_key(&user);
        let connections = self.connections.entry(user).or_default();
        connections.count += 1;
        connections.closed = None;
        if !known {
            let activity = self.facts.users.activity(user).unwrap_or(self.online());
            self.apply_and_broadcast(LiveChange::Present { user, activity });
        }
        let connections = self.devices.entry(session).or_default();
        *connections += 1;
        if *connections == 1 {
            let activity = self.facts.device(session).unwrap_or(self.online());
            self.change_device(user, session, DeviceState::Connected(activity));
        }
    }

    /// Removes a connection of one of the user's devices. After the last connection of the device closes, this node
    /// publishes at once that the device is disconnected, so that its pushes do not wait. After the last connection of
    /// the user closes, this node publishes that the user is absent, unless the user reconnects within PRESENCE_GRACE.
    pub(super) fn disconnect(&mut self, user: UserId, session: SessionId) {
        if let Some(connections) = self.devices.get_mut(&session) {
            *connections -= 1;
            if *connections == 0 {
                self.devices.remove(&session);
                self.change_device(user, session, DeviceState::Disconnected);
            }
        }
        let Some(connections) = self.connections.get_mut(&user) else { return };
        connections.count -= 1;
        if connections.count == 0 {
            let until = Instant::now() + self.settings.presence_grace;
            connections.closed = Some((self.clock.now(), until));
            self.timers.insert((until, Timer::Absent(user)));
        }
    }

    /// Marks the user, and the page of the device, as away or as not away. Does nothing if the user is offline, or if
    /// the device is not connected.
    pub(super) fn set_away(&mut self, user: UserId, session: SessionId, away: bool) {
        if let Some(activity) = self.changed(self.facts.users.activity(user), away) {
            self.apply_and_broadcast(LiveChange::Activity { user, activity });
        }
        if let Some(activity) = self.changed(self.facts.device(session), away) {
            self.change_device(user, session, DeviceState::Active(activity));
        }
    }

    /// Returns an activity that is newer than `known` and has the value `away`. Returns None if the known activity has
    /// this value, or if none is known.
    fn changed(&self, known: Option<Activity>, away: bool) -> Option<Activity> {
        let known = known.filter(|known| known.away != away)?;
        Some(Activity { at: self.now_millis().max(known.at + 1), away })
    }

    fn change_device(&mut self, user: UserId, session: SessionId, state: DeviceState) {
        self.apply_and_broadcast(LiveChange::Device(DeviceChange { user, session, state }));
    }

    pub(super) fn set_typing(&mut self, conversation: ConversationId, user: UserId, typing: bool) {
        if typing || self.is_typing(conversation, user) {
            self.apply_and_broadcast(LiveChange::Typing { conversation, user, typing });
        }
    }

    pub(super) fn enter(&mut self, conversation: ConversationId, user: UserId) {
        let devices = self.entered.entry((conversation, user)).or_default();
        *devices += 1;
        if *devices == 1 {
            self.apply_and_broadcast(LiveChange::Entered { conversation, user });
        }
    }

    pub(super) fn leave(&mut self, conversation: ConversationId, user: UserId) {
        let Some(devices) = self.entered.get_mut(&(conversation, user)) else { return };
        *devices -= 1;
        if *devices == 0 {
            self.entered.remove(&(conversation, user));
            self.apply_and_broadcast(LiveChange::Left { conversation, user });
        }
    }

    pub(super) fn is_typing(&self, conversation: ConversationId, user: UserId) -> bool {
        self.typing.contains_key(&(conversation, user))
    }

    pub(super) fn typing_in(&self, conversation: ConversationId) -> Vec<UserId> {
        let from = self.typing.range((conversation, UserId(uuid::Uuid::nil()))..);
        from.take_while(|((id, _), _)| *id == conversation).map(|((_, user), _)| *user).collect()
    }

    pub(super) fn last_seen(&self, user: UserId) -> Option<DateTime<Utc>> {
        self.seen.get(&user).map(|(at, _)| *at)
    }

    /// Returns all users of this node, with the time at which each user was last seen: now, or the time at which the
    /// user's last connection closed.
    pub(super) fn connected_users(&self) -> Vec<Departure> {
        let now = self.clock.now();
        let departure = |(user, of): (&UserId, &Connections)| (*user, of.closed.map_or(now, |(at, _)| at));
        self.connections.iter().map(departure).collect()
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Runs the timers that are due.
    pub(super) fn fire_timers(&mut self) {
        let now = Instant::now();
        while self.next_timer().is_some_and(|at| at <= now)
            && let Some((_, timer)) = self.timers.pop_first()
        {
            // The deadline might have moved since the timer was set.
            match (self.deadline_of(timer), timer) {
                (Some(due), timer) if due > now => drop(self.timers.insert((due, timer))),
                (None, _) => {}
                (Some(_), Timer::Typing(conversation, user)) => self.end_typing(conversation, user),
                (Some(_), Timer::Absent(user)) => self.go_offline(user),
                (Some(_), Timer::Peer(node)) => self.remove_peer(node, self.settings.presence_grace),
                (Some(_), Timer::Seen(user)) => drop(self.seen.remove(&user)),
            }
        }
    }

    fn deadline_of(&self, timer: Timer) -> Option<Instant> {
        match timer {
            Timer::Typing(conversation, user) => self.typing.get(&(conversation, user)).copied(),
            Timer::Absent(user) => self.connections.get(&user)?.closed.map(|(_, until)| until),
            Timer::Peer(node) => self.peers.get(&node)?.remove_at,
            Timer::Seen(user) => self.seen.get(&user).map(|(_, until)| *until),
        }
    }

    fn go_offline(&mut self, user: UserId) {
        let closed = self.connections.remove(&user).and_then(|connections| connections.closed);
        let Some((seen, _)) = closed else { return };
        self.apply_and_broadcast(LiveChange::Absent { user, seen });
        // The send fails only during shutdown, after the receiver was dropped.
        let _ = self.departures.send((user, seen));
    }

    /// Applies a change of this node, and queues it for the other nodes.
    fn apply_and_broadcast(&mut self, change: LiveChange) {
        self.apply(self.own_id, change);
        self.metrics.live_published(match change {
            LiveChange::Present { .. } | LiveChange::Absent { .. } | LiveChange::Activity { .. } => LiveKind::Presence,
            LiveChange::Entered { .. } | LiveChange::Left { .. } => LiveKind::Room,
            LiveChange::Typing { .. } => LiveKind::Typing,
            LiveChange::Device(_) => LiveKind::Device,
        });
        if self.outbox.changes.len() >= MAX_OUTBOX {
            self.outbox.changes.clear();
            self.outbox.changes_dropped = true;
        }
        self.outbox.changes.push(change);
    }

    pub(super) fn apply(&mut self, node: NodeId, change: LiveChange) {
        match change {
            LiveChange::Present { user, activity } => {
                self.seen.remove(&user);
                self.change_facts(&[user], &[], |facts| facts.users.connect(node, user, activity));
            }
            LiveChange::Absent { user, seen } => {
                self.change_facts(&[user], &[], |facts| facts.users.disconnect(node, user));
                self.remember_seen(user, seen);
            }
            LiveChange::Activity { user, activity } => {
                self.change_facts(&[user], &[], |facts| facts.users.set_activity(user, activity));
            }
            LiveChange::Entered { conversation, user } => {
                self.change_facts(&[], &[(conversation, user)], |facts| facts.enter(node, conversation, user));
            }
            LiveChange::Left { conversation, user } => {
                self.change_facts(&[], &[(conversation, user)], |facts| facts.leave(node, conversation, user));
            }
            LiveChange::Typing { conversation, user, typing: false } => self.end_typing(conversation, user),
            LiveChange::Typing { conversation, user, typing: true } => {
                let until = Instant::now() + self.settings.typing_timeout;
                if self.typing.insert((conversation, user), until).is_none() {
                    self.timers.insert((until, Timer::Typing(conversation, user)));
                    self.notify(Subject::Typing(conversation, user));
                }
            }
            LiveChange::Device(change) => self.facts.change_device(node, change),
        }
    }

    fn end_typing(&mut self, conversation: ConversationId, user: UserId) {
        if self.typing.remove(&(conversation, user)).is_some() {
            self.notify(Subject::Typing(conversation, user));
        }
    }

    /// Remembers when the user was last seen on one node. The user might still be connected to another node.
    pub(super) fn remember_seen(&mut self, user: UserId, at: DateTime<Utc>) {
        let until = Instant::now() + SEEN_TTL;
        let at = self.last_seen(user).map_or(at, |known| known.max(at));
        self.seen.insert(user, (at, until));
        self.timers.insert((until, Timer::Seen(user)));
    }

    /// Changes the facts with `action`. Notifies the watches of each of the `users` whose presence has changed, and of
    /// each pair in `rooms` whose user has entered or left the conversation.
    pub(super) fn change_facts(
        &mut self,
        users: &[UserId],
        rooms: &[(ConversationId, UserId)],
        action: impl FnOnce(&mut Facts),
    ) {
        let statuses: Vec<_> = users.iter().map(|user| self.facts.status(*user)).collect();
        let were_in_room: Vec<_> = rooms.iter().map(|(room, user)| self.facts.is_in_room(*room, *user)).collect();
        action(&mut self.facts);
        for (&user, before) in users.iter().zip(statuses) {
            if self.facts.status(user) != before {
                self.notify(Subject::Presence(user));
            }
        }
        for (&(conversation, user), before) in rooms.iter().zip(were_in_room) {
            if self.facts.is_in_room(conversation, user) != before {
                self.notify(Subject::Room(conversation, user));
            }
        }
    }

    pub(super) fn notify(&mut self, subject: Subject) {
        self.stamp += 1;
        let notify = |topic| self.watchers.notify(topic, subject, self.stamp);
        match subject {
            Subject::Presence(user) => {
                notify(Topic::Presence(user));
                notify(Topic::Inbox(user));
            }
            Subject::Room(conversation, _) => notify(Topic::Room(conversation)),
            Subject::Typing(conversation, user) => {
                notify(Topic::Typing(conversation));
                let listeners = (self.listeners)(conversation).into_iter();
                listeners.filter(|listener| *listener != user).map(Topic::Inbox).for_each(notify);
            }
        }
    }

    fn online(&self) -> Activity {
        Activity { at: self.now_millis(), away: false }
    }

    fn now_millis(&self) -> i64 {
        self.clock.now().timestamp_millis()
    }
}
