//! Live state, which is not stored: which users are online and with which devices, which users are typing, and which
//! users have a conversation open.
//!
//! Each node holds the live state of all nodes in memory. A node publishes the changes of its own users. If it has
//! missed a message of another node, it asks that node for all facts. Redis and Postgres do not store live state,
//! except that Postgres stores when a user was last seen.

mod exchange;
mod facts;
mod peer;
mod peers;
mod redis;
mod state;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use exchange::{Exchange, Incoming, MemoryExchange, NodeId, NodeMessage, Target};
pub use redis::RedisExchange;
pub use state::{Departure, Listeners};
pub use watch::{Stamp, Subject, Topic, Watch};

use crate::clock::Clock;
use crate::config::LiveSettings;
use crate::ids::{ConversationId, SessionId, UserId};
use crate::metrics::Metrics;
use crate::random::Random;
use exchange::{Body, DeviceChange, LiveChange};
use peers::HEARTBEATS_PER_TTL;
use state::State;

/// Timeout for publishing one message. The other nodes recover from a lost message; see [`Exchange`].
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of changes in one message.
const MAX_CHANGES_PER_MESSAGE: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Online,
    Away,
    Offline,
}

/// A handle to the live state on this node. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    inner: Arc<Inner>,
    tasks: Arc<[JoinHandle<()>; 2]>,
}

struct Inner {
    own_id: NodeId,
    state: Mutex<State>,
    exchange: Arc<dyn Exchange>,
    /// Number of `Changes` messages that this node has published. A task publishes only while it holds this lock.
    number: tokio::sync::Mutex<u64>,
    /// Notified when the outbox is not empty.
    outbox_filled: Notify,
    /// Notified when the next timer is due earlier than before.
    timer_moved: Notify,
    stop: CancellationToken,
}

impl Live {
    /// Starts the exchange of live state with the other nodes, until `stop` is cancelled. The returned receiver yields
    /// the users who have disconnected from this node. If a node fails, the receiver of one of the other nodes yields
    /// the users of the failed node.
    pub fn open(
        exchange: Arc<dyn Exchange>,
        clock: Clock,
        random: &Random,
        settings: &LiveSettings,
        metrics: Metrics,
        listeners: Listeners,
        stop: &CancellationToken,
    ) -> (Self, mpsc::UnboundedReceiver<Departure>) {
        let (departures, departed) = mpsc::unbounded_channel();
        let own_id = NodeId(u64::from_be_bytes(random.bytes()));
        let stop = stop.child_token();
        let incoming = exchange.subscribe(own_id, stop.clone());
        let heartbeat = settings.presence_node_ttl / HEARTBEATS_PER_TTL;
        let inner = Arc::new(Inner {
            own_id,
            state: Mutex::new(State::new(own_id, settings.clone(), clock, metrics, listeners, departures)),
            exchange,
            number: tokio::sync::Mutex::default(),
            outbox_filled: Notify::new(),
            timer_moved: Notify::new(),
            stop,
        });
        let (receiver, publisher) = (Arc::clone(&inner), Arc::clone(&inner));
        let tasks = [
            tokio::spawn(async move {
                receiver.stop.run_until_cancelled(receiver.receive_all(incoming)).await;
            }),
            tokio::spawn(async move {
                publisher.stop.run_until_cancelled(publisher.publish_all(heartbeat)).await;
            }),
        ];
        (Self { inner, tasks: Arc::new(tasks) }, departed)
    }

    /// Returns whether the tasks that receive and publish are running.
    pub fn is_running(&self) -> bool {
        self.tasks.iter().all(|task| !task.is_finished())
    }

    /// Counts a connection of one of the user's devices, until the returned value is dropped. `session` is the session
    /// of the device.
    pub fn connect(&self, user: UserId, session: SessionId) -> Connected {
        self.inner.update(|state| state.connect(user, session));
        Connected { live: self.clone(), user, session }
    }

    /// Whether the session has a connection to any node and its page is not hidden. Its device then needs no push.
    pub fn is_session_visible(&self, session: SessionId) -> bool {
        self.lock().facts.is_visible(session)
    }

    /// Whether any session of the user is visible, as `is_session_visible` defines it.
    pub fn is_visible_anywhere(&self, user: UserId) -> bool {
        self.lock().facts.is_visible_anywhere(user)
    }

    pub fn status(&self, user: UserId) -> Status {
        self.lock().facts.status(user)
    }

    /// Returns when an offline user was last seen, if the user disconnected within the last minute. Otherwise returns
    /// None, and Postgres has the time.
    pub fn last_seen(&self, user: UserId) -> Option<DateTime<Utc>> {
        self.lock().last_seen(user)
    }

    /// Notifies the watches of the user's presence on this node. Called when the set of users who may see the presence
    /// might have changed.
    pub fn notify_presence(&self, user: UserId) {
        self.inner.update(|state| state.notify(Subject::Presence(user)));
    }

    /// Marks an online user as away or as not away, and the page of the session as hidden or as not hidden. The mark of
    /// the user ends when the user goes offline, and the mark of the session when its last connection closes.
    pub fn set_away(&self, user: UserId, session: SessionId, away: bool) {
        self.inner.update(|state| state.set_away(user, session, away));
    }

    pub fn set_typing(&self, conversation: ConversationId, user: UserId, typing: bool) {
        self.inner.update(|state| state.set_typing(conversation, user, typing));
    }

    pub fn is_typing(&self, conversation: ConversationId, user: UserId) -> bool {
        self.lock().is_typing(conversation, user)
    }

    /// Records that a device of the user has the conversation open, until the returned value is dropped.
    pub fn enter(&self, conversation: ConversationId, user: UserId) -> Entered {
        self.inner.update(|state| state.enter(conversation, user));
        Entered { live: self.clone(), conversation, user }
    }

    /// Returns the users who have the conversation open on any node.
    pub fn room(&self, conversation: ConversationId) -> Vec<UserId> {
        self.lock().facts.room(conversation)
    }

    pub fn is_in_room(&self, conversation: ConversationId, user: UserId) -> bool {
        self.lock().facts.is_in_room(conversation, user)
    }

    /// Announces that this node shuts down. The other nodes treat its users as disconnected after PRESENCE_GRACE.
    /// Returns the users of this node, with the time at which each user was last seen.
    pub async fn close(&self) -> Vec<Departure> {
        self.inner.flush(Some(Body::Leaving)).await;
        self.inner.stop.cancel();
        self.lock().connected_users()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock()
    }
}

impl Inner {
    /// Applies a change to the state. Wakes the publishing task if the outbox is not empty, and the receiving task if
    /// the next timer is due earlier than before.
    fn update(&self, action: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        let due = state.next_timer();
        action(&mut state);
        let (publish, sooner) =
            (!state.outbox.is_empty(), state.next_timer().is_some_and(|at| due.is_none_or(|due| at < due)));
        drop(state);
        if publish {
            self.outbox_filled.notify_one();
        }
        if sooner {
            self.timer_moved.notify_one();
        }
    }

    /// Handles the messages of other nodes, and runs the timers that are due.
    async fn receive_all(&self, mut incoming: mpsc::Receiver<Incoming>) {
        loop {
            let due = self.state.lock().next_timer();
            tokio::select! {
                next = incoming.recv() => match next {
                    Some(Incoming::Message(message)) => self.update(|state| state.receive(message)),
                    Some(Incoming::Connected) => self.update(State::subscribed),
                    None => return,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.update(State::fire_timers),
                () = self.timer_moved.notified() => {}
            }
        }
    }

    /// Publishes the outbox when it is not empty, and a heartbeat at each interval.
    async fn publish_all(&self, heartbeat: Duration) {
        let mut heartbeats = interval(heartbeat);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let last = tokio::select! {
                () = self.outbox_filled.notified() => None,
                _ = heartbeats.tick() => Some(Body::Alive),
            };
            self.flush(last).await;
        }
    }

    /// Publishes everything in the outbox, and then the message `last`.
    async fn flush(&self, last: Option<Body>) {
        let mut number = self.number.lock().await;
        let outbox = std::mem::take(&mut self.state.lock().outbox);
        if outbox.changes_dropped {
            *number += 1;
        }
        for changes in outbox.changes.chunks(MAX_CHANGES_PER_MESSAGE) {
            *number += 1;
            let (devices, changes) = split(changes);
            let message = NodeMessage { from: self.own_id, number: *number, body: Body::Changes(changes), devices };
            self.publish_message(Target::AllNodes, &message).await;
        }
        for to in outbox.fact_requests {
            self.publish(to, *number, Body::Ask).await;
        }
        for node in outbox.fact_responses {
            let facts = self.state.lock().facts.of(self.own_id);
            self.publish(Target::Node(node), *number, Body::All(facts)).await;
        }
        if let Some(last) = last {
            self.publish(Target::AllNodes, *number, last).await;
        }
    }

    async fn publish(&self, to: Target, number: u64, body: Body) {
        self.publish_message(to, &NodeMessage { from: self.own_id, number, body, devices: Vec::new() }).await;
    }

    /// Publishes a message with a timeout. Other nodes notice a lost message by the missing number, and ask for the
    /// facts of this node.
    async fn publish_message(&self, to: Target, message: &NodeMessage) {
        match timeout(PUBLISH_TIMEOUT, self.exchange.publish(to, message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "publishing presence and typing to the other nodes failed"),
            Err(_) => warn!(after = ?PUBLISH_TIMEOUT, "publishing presence and typing to the other nodes timed out"),
        }
    }
}

/// Separates the changes of devices from the other changes.
fn split(changes: &[LiveChange]) -> (Vec<DeviceChange>, Vec<LiveChange>) {
    let (mut devices, mut others) = (Vec::new(), Vec::new());
    for &change in changes {
        match change {
            LiveChange::Device(change) => devices.push(change),
            change => others.push(change),
        }
    }
    (devices, others)
}

/// A connection of a user's device, which counts until this value is dropped; see [`Live::connect`].
pub struct Connected {
    live: Live,
    user: UserId,
    session: SessionId,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.live.inner.update(|state| state.disconnect(self.user, self.session));
    }
}

/// A conversation that a user's device has open, until this value is dropped; see [`Live::enter`].
pub struct Entered {
    live: Live,
    conversation: ConversationId,
    user: UserId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.live.inner.update(|state| state.leave(self.conversation, self.user));
    }
}
