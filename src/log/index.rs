//! An index of this node's streams by user and by conversation. The events of the log keep the index up to date.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::event::{Audience, Change, Event, Seq};
use super::interest::{Interest, apply_membership, is_read_receipt_of_another, is_recipient};
use super::queue::Sender;
use super::read::Snapshot;
use crate::ids::{ConversationId, UserId};
use crate::metrics::Metrics;

/// The error if a stream cannot join the tail with the recent events in memory. The stream must read the log again.
pub(super) struct Behind;

pub(super) struct Index {
    position: Seq,
    recent: VecDeque<Event>,
    /// Maximum number of events in `recent`.
    recent_limit: usize,
    users: HashMap<UserId, Listener>,
    /// The participants of each conversation who have a stream on this node.
    listeners: HashMap<ConversationId, HashSet<UserId>>,
    next_stream: u64,
    metrics: Metrics,
}

/// A user with at least one stream on this node.
struct Listener {
    conversations: HashSet<ConversationId>,
    /// Whether the user has disabled read receipts, so that `ReadAdvanced` events of other users are filtered out.
    read_receipts_off: bool,
    streams: Vec<Entry>,
}

struct Entry {
    id: u64,
    /// Seq up to which the stream had read the log when it joined the tail.
    from: Seq,
    interest: Interest,
    /// The sending end of the stream's queue. None after the queue overflowed.
    queue: Option<Sender>,
    end: Arc<StreamEnd>,
}

/// The state in which the tail stopped serving a stream. The index writes these values and the stream reads them.
#[derive(Default)]
pub(super) struct StreamEnd {
    /// Seq up to which all events for the stream were queued.
    pub(super) queued: AtomicI64,
    /// Whether the queued events must not be delivered any more.
    pub(super) discarded: AtomicBool,
}

impl Index {
    pub(super) fn new(position: Seq, recent_limit: usize, metrics: Metrics) -> Self {
        Self {
            position,
            recent: VecDeque::with_capacity(recent_limit),
            recent_limit,
            users: HashMap::new(),
            listeners: HashMap::new(),
            next_stream: 0,
            metrics,
        }
    }

    pub(super) fn listeners(&self, conversation: ConversationId) -> Vec<UserId> {
        self.listeners.get(&conversation).into_iter().flatten().copied().collect()
    }

    pub(super) fn is_listener(&self, user: UserId, conversation: ConversationId) -> bool {
        self.users.get(&user).is_some_and(|listener| listener.conversations.contains(&conversation))
    }

    pub(super) fn dispatch(&mut self, event: Event) {
        self.position = event.seq;
        if self.recent.len() == self.recent_limit {
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
                    listener.discard(event.seq - 1);
                    self.remove_listener(conversation, user);
                }
            }
            Change::ReadReceiptsOff { user } => {
                if let Some(listener) = self.users.get_mut(&user) {
                    listener.read_receipts_off = true;
                    listener.discard(event.seq - 1);
                }
            }
            Change::ReadReceiptsOn { user } => {
                if let Some(listener) = self.users.get_mut(&user) {
                    listener.read_receipts_off = false;
                }
            }
            _ => {}
        }
        match event.change.audience() {
            Audience::User(user) => {
                if let Some(listener) = self.users.get_mut(&user) {
                    listener.deliver(user, event, &self.metrics);
                }
            }
            Audience::Conversation(conversation) => {
                for &user in self.listeners.get(&conversation).into_iter().flatten() {
                    if let Some(listener) = self.users.get_mut(&user) {
                        listener.deliver(user, event, &self.metrics);
                    }
                }
            }
        }
    }

    /// Removes all streams and discards their queued events, because the events up to `seq` are unknown.
    pub(super) fn skip_to(&mut self, seq: Seq) {
        self.recent.clear();
        self.listeners.clear();
        for (_, mut listener) in self.users.drain() {
            listener.discard(self.position);
        }
        self.position = seq;
    }

    pub(super) fn join(
        &mut self,
        user: UserId,
        snapshot: Snapshot,
        interest: Interest,
        queue: Sender,
        end: Arc<StreamEnd>,
    ) -> Result<u64, Behind> {
        let head = snapshot.head;
        let Snapshot { conversations, read_receipts_off, .. } = self.replay(user, snapshot, interest, &queue)?;
        self.next_stream += 1;
        let id = self.next_stream;
        let listener = match self.users.entry(user) {
            // The index already contains the user's conversations at the index's position, which is the tail's
            // position.
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                for &conversation in &conversations {
                    self.listeners.entry(conversation).or_default().insert(user);
                }
                entry.insert(Listener { conversations, read_receipts_off, streams: Vec::new() })
            }
        };
        listener.streams.push(Entry { id, from: head, interest, queue: Some(queue), end });
        Ok(id)
    }

    /// Queues the events between the snapshot's head, up to which the stream has read the log, and the tail's position.
    /// Returns the snapshot as of the tail's position.
    fn replay(
        &self,
        user: UserId,
        mut snapshot: Snapshot,
        interest: Interest,
        queue: &Sender,
    ) -> Result<Snapshot, Behind> {
        let head = snapshot.head;
        if head == self.position {
            return Ok(snapshot);
        }
        if self.recent.front().is_none_or(|oldest| oldest.seq > head + 1) {
            return Err(Behind);
        }
        for event in self.recent.iter().filter(|event| event.seq > head) {
            match event.change {
                // After this event, the user may no longer receive some events that the stream has already read.
                Change::ConversationRemoved { user: other, .. } | Change::ReadReceiptsOff { user: other }
                    if other == user =>
                {
                    return Err(Behind);
                }
                Change::ReadReceiptsOn { user: other } if other == user => snapshot.read_receipts_off = false,
                _ => {}
            }
            apply_membership(user, &mut snapshot.conversations, &event.change);
            let filtered_out = snapshot.read_receipts_off && is_read_receipt_of_another(user, &event.change);
            if is_recipient(user, &snapshot.conversations, &event.change)
                && !filtered_out
                && interest.wants(&event.change)
            {
                queue.send(*event).map_err(|_| Behind)?;
            }
        }
        Ok(snapshot)
    }

    pub(super) fn leave(&mut self, user: UserId, id: u64) {
        let Some(listener) = self.users.get_mut(&user) else { return };
        listener.streams.retain(|stream| stream.id != id);
        if !listener.streams.is_empty() {
            return;
        }
        if let Some(listener) = self.users.remove(&user) {
            for conversation in listener.conversations {
                self.remove_listener(conversation, user);
            }
        }
    }

    fn remove_listener(&mut self, conversation: ConversationId, user: UserId) {
        if let Some(users) = self.listeners.get_mut(&conversation) {
            users.remove(&user);
            if users.is_empty() {
                self.listeners.remove(&conversation);
            }
        }
    }
}

impl Listener {
    /// Removes the user's streams from the index and discards their queued events, because the user may no longer
    /// receive all of these events. `queued` is the seq up to which all events were queued.
    fn discard(&mut self, queued: Seq) {
        for stream in self.streams.drain(..) {
            if stream.queue.is_some() {
                stream.end.queued.store(queued, Ordering::SeqCst);
            }
            stream.end.discarded.store(true, Ordering::SeqCst);
        }
    }

    /// Queues the event for the user's streams that ask for the event. A full queue is closed: its stream delivers the
    /// queued events and then reads the log. The queued events can still be discarded.
    fn deliver(&mut self, user: UserId, event: Event, metrics: &Metrics) {
        if self.read_receipts_off && is_read_receipt_of_another(user, &event.change) {
            return;
        }
        for stream in &mut self.streams {
            if event.seq <= stream.from || !stream.interest.wants(&event.change) {
                continue;
            }
            let Some(queue) = &stream.queue else { continue };
            if queue.send(event).is_err() {
                metrics.stream_overflow();
                stream.end.queued.store(event.seq - 1, Ordering::SeqCst);
                stream.queue = None;
            }
        }
    }
}
