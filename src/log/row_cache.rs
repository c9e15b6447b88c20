//! A node's cache of messages and users. The events of the log invalidate the cached rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::event::{Change, Event, Seq};
use super::item::Item;
use crate::ids::{MessageId, UserId};
use crate::store::messaging::messages::Message;
use crate::store::people::users::User;

/// Maximum size in bytes of the cache of messages that were published with their events. Streams render messages from
/// this cache.
const MESSAGE_BYTES: u64 = 16 * 1024 * 1024;
/// Estimated size in bytes of a cached message without its body.
const MESSAGE_ENTRY: usize = 300;
/// Estimated number of messages in the cache of messages.
const MESSAGES: usize = 32_000;

/// Maximum size in bytes of the cache of users. Streams render users from this cache.
const USER_BYTES: u64 = 16 * 1024 * 1024;
/// Estimated size in bytes of a cached user without the display name and the about text.
const USER_ENTRY: usize = 500;
/// Estimated number of users in the cache of users.
const USERS: usize = 24_000;

/// Maximum number of messages whose newest change is cached. This number exceeds the number of cached renderings, so
/// that a rendering from before a change is never used.
const CHANGED_MESSAGES: usize = 200_000;

/// A handle to the cache of messages and users. Cheap to clone.
#[derive(Clone, Default)]
pub struct RowCache {
    rows: Arc<Rows>,
}

struct Rows {
    /// The messages that were published with the newest events.
    messages: Cache<MessageId, Arc<Message>, Weight>,
    /// Seq of the newest event that changed each message.
    changed: Cache<MessageId, Seq>,
    /// Seq of the newest event that changed any message. A message that a later event shows has not changed since that
    /// event.
    newest_change: AtomicI64,
    /// Seq of the newest `ReadReceiptsOff`. Shared renderings of earlier events might show read positions that are
    /// hidden now.
    newest_receipts_off: AtomicI64,
    /// Seq up to which the node does not know which messages have changed, because the tail skipped events.
    unknown_changes: AtomicI64,
    users: Cache<UserId, Arc<User>, Weight>,
    generation: Mutex<Generation>,
}

/// The number of invalidations of cached users so far. Users that were read from Postgres in an older generation might
/// have changed since.
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

impl Default for Rows {
    fn default() -> Self {
        Self {
            messages: Cache::with_weighter(MESSAGES, MESSAGE_BYTES, Weight),
            changed: Cache::new(CHANGED_MESSAGES),
            newest_change: AtomicI64::new(0),
            newest_receipts_off: AtomicI64::new(0),
            unknown_changes: AtomicI64::new(0),
            users: Cache::with_weighter(USERS, USER_BYTES, Weight),
            generation: Mutex::default(),
        }
    }
}

impl RowCache {
    /// Returns the message that was published with a recent event, as of that event. Returns None if the message was
    /// not published with its event or is no longer cached.
    pub fn cached_message(&self, id: MessageId) -> Option<Arc<Message>> {
        self.rows.messages.get(&id)
    }

    /// Returns the user as of the tail's position. Returns None if the user is not cached. Only streams use this cache:
    /// a request queries Postgres, because the tail can be behind Postgres.
    pub fn cached_user(&self, id: UserId) -> Option<Arc<User>> {
        self.rows.users.get(&id)
    }

    /// Returns the current generation of the cached users, for [`RowCache::cache_users`].
    pub fn generation(&self) -> Generation {
        *self.rows.generation.lock()
    }

    /// Caches users that were read from Postgres after `generation` was read. Does nothing if the generation has
    /// changed since.
    pub fn cache_users(&self, generation: Generation, users: &[User]) {
        let now = self.rows.generation.lock();
        if *now == generation {
            for user in users {
                self.rows.users.insert(user.id, Arc::new(user.clone()));
            }
        }
    }

    /// Returns the version of the data in a shared rendering of the item. The version changes when an event invalidates
    /// older renderings of the item.
    pub fn version_of(&self, item: &Item) -> Seq {
        match item {
            Item::Event(event) => self.changed_after(event),
            _ => 0,
        }
    }

    /// Returns the seq of the newest event that invalidates a shared rendering of this event: a change of its message,
    /// or a `ReadReceiptsOff`. Returns zero if no later event invalidates such a rendering.
    fn changed_after(&self, event: &Event) -> Seq {
        let hidden = self.rows.newest_receipts_off.load(Ordering::SeqCst);
        self.message_changed_after(event).max(if hidden > event.seq { hidden } else { 0 })
    }

    fn message_changed_after(&self, event: &Event) -> Seq {
        let rows = &self.rows;
        if event.seq >= rows.newest_change.load(Ordering::SeqCst) {
            return 0;
        }
        let Some(message) = event.change.message() else { return 0 };
        let changed = rows.changed.get(&message).unwrap_or_default().max(rows.unknown_changes.load(Ordering::SeqCst));
        if changed > event.seq { changed } else { 0 }
    }

    /// Invalidates the cached rows that the event changes.
    pub(super) fn observe(&self, event: &Event) {
        let rows = &self.rows;
        match event.change {
            Change::UserUpdated { user } => {
                self.rows.generation.lock().0 += 1;
                rows.users.remove(&user);
            }
            Change::ReadReceiptsOff { .. } => rows.newest_receipts_off.store(event.seq, Ordering::SeqCst),
            Change::MessageUpdated { message, .. } => {
                // The cached message is from before the change.
                rows.messages.remove(&message);
                rows.changed.insert(message, event.seq);
                rows.newest_change.store(event.seq, Ordering::SeqCst);
            }
            _ => {}
        }
    }

    /// Caches a message that was published with its event.
    pub(super) fn cache_message(&self, message: &Arc<Message>) {
        self.rows.messages.insert(message.id, Arc::clone(message));
    }

    /// Clears the cache, because the tail has missed events.
    pub(super) fn clear(&self) {
        self.rows.messages.clear();
        self.rows.generation.lock().0 += 1;
        self.rows.users.clear();
    }

    /// Clears the cache, because the tail has skipped events up to `seq`.
    pub(super) fn skip_to(&self, seq: Seq) {
        self.rows.unknown_changes.store(seq, Ordering::SeqCst);
        self.rows.newest_change.store(seq, Ordering::SeqCst);
        self.rows.newest_receipts_off.store(seq, Ordering::SeqCst);
        self.clear();
    }
}
