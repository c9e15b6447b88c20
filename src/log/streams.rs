//! The streams of this node that are joined to the tail, and the watched sessions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::event::{Change, Event, Seq};
use super::index::{Behind, End, Index, Watched};
use super::interest::Interest;
use super::memory::Memory;
use super::queue::{Receiver, bounded};
use super::read::Snapshot;
use crate::config::LogSettings;
use crate::ids::{ConversationId, SessionId, UserId};
use crate::metrics::Metrics;

pub(super) struct Streams {
    index: Mutex<Index>,
    queue: usize,
    /// The seq that the tail has reached.
    position: watch::Sender<Seq>,
    pub(super) memory: Memory,
    /// Number of events at the tail that reduced what a user may receive.
    losses: AtomicU64,
}

/// A stream that is joined to the tail. `poll_recv` fails if its queue has overflowed, or if its user has left a
/// conversation or turned read receipts off. The error is the seq after which the stream has to read the log.
pub(super) struct Joined {
    streams: Arc<Streams>,
    user: UserId,
    id: u64,
    queue: Receiver,
    end: Arc<End>,
}

impl Streams {
    pub(super) fn new(position: Seq, settings: &LogSettings, metrics: Metrics) -> Self {
        Self {
            index: Mutex::new(Index::new(position, settings.tail_memory, metrics)),
            queue: settings.stream_queue,
            position: watch::Sender::new(position),
            memory: Memory::new(),
            losses: AtomicU64::new(0),
        }
    }

    pub(super) fn position(&self) -> Seq {
        *self.position.borrow()
    }

    /// Grows when the tail dispatches that a user has left a conversation or turned read receipts off.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    /// The participants of the conversation who have a stream on this node.
    pub(super) fn listeners(&self, conversation: ConversationId) -> Vec<UserId> {
        self.lock().listeners(conversation)
    }

    pub(super) fn is_listener(&self, user: UserId, conversation: ConversationId) -> bool {
        self.lock().is_listener(user, conversation)
    }

    /// Waits until the tail has dispatched all events up to `seq`.
    pub(super) async fn reached(&self, seq: Seq) {
        // It fails only if the sender was dropped, and `self` owns the sender.
        let _ = self.position.subscribe().wait_for(|position| *position >= seq).await;
    }

    /// Dispatches the next event of the log to every stream that asks for it.
    pub(super) fn dispatch(&self, event: Event) {
        if matches!(event.change, Change::ConversationRemoved { .. } | Change::ReadReceiptsOff { .. }) {
            self.losses.fetch_add(1, Ordering::SeqCst);
        }
        let mut index = self.lock();
        self.memory.hear(&event);
        index.dispatch(event);
        drop(index);
        self.position.send_replace(event.seq);
    }

    /// Returns the watched sessions, and clears all caches.
    pub(super) fn watched_sessions(&self) -> Vec<SessionId> {
        let index = self.lock();
        self.memory.clear();
        index.sessions.keys().copied().collect()
    }

    /// Continues after `seq` although the events up to it are unknown. `ended` are the watched sessions that were
    /// revoked by them. Every stream reads the log again.
    pub(super) fn skip_to(&self, seq: Seq, ended: &[SessionId]) {
        self.losses.fetch_add(1, Ordering::SeqCst);
        let mut index = self.lock();
        // Rows that were cached after `watched_sessions` may be from before a skipped change.
        self.memory.skip_to(seq);
        index.skip_to(seq, ended);
        drop(index);
        self.position.send_replace(seq);
    }

    /// Joins a stream that has read up to the snapshot's head to the tail at exactly that position. The tail must have
    /// reached it: the index then knows the user's conversations as of the tail's own position.
    pub(super) fn join(
        self: &Arc<Self>,
        user: UserId,
        snapshot: Snapshot,
        interest: Interest,
    ) -> Result<Joined, Behind> {
        let (sender, queue) = bounded(self.queue);
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

    /// The sessions out of `sessions` that have a connection on this node.
    pub(super) fn connected(&self, sessions: &[SessionId]) -> Vec<SessionId> {
        let index = self.lock();
        sessions.iter().copied().filter(|session| index.sessions.contains_key(session)).collect()
    }

    /// Ends a session whose revocation is committed, before the tail gets the event.
    pub(super) fn end_session(&self, session: SessionId) {
        let mut index = self.lock();
        self.memory.end_session(session);
        index.revoke(session);
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Caches that the session is live, until the log revokes it. It must have been live in Postgres after this watch
    /// began.
    pub fn confirm(&self) {
        // While this lock is held, no revocation is dispatched.
        let _index = self.streams.lock();
        if !self.revoked.is_cancelled() {
            self.streams.memory.keep_session(self.session);
        }
    }
}

impl Drop for SessionWatch {
    fn drop(&mut self) {
        // A revocation has removed this watch's entry. An entry of the same session then belongs to a later watch.
        if !self.revoked.is_cancelled() {
            self.streams.lock().unwatch(self.session);
        }
    }
}
