//! The observers: the parts of a node to which the tail passes each event before the streams get the event.

use std::sync::Arc;

use super::event::{Event, Seq};
use super::live_sessions::LiveSessions;
use super::row_cache::RowCache;
use super::signals::Signals;
use crate::ids::SessionId;
use crate::store::messaging::messages::Message;

/// Handles to the observers of the log. Cheap to clone.
#[derive(Clone, Default)]
pub struct Observers {
    pub rows: RowCache,
    pub sessions: LiveSessions,
    pub signals: Signals,
}

impl Observers {
    pub(super) fn observe(&self, event: &Event) {
        self.sessions.observe(event);
        self.rows.observe(event);
        self.signals.observe(event);
    }

    /// Passes a message that was published with its event to the observers. `fresh` is false if the tail has already
    /// passed the events of the publication: the message might have changed since and is not cached.
    pub(super) fn observe_message(&self, message: &Arc<Message>, fresh: bool) {
        self.signals.observe_message(message);
        if fresh {
            self.rows.cache_message(message);
        }
    }

    /// Clears the caches, because the tail has missed events. Returns the watched sessions.
    pub(super) fn clear(&self) -> Vec<SessionId> {
        self.rows.clear();
        self.sessions.clear()
    }

    /// Clears the caches, because the tail has skipped events up to `seq`. `ended` are the watched sessions that the
    /// skipped events revoked.
    pub(super) fn skip_to(&self, seq: Seq, ended: &[SessionId]) {
        self.rows.skip_to(seq);
        // Sessions that were cached after `clear` might have been read from Postgres before a skipped revocation.
        self.sessions.clear();
        for &session in ended {
            self.sessions.end(session);
        }
    }
}
