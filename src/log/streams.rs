//! Which stream wants which event: an index over this node's subscribers, kept true by the log itself.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::event::{Audience, Change, Event, Seq};
use super::memory::Memory;
use super::read::Snapshot;
use crate::config::LogSettings;
use crate::ids::{ConversationId, SessionId, UserId};
use crate::metrics::Metrics;

/// What a stream wants of the events that its user may receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// All that concerns the user.
    Inbox,
    /// New messages, of one conversation or of all.
    Messages(Option<ConversationId>),
    /// Changes of the messages of one conversation.
    Updates(ConversationId),
}

impl Interest {
    pub(super) fn wants(self, change: &Change) -> bool {
        match (self, *change) {
            (_, Change::UserUpdated { .. } | Change::SessionRevoked { .. } | Change::Unknown(_)) => false,
            (Self::Inbox, _) | (Self::Messages(None), Change::MessageAdded { .. }) => true,
            (Self::Messages(Some(wanted)), Change::MessageAdded { conversation, .. })
            | (Self::Updates(wanted), Change::MessageUpdated { conversation, .. }) => wanted == conversation,
            (Self::Messages(_) | Self::Updates(_), _) => false,
        }
    }

    /// Whether there is anything to come for a user who takes part in these.
    pub(super) fn is_open(self, conversations: &HashSet<ConversationId>) -> bool {
        match self {
            Self::Messages(Some(wanted)) | Self::Updates(wanted) => conversations.contains(&wanted),
            Self::Inbox | Self::Messages(None) => true,
        }
    }
}

/// Whether a user may receive an event, given what the user takes part in at that point of the log;
/// the membership is brought up to date on the way.
pub(super) fn receives(user: UserId, conversations: &mut HashSet<ConversationId>, change: &Change) -> bool {
    match *change {
        Change::ConversationAdded { user: joined, conversation } if joined == user => {
            conversations.insert(conversation);
        }
        Change::ConversationRemoved { user: gone, conversation } if gone == user => {
            conversations.remove(&conversation);
        }
        _ => {}
    }
    match change.audience() {
        Audience::User(id) => id == user,
        Audience::Conversation(id) => conversations.contains(&id),
    }
}

/// The stream is further behind than this node remembers: read the log again.
pub(super) struct Behind;

pub(super) struct Streams {
    index: Mutex<Index>,
    queue: usize,
    /// How far the tail has come.
    position: watch::Sender<Seq>,
    pub(super) memory: Memory,
    /// How many participants the tail has seen go, of any conversation.
    departures: AtomicU64,
}

struct Index {
    position: Seq,
    recent: VecDeque<Event>,
    memory: usize,
    users: HashMap<UserId, Listener>,
    /// The users with a stream here who take part in a conversation.
    listeners: HashMap<ConversationId, HashSet<UserId>>,
    sessions: HashMap<SessionId, Watched>,
    next_stream: u64,
    metrics: Metrics,
}

/// A user with at least one stream on this node.
struct Listener {
    conversations: HashSet<ConversationId>,
    streams: Vec<Entry>,
}

struct Entry {
    id: u64,
    /// What the stream has read already, up to and with this.
    from: Seq,
    interest: Interest,
    /// None once it was full.
    queue: Option<mpsc::Sender<Event>>,
    end: Arc<End>,
}

/// How a stream was let go.
#[derive(Default)]
struct End {
    /// The place up to which all that it wants was queued.
    queued: AtomicI64,
    /// Says that what is queued may not be passed on any more.
    recalled: AtomicBool,
}

struct Watched {
    revoked: CancellationToken,
    watchers: usize,
}

/// A stream's place at the tail. `poll_recv` fails once its queue has overflowed, or its user has left a conversation:
/// what comes next is then in the log, after the place that the error names.
pub(super) struct Joined {
    streams: Arc<Streams>,
    user: UserId,
    id: u64,
    queue: mpsc::Receiver<Event>,
    end: Arc<End>,
}

impl Streams {
    pub(super) fn new(position: Seq, settings: &LogSettings, metrics: Metrics) -> Self {
        let (memory, queue) = (settings.tail_memory, settings.stream_queue);
        let index = Index {
            position,
            recent: VecDeque::with_capacity(memory),
            memory,
            users: HashMap::new(),
            listeners: HashMap::new(),
            sessions: HashMap::new(),
            next_stream: 0,
            metrics,
        };
        Self {
            index: Mutex::new(index),
            queue,
            position: watch::Sender::new(position),
            memory: Memory::new(),
            departures: AtomicU64::new(0),
        }
    }

    pub(super) fn position(&self) -> Seq {
        *self.position.borrow()
    }

    /// Grows with each participant that the tail sees go.
    pub(super) fn departures(&self) -> u64 {
        self.departures.load(Ordering::SeqCst)
    }

    /// Waits until the tail has passed on everything up to `seq`.
    pub(super) async fn reached(&self, seq: Seq) {
        // It fails only where the sender is gone, which is this very value.
        let _ = self.position.subscribe().wait_for(|position| *position >= seq).await;
    }

    /// Takes the next event of the log to every stream that wants it.
    pub(super) fn dispatch(&self, event: Event) {
        if matches!(event.change, Change::ConversationRemoved { .. }) {
            self.departures.fetch_add(1, Ordering::SeqCst);
        }
        let mut index = self.lock();
        self.memory.hear(&event.change);
        index.dispatch(event);
        drop(index);
        self.position.send_replace(event.seq);
    }

    /// Those that are watched; nothing else is kept in mind any longer.
    pub(super) fn watched_sessions(&self) -> Vec<SessionId> {
        let index = self.lock();
        self.memory.clear();
        index.sessions.keys().copied().collect()
    }

    /// Goes on after `seq`, though what came up to there is unknown but for the sessions that it ended: every stream
    /// reads the log again.
    pub(super) fn skip_to(&self, seq: Seq, ended: &[SessionId]) {
        self.departures.fetch_add(1, Ordering::SeqCst);
        let mut index = self.lock();
        // What was kept since may be from before a change that was not heard.
        self.memory.clear();
        index.skip_to(seq, ended);
        drop(index);
        self.position.send_replace(seq);
    }

    /// Puts a stream that has read up to the snapshot's head onto the tail at exactly that place. The tail must
    /// have reached it: the index then knows what the user takes part in at the tail's own position.
    pub(super) fn join(
        self: &Arc<Self>,
        user: UserId,
        snapshot: Snapshot,
        interest: Interest,
    ) -> Result<Joined, Behind> {
        let (sender, queue) = mpsc::channel(self.queue);
        let end = Arc::new(End::default());
        let id = self.lock().join(user, snapshot, interest, sender, Arc::clone(&end))?;
        Ok(Joined { streams: Arc::clone(self), user, id, queue, end })
    }

    pub(super) fn watch_session(this: &Arc<Self>, session: SessionId) -> SessionWatch {
        let mut index = this.lock();
        let watched =
            index.sessions.entry(session).or_insert_with(|| Watched { revoked: CancellationToken::new(), watchers: 0 });
        watched.watchers += 1;
        SessionWatch { streams: Arc::clone(this), session, revoked: watched.revoked.clone() }
    }

    /// Ends a session whose revocation is committed, before the tail hears of it.
    pub(super) fn end_session(&self, session: SessionId) {
        let mut index = self.lock();
        self.memory.end_session(session);
        index.revoke(session);
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn dispatch(&mut self, event: Event) {
        self.position = event.seq;
        if self.recent.len() == self.memory {
            self.recent.pop_front();
        }
        self.recent.push_back(event);

        match event.change {
            Change::ConversationAdded { user, conversation } => {
                if let Some(listener) = self.users.get_mut(&user) {
                    listener.conversations.insert(conversation);
                    self.listeners.entry(conversation).or_default().insert(user);
                }
            }
            Change::ConversationRemoved { user, conversation } => {
                if let Some(listener) = self.users.get_mut(&user) {
                    listener.conversations.remove(&conversation);
                    listener.recall(event.seq - 1);
                    self.forget(conversation, user);
                }
            }
            Change::SessionRevoked { session, .. } => self.revoke(session),
            Change::MessageAdded { .. }
            | Change::MessageUpdated { .. }
            | Change::MessageRemoved { .. }
            | Change::MembershipUpdated { .. }
            | Change::ContactsChanged { .. }
            | Change::UserUpdated { .. }
            | Change::ConversationUpdated { .. }
            | Change::ReceiptAdvanced { .. }
            | Change::Unknown(_) => {}
        }
        match event.change.audience() {
            Audience::User(user) => {
                if let Some(listener) = self.users.get_mut(&user) {
                    listener.deliver(event, &self.metrics);
                }
            }
            Audience::Conversation(conversation) => {
                for user in self.listeners.get(&conversation).into_iter().flatten() {
                    if let Some(listener) = self.users.get_mut(user) {
                        listener.deliver(event, &self.metrics);
                    }
                }
            }
        }
    }

    fn skip_to(&mut self, seq: Seq, ended: &[SessionId]) {
        self.recent.clear();
        self.listeners.clear();
        for (_, mut listener) in self.users.drain() {
            listener.recall(self.position);
        }
        self.position = seq;
        for &session in ended {
            self.revoke(session);
        }
    }

    fn revoke(&mut self, session: SessionId) {
        if let Some(watched) = self.sessions.remove(&session) {
            watched.revoked.cancel();
        }
    }

    fn join(
        &mut self,
        user: UserId,
        snapshot: Snapshot,
        interest: Interest,
        queue: mpsc::Sender<Event>,
        end: Arc<End>,
    ) -> Result<u64, Behind> {
        let Snapshot { head, mut conversations } = snapshot;
        self.replay(user, &mut conversations, head, interest, &queue)?;
        self.next_stream += 1;
        let id = self.next_stream;
        let listener = match self.users.entry(user) {
            // The index has it right already, at its own position.
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                for &conversation in &conversations {
                    self.listeners.entry(conversation).or_default().insert(user);
                }
                entry.insert(Listener { conversations, streams: Vec::new() })
            }
        };
        listener.streams.push(Entry { id, from: head, interest, queue: Some(queue), end });
        Ok(id)
    }

    /// Queues what the tail has passed since the head that the stream has read up to.
    fn replay(
        &self,
        user: UserId,
        conversations: &mut HashSet<ConversationId>,
        head: Seq,
        interest: Interest,
        queue: &mpsc::Sender<Event>,
    ) -> Result<(), Behind> {
        if head == self.position {
            return Ok(());
        }
        if self.recent.front().is_none_or(|oldest| oldest.seq > head + 1) {
            return Err(Behind);
        }
        for event in self.recent.iter().filter(|event| event.seq > head) {
            if matches!(event.change, Change::ConversationRemoved { user: gone, .. } if gone == user) {
                return Err(Behind);
            }
            if receives(user, conversations, &event.change) && interest.wants(&event.change) {
                queue.try_send(*event).map_err(|_| Behind)?;
            }
        }
        Ok(())
    }

    fn leave(&mut self, user: UserId, id: u64) {
        let Some(listener) = self.users.get_mut(&user) else { return };
        listener.streams.retain(|stream| stream.id != id);
        if !listener.streams.is_empty() {
            return;
        }
        if let Some(listener) = self.users.remove(&user) {
            for conversation in listener.conversations {
                self.forget(conversation, user);
            }
        }
    }

    fn forget(&mut self, conversation: ConversationId, user: UserId) {
        if let Some(users) = self.listeners.get_mut(&conversation) {
            users.remove(&user);
            if users.is_empty() {
                self.listeners.remove(&conversation);
            }
        }
    }

    fn unwatch(&mut self, session: SessionId) {
        if let Some(watched) = self.sessions.get_mut(&session) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                self.sessions.remove(&session);
            }
        }
    }
}

impl Listener {
    /// What was queued while the user took part, up to a place, is not for them any more.
    fn recall(&mut self, queued: Seq) {
        for stream in self.streams.drain(..) {
            if stream.queue.is_some() {
                stream.end.queued.store(queued, Ordering::SeqCst);
            }
            stream.end.recalled.store(true, Ordering::SeqCst);
        }
    }

    /// A stream whose queue is full is let go: it sees its queue end, and reads the log from where it stood. What is
    /// in the queue can still be recalled.
    fn deliver(&mut self, event: Event, metrics: &Metrics) {
        for stream in &mut self.streams {
            if event.seq <= stream.from || !stream.interest.wants(&event.change) {
                continue;
            }
            let Some(queue) = &stream.queue else { continue };
            let sent = queue.try_send(event);
            if matches!(sent, Err(TrySendError::Full(_))) {
                metrics.stream_overflow();
            }
            if sent.is_err() {
                stream.end.queued.store(event.seq - 1, Ordering::SeqCst);
                stream.queue = None;
            }
        }
    }
}

impl Joined {
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Seq>> {
        Poll::Ready(match ready!(self.queue.poll_recv(cx)) {
            Some(event) if self.end.recalled.load(Ordering::SeqCst) => Err(event.seq - 1),
            Some(event) => Ok(event),
            None => Err(self.end.queued.load(Ordering::SeqCst)),
        })
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.streams.lock().leave(self.user, self.id);
    }
}

/// Watches one session for its revocation.
pub struct SessionWatch {
    streams: Arc<Streams>,
    session: SessionId,
    revoked: CancellationToken,
}

impl SessionWatch {
    pub fn revoked(&self) -> impl Future<Output = ()> + Send + use<> {
        self.revoked.clone().cancelled_owned()
    }

    /// Keeps in mind that the session is live, until the log says otherwise. Postgres must have said so since this
    /// watch began.
    pub fn confirm(&self) {
        // No revocation is passed on meanwhile.
        let _index = self.streams.lock();
        if !self.revoked.is_cancelled() {
            self.streams.memory.keep_session(self.session);
        }
    }
}

impl Drop for SessionWatch {
    fn drop(&mut self) {
        // After a revocation the entry is gone, and a later watch of the same session is not this one's.
        if !self.revoked.is_cancelled() {
            self.streams.lock().unwatch(self.session);
        }
    }
}
