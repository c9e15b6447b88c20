//! Dispatches the events of the tail to the streams of this node that have joined the tail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::event::{Change, Event, Seq};
use super::index::{Behind, Index, StreamEnd};
use super::interest::Interest;
use super::observers::Observers;
use super::queue::{Receiver, bounded};
use super::read::Snapshot;
use crate::config::LogSettings;
use crate::ids::{ConversationId, SessionId, UserId};
use crate::metrics::Metrics;

pub(super) struct Dispatcher {
    pub(super) observers: Observers,
    index: Mutex<Index>,
    /// Maximum number of events in the queue of a stream.
    stream_queue: usize,
    /// The seq that the tail has reached.
    position: watch::Sender<Seq>,
    /// Number of dispatched events that reduced what a user may receive, plus the number of times that the tail skipped
    /// events.
    access_losses: AtomicU64,
}

/// The receiving end of a stream that has joined the tail. `poll_recv` returns an error if the queue has overflowed, if
/// the user has left a conversation or turned read receipts off, or if the tail has skipped events. The error is the
/// seq after which the stream has to read the log.
pub(super) struct Joined {
    dispatcher: Arc<Dispatcher>,
    user: UserId,
    id: u64,
    queue: Receiver,
    end: Arc<StreamEnd>,
}

impl Dispatcher {
    pub(super) fn new(position: Seq, observers: Observers, settings: &LogSettings, metrics: Metrics) -> Self {
        Self {
            observers,
            index: Mutex::new(Index::new(position, settings.tail_memory, metrics)),
            stream_queue: settings.stream_queue,
            position: watch::Sender::new(position),
            access_losses: AtomicU64::new(0),
        }
    }

    pub(super) fn position(&self) -> Seq {
        *self.position.borrow()
    }

    /// Returns a receiver of the seq that the tail has reached.
    pub(super) fn positions(&self) -> watch::Receiver<Seq> {
        self.position.subscribe()
    }

    /// Returns a count that grows when the tail dispatches that a user has left a conversation or turned read receipts
    /// off, and when the tail skips events.
    pub(super) fn access_losses(&self) -> u64 {
        self.access_losses.load(Ordering::SeqCst)
    }

    /// Returns the participants of the conversation who have a stream on this node.
    pub(super) fn listeners(&self, conversation: ConversationId) -> Vec<UserId> {
        self.index.lock().listeners(conversation)
    }

    pub(super) fn is_listener(&self, user: UserId, conversation: ConversationId) -> bool {
        self.index.lock().is_listener(user, conversation)
    }

    /// Waits until the tail has dispatched all events up to `seq`.
    pub(super) async fn reached(&self, seq: Seq) {
        // Waiting fails only after the sender was dropped. This cannot happen here, because `self` owns the sender.
        let _ = self.position.subscribe().wait_for(|position| *position >= seq).await;
    }

    /// Dispatches the next event of the log to the observers, and then to every stream that asks for the event.
    pub(super) fn dispatch(&self, event: Event) {
        if matches!(event.change, Change::ConversationRemoved { .. } | Change::ReadReceiptsOff { .. }) {
            self.access_losses.fetch_add(1, Ordering::SeqCst);
        }
        self.observers.observe(&event);
        self.index.lock().dispatch(event);
        self.position.send_replace(event.seq);
    }

    /// Moves the position to `seq` although the events up to `seq` are unknown. `ended` are the watched sessions that
    /// these events revoked. Every stream has to read the log again.
    pub(super) fn skip_to(&self, seq: Seq, ended: &[SessionId]) {
        self.access_losses.fetch_add(1, Ordering::SeqCst);
        self.observers.skip_to(seq, ended);
        self.index.lock().skip_to(seq);
        self.position.send_replace(seq);
    }

    /// Joins a stream to the tail at exactly the snapshot's head, up to which the stream has read the log. The tail
    /// must have reached the head, because the snapshot is brought forward to the tail's position and cannot be moved
    /// back.
    pub(super) fn join(
        self: &Arc<Self>,
        user: UserId,
        snapshot: Snapshot,
        interest: Interest,
    ) -> Result<Joined, Behind> {
        let (sender, queue) = bounded(self.stream_queue);
        let end = Arc::new(StreamEnd::default());
        let id = self.index.lock().join(user, snapshot, interest, sender, Arc::clone(&end))?;
        Ok(Joined { dispatcher: Arc::clone(self), user, id, queue, end })
    }
}

impl Joined {
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Seq>> {
        Poll::Ready(match ready!(self.queue.poll_recv(cx)) {
            Some(event) if self.end.discarded.load(Ordering::SeqCst) => Err(event.seq - 1),
            Some(event) => Ok(event),
            None => Err(self.end.queued.load(Ordering::SeqCst)),
        })
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.dispatcher.index.lock().leave(self.user, self.id);
    }
}
