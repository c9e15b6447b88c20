//! What does not outlive the moment: who is there, who is typing, who has which conversation open.
//!
//! Each node holds all of it in memory. It tells the others of its own users, and asks for what it has missed; nothing
//! is kept in Redis or Postgres.

mod exchange;
mod facts;
mod peers;
mod redis;
mod state;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use exchange::{Exchange, Incoming, MemoryExchange, NodeId, Publication, To};
pub use redis::RedisExchange;
pub use state::{Departure, Listeners};
pub use watch::{Stamp, Subject, Topic, Watch};

use crate::clock::Clock;
use crate::config::LiveSettings;
use crate::ids::{ConversationId, UserId};
use crate::metrics::Metrics;
use crate::random::Random;
use exchange::Body;
use peers::BEATS;
use state::State;

/// How long one publication may take: the next one has news.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);
/// Changes in one publication.
const CHANGES_TOGETHER: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Online,
    Away,
    Offline,
}

/// The moment as this node sees it. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    parts: Arc<Parts>,
    tasks: Arc<[JoinHandle<()>; 2]>,
}

struct Parts {
    me: NodeId,
    state: Mutex<State>,
    exchange: Arc<dyn Exchange>,
    /// How many `Changes` were published; whoever holds it publishes.
    number: tokio::sync::Mutex<u64>,
    /// There is something to publish.
    speak: Notify,
    /// Something is due earlier than was thought.
    timers: Notify,
    stop: CancellationToken,
}

impl Live {
    /// Joins the other nodes until `stop` is cancelled. Who goes is told to `departures`, by one node.
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
        let me = NodeId(u64::from_be_bytes(random.bytes()));
        let stop = stop.child_token();
        let incoming = exchange.subscribe(me, stop.clone());
        let beat = settings.presence_node_ttl / BEATS;
        let parts = state::Parts { settings: settings.clone(), clock, metrics, listeners, departures };
        let parts = Arc::new(Parts {
            me,
            state: Mutex::new(State::new(me, parts)),
            exchange,
            number: tokio::sync::Mutex::default(),
            speak: Notify::new(),
            timers: Notify::new(),
            stop,
        });
        let (listening, speaking) = (Arc::clone(&parts), Arc::clone(&parts));
        let tasks = [
            tokio::spawn(async move {
                listening.stop.run_until_cancelled(listening.listen(incoming)).await;
            }),
            tokio::spawn(async move {
                speaking.stop.run_until_cancelled(speaking.speak(beat)).await;
            }),
        ];
        (Self { parts, tasks: Arc::new(tasks) }, departed)
    }

    /// Whether the node still hears and tells.
    pub fn is_running(&self) -> bool {
        self.tasks.iter().all(|task| !task.is_finished())
    }

    /// A connection of a device of the user's, until it is dropped.
    pub fn connect(&self, user: UserId) -> Connected {
        self.parts.change(|state| state.connect(user));
        Connected { live: self.clone(), user }
    }

    pub fn status(&self, user: UserId) -> Status {
        self.lock().facts.status(user)
    }

    /// When a user was last seen who has gone a moment ago.
    pub fn seen(&self, user: UserId) -> Option<DateTime<Utc>> {
        self.lock().seen(user)
    }

    /// Has those on this node who watch the user's presence look at it again: what they may see has changed.
    pub fn look_again(&self, user: UserId) {
        self.parts.change(|state| state.tell(Subject::Presence(user)));
    }

    /// Until it is set again, or the user has gone.
    pub fn set_away(&self, user: UserId, away: bool) {
        self.parts.change(|state| state.set_away(user, away));
    }

    pub fn set_typing(&self, conversation: ConversationId, user: UserId, typing: bool) {
        self.parts.change(|state| state.set_typing(conversation, user, typing));
    }

    pub fn is_typing(&self, conversation: ConversationId, user: UserId) -> bool {
        self.lock().is_typing(conversation, user)
    }

    /// The user has the conversation open on a device, until it is dropped.
    pub fn enter(&self, conversation: ConversationId, user: UserId) -> Entered {
        self.parts.change(|state| state.enter(conversation, user));
        Entered { live: self.clone(), conversation, user }
    }

    /// Who has the conversation open.
    pub fn room(&self, conversation: ConversationId) -> Vec<UserId> {
        self.lock().facts.room(conversation)
    }

    pub fn is_in_room(&self, conversation: ConversationId, user: UserId) -> bool {
        self.lock().facts.is_in_room(conversation, user)
    }

    /// The node goes down: the others give its users the time of a reconnect, and no more. Returns who was here.
    pub async fn close(&self) -> Vec<Departure> {
        self.parts.flush(Some(Body::Leaving)).await;
        self.parts.stop.cancel();
        self.lock().everybody()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.parts.lock()
    }
}

impl Parts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whatever follows from the change is then seen to.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let due = state.next_timer();
        change(&mut state);
        let (speak, sooner) =
            (!state.outbox.is_empty(), state.next_timer().is_some_and(|at| due.is_none_or(|due| at < due)));
        drop(state);
        if speak {
            self.speak.notify_one();
        }
        if sooner {
            self.timers.notify_one();
        }
    }

    /// Takes in what the others tell, and sees to what is due.
    async fn listen(&self, mut incoming: mpsc::Receiver<Incoming>) {
        loop {
            let due = self.lock().next_timer();
            tokio::select! {
                next = incoming.recv() => match next {
                    Some(Incoming::Published(publication)) => self.change(|state| state.hear(publication)),
                    Some(Incoming::Connected) => self.change(State::connected),
                    None => return,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.change(State::ring),
                () = self.timers.notified() => {}
            }
        }
    }

    /// Tells the others what there is to tell, and at each beat that the node is there.
    async fn speak(&self, beat: Duration) {
        let mut beats = interval(beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let last = tokio::select! {
                () = self.speak.notified() => None,
                _ = beats.tick() => Some(Body::Alive),
            };
            self.flush(last).await;
        }
    }

    /// Publishes what is waiting, and then `last`.
    async fn flush(&self, last: Option<Body>) {
        let mut number = self.number.lock().await;
        let outbox = std::mem::take(&mut self.lock().outbox);
        if outbox.lost {
            *number += 1;
        }
        for changes in outbox.changes.chunks(CHANGES_TOGETHER) {
            *number += 1;
            self.publish(To::Everybody, *number, Body::Changes(changes.to_vec())).await;
        }
        for to in outbox.asks {
            self.publish(to, *number, Body::Ask).await;
        }
        for node in outbox.answers {
            let facts = self.lock().facts.of(self.me);
            self.publish(To::Node(node), *number, Body::All(facts)).await;
        }
        if let Some(last) = last {
            self.publish(To::Everybody, *number, last).await;
        }
    }

    /// What does not arrive is missed by its number, and asked for.
    async fn publish(&self, to: To, number: u64, body: Body) {
        let publication = Publication { from: self.me, number, body };
        match timeout(PUBLISH_TIMEOUT, self.exchange.publish(to, &publication)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the other nodes cannot be told what happens here"),
            Err(_) => warn!(after = ?PUBLISH_TIMEOUT, "the other nodes cannot be told what happens here"),
        }
    }
}

/// See [`Live::connect`].
pub struct Connected {
    live: Live,
    user: UserId,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.live.parts.change(|state| state.disconnect(self.user));
    }
}

/// See [`Live::enter`].
pub struct Entered {
    live: Live,
    conversation: ConversationId,
    user: UserId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.live.parts.change(|state| state.leave(self.conversation, self.user));
    }
}
