//! What a node keeps in mind of Postgres's rows, until the log says that they have changed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::{Notify, broadcast};

use super::event::{Change, Event, Seq};
use crate::ids::{MessageId, SessionId, UserId};
use crate::store::messaging::messages::Message;
use crate::store::people::users::User;

/// Sessions that a node keeps in mind as live; of more it asks Postgres.
const LIVE_SESSIONS: usize = 100_000;

/// Bytes of messages kept that came with their events, for whoever renders them.
const MESSAGE_BYTES: u64 = 16 * 1024 * 1024;
/// About what a message takes beside its body.
const MESSAGE_ENTRY: usize = 300;
/// How many messages that are about.
const MESSAGES: usize = 32_000;

/// Bytes of users kept, for whoever renders what they did.
const USER_BYTES: u64 = 16 * 1024 * 1024;
/// About what a user takes beside names and texts.
const USER_ENTRY: usize = 500;
/// How many users that are about.
const USERS: usize = 24_000;

/// Updated users that a listener may be behind.
const UPDATED_USERS: usize = 1024;

/// Changed messages kept in mind: more than there are renderings of events that could show them as they were.
const CHANGED_MESSAGES: usize = 200_000;

pub(super) struct Memory {
    /// Those that Postgres called live, until the log says that they are revoked.
    sessions: Cache<SessionId, ()>,
    /// The messages that came with the newest events.
    messages: Cache<MessageId, Arc<Message>, Weight>,
    /// The newest event that changed each message.
    changed: Cache<MessageId, Seq>,
    /// The newest of them all: what came later shows no message that has changed since.
    newest_change: AtomicI64,
    /// Seq of the newest `ReadReceiptsOff`. Shared renderings from before it may show too much to that user.
    newest_hiding: AtomicI64,
    /// Up to here it is not known which have changed.
    unknown_changes: AtomicI64,
    /// Told of each message that will delete itself.
    pub(super) expiring: Notify,
    /// Told of each call that begins.
    pub(super) calls: Notify,
    users: Cache<UserId, Arc<User>, Weight>,
    /// Users of whom others may see more now, or less.
    pub(super) updated_users: broadcast::Sender<UserId>,
    /// How often a user was forgotten.
    forgotten_users: Mutex<Generation>,
}

/// Of the users that are kept: what was read from Postgres in an older one may have changed since.
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

    /// Forgets what the change has changed.
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
                // What was carried is from before the change.
                self.messages.remove(&message);
                self.changed.insert(message, event.seq);
                self.newest_change.store(event.seq, Ordering::SeqCst);
            }
            _ => {}
        }
    }

    fn tell_of(&self, user: UserId) {
        // It fails only where nobody listens.
        let _ = self.updated_users.send(user);
    }

    /// Some changes up to here were not heard.
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

    /// Some changes were not heard.
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

    /// Keeps a message that came with its event, while the event is new.
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

    /// Keeps users that were read from Postgres after the generation was asked for.
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
