//! A node's caches of rows of Postgres. The events of the log invalidate them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::{Notify, broadcast};

use super::event::{Change, Event, Seq};
use crate::ids::{MessageId, SessionId, UserId};
use crate::store::messaging::messages::Message;
use crate::store::people::users::User;

/// Maximum number of sessions that are cached as live. For other sessions the node queries Postgres.
const LIVE_SESSIONS: usize = 100_000;

/// Size in bytes of the cache of messages that were published with their events. Streams render from it.
const MESSAGE_BYTES: u64 = 16 * 1024 * 1024;
/// Approximate size in bytes of a cached message without its body.
const MESSAGE_ENTRY: usize = 300;
/// Approximate number of messages in that cache.
const MESSAGES: usize = 32_000;

/// Size in bytes of the cache of users. Streams render from it.
const USER_BYTES: u64 = 16 * 1024 * 1024;
/// Approximate size in bytes of a cached user without the display name and the about text.
const USER_ENTRY: usize = 500;
/// Approximate number of users in that cache.
const USERS: usize = 24_000;

/// Number of updated users by which a receiver may lag behind.
const UPDATED_USERS: usize = 1024;

/// Number of messages whose newest change is cached. It exceeds the number of cached renderings, so that a rendering
/// from before a change is never used.
const CHANGED_MESSAGES: usize = 200_000;

pub(super) struct Memory {
    /// Sessions that were live in Postgres, until the log revokes them.
    sessions: Cache<SessionId, ()>,
    /// The messages that were published with the newest events.
    messages: Cache<MessageId, Arc<Message>, Weight>,
    /// Seq of the newest event that changed each message.
    changed: Cache<MessageId, Seq>,
    /// Seq of the newest event that changed any message. The messages of later events have not changed since.
    newest_change: AtomicI64,
    /// Seq of the newest `ReadReceiptsOff`. Shared renderings of earlier events may show read positions that are hidden
    /// now.
    newest_hiding: AtomicI64,
    /// Seq up to which it is unknown which messages have changed.
    unknown_changes: AtomicI64,
    /// Notified of each new message that expires.
    pub(super) expiring: Notify,
    /// Notified when a call rings or is answered.
    pub(super) calls: Notify,
    users: Cache<UserId, Arc<User>, Weight>,
    /// Sends each user whose profile, privacy settings, contacts or blocks have changed.
    pub(super) updated_users: broadcast::Sender<UserId>,
    /// Counts the invalidations of cached users.
    forgotten_users: Mutex<Generation>,
}

/// A generation of the cache of users. Users that were read from Postgres in an older generation may have changed
/// since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(u64);

#[derive(Clone)]
struct Weight;

impl Weighter<MessageId, Arc<Message>> for Weight {
    fn weight(&self, _: &MessageId, message: &Arc<Message>) -> u64 {
        (message.body.as_ref().map_or(0, String::len) + MESSAGE_ENTRY) as u64
    }
}

impl Weighter<UserId, Arc<User>> for Weight {
    fn weight(&self, _: &UserId, user: &Arc<User>) -> u64 {
        (user.display_name.len() + user.about.as_ref().map_or(0, String::len) + USER_ENTRY) as u64
    }
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            sessions: Cache::new(LIVE_SESSIONS),
            messages: Cache::with_weighter(MESSAGES, MESSAGE_BYTES, Weight),
            changed: Cache::new(CHANGED_MESSAGES),
            newest_change: AtomicI64::new(0),
            newest_hiding: AtomicI64::new(0),
            unknown_changes: AtomicI64::new(0),
            expiring: Notify::new(),
            calls: Notify::new(),
            users: Cache::with_weighter(USERS, USER_BYTES, Weight),
            updated_users: broadcast::Sender::new(UPDATED_USERS),
            forgotten_users: Mutex::default(),
        }
    }

    /// Invalidates the cached rows that the event changes, and notifies the tasks that wait for such an event.
    pub(super) fn hear(&self, event: &Event) {
        match event.change {
            Change::SessionRevoked { session, .. } => self.end_session(session),
            Change::UserUpdated { user } => {
                self.next_generation().0 += 1;
                self.users.remove(&user);
                self.tell_of(user);
            }
            Change::ContactsChanged { user, other } => {
                self.tell_of(user);
                self.tell_of(other);
            }
            Change::ReadReceiptsOff { .. } => self.newest_hiding.store(event.seq, Ordering::SeqCst),
            Change::CallRinging { .. } | Change::CallAnswered { .. } => self.calls.notify_one(),
            Change::MessageUpdated { message, .. } => {
                // The cached message is from before the change.
                self.messages.remove(&message);
                self.changed.insert(message, event.seq);
                self.newest_change.store(event.seq, Ordering::SeqCst);
            }
            _ => {}
        }
    }

    fn tell_of(&self, user: UserId) {
        // It fails only if there is no receiver.
        let _ = self.updated_users.send(user);
    }

    /// Clears the caches, because the tail has skipped events up to `seq`.
    pub(super) fn skip_to(&self, seq: Seq) {
        self.unknown_changes.store(seq, Ordering::SeqCst);
        self.newest_change.store(seq, Ordering::SeqCst);
        self.newest_hiding.store(seq, Ordering::SeqCst);
        self.clear();
    }

    /// Seq of the newest event that invalidates a shared rendering of this one: a change of its message, or a
    /// `ReadReceiptsOff`. Zero if no such event followed.
    pub(super) fn changed_after(&self, event: &Event) -> Seq {
        let hidden = self.newest_hiding.load(Ordering::SeqCst);
        self.message_changed_after(event).max(if hidden > event.seq { hidden } else { 0 })
    }

    fn message_changed_after(&self, event: &Event) -> Seq {
        if event.seq >= self.newest_change.load(Ordering::SeqCst) {
            return 0;
        }
        let Some(message) = event.change.message() else { return 0 };
        let changed = self.changed.get(&message).unwrap_or_default().max(self.unknown_changes.load(Ordering::SeqCst));
        if changed > event.seq { changed } else { 0 }
    }

    /// Clears the caches, because the tail has missed events.
    pub(super) fn clear(&self) {
        self.sessions.clear();
        self.messages.clear();
        self.next_generation().0 += 1;
        self.users.clear();
    }

    pub(super) fn keep_session(&self, session: SessionId) {
        self.sessions.insert(session, ());
    }

    pub(super) fn is_live(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some()
    }

    pub(super) fn end_session(&self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// Caches a message that was published with its event. `fresh` is false if the tail has passed the event already:
    /// the message may have changed since and is not cached.
    pub(super) fn hear_message(&self, message: &Arc<Message>, fresh: bool) {
        if message.expires_at.is_some() {
            self.expiring.notify_one();
        }
        if fresh {
            self.messages.insert(message.id, Arc::clone(message));
        }
    }

    pub(super) fn message(&self, id: MessageId) -> Option<Arc<Message>> {
        self.messages.get(&id)
    }

    pub(super) fn generation(&self) -> Generation {
        *self.next_generation()
    }

    /// Caches users that were read from Postgres after `generation` was taken, unless the generation has changed since.
    pub(super) fn keep_users(&self, generation: Generation, users: &[User]) {
        let now = self.next_generation();
        if *now == generation {
            for user in users {
                self.users.insert(user.id, Arc::new(user.clone()));
            }
        }
    }

    pub(super) fn user(&self, id: UserId) -> Option<Arc<User>> {
        self.users.get(&id)
    }

    fn next_generation(&self) -> MutexGuard<'_, Generation> {
        self.forgotten_users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
