//! The sessions that this node knows to be live, and the ones that it watches for their revocation.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio_util::sync::CancellationToken;

use super::event::{Change, Event};
use crate::ids::SessionId;

/// Maximum number of sessions that are cached as live. For other sessions the node queries Postgres.
const CACHED_SESSIONS: usize = 100_000;

/// The registry of live sessions on this node. Cheap to clone.
#[derive(Clone, Default)]
pub struct LiveSessions {
    registry: Arc<Registry>,
}

struct Registry {
    /// Sessions that were live in Postgres, until the log revokes them.
    cached: Cache<SessionId, ()>,
    watched: Mutex<HashMap<SessionId, Watched>>,
}

struct Watched {
    revoked: CancellationToken,
    watchers: usize,
}

impl Default for Registry {
    fn default() -> Self {
        Self { cached: Cache::new(CACHED_SESSIONS), watched: Mutex::default() }
    }
}

impl LiveSessions {
    /// Whether the session is cached as live: it was live in Postgres, and the log has not revoked it since.
    pub fn is_live(&self, session: SessionId) -> bool {
        self.registry.cached.get(&session).is_some()
    }

    /// Watches for the revocation of the session on any node. Start the watch before you read the session from
    /// Postgres, so that no revocation is missed between the two.
    pub fn watch(&self, session: SessionId) -> SessionWatch {
        let mut sessions = self.registry.watched.lock();
        let watched =
            sessions.entry(session).or_insert_with(|| Watched { revoked: CancellationToken::new(), watchers: 0 });
        watched.watchers += 1;
        SessionWatch { sessions: self.clone(), session, revoked: watched.revoked.clone() }
    }

    /// The sessions out of `sessions` that have a connection open on this node.
    pub fn connected(&self, sessions: &[SessionId]) -> Vec<SessionId> {
        let watched = self.registry.watched.lock();
        sessions.iter().copied().filter(|session| watched.contains_key(session)).collect()
    }

    pub(super) fn observe(&self, event: &Event) {
        if let Change::SessionRevoked { session, .. } = event.change {
            self.end(session);
        }
    }

    /// Ends a session whose revocation is committed.
    pub(super) fn end(&self, session: SessionId) {
        let mut sessions = self.registry.watched.lock();
        self.registry.cached.remove(&session);
        if let Some(watched) = sessions.remove(&session) {
            watched.revoked.cancel();
        }
    }

    /// Clears the cache, because the tail has missed events. Returns the watched sessions.
    pub(super) fn clear(&self) -> Vec<SessionId> {
        let sessions = self.registry.watched.lock();
        self.registry.cached.clear();
        sessions.keys().copied().collect()
    }
}

/// Watches one session for its revocation.
pub struct SessionWatch {
    sessions: LiveSessions,
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
        // While this lock is held, no session ends.
        let _sessions = self.sessions.registry.watched.lock();
        if !self.revoked.is_cancelled() {
            self.sessions.registry.cached.insert(self.session, ());
        }
    }
}

impl Drop for SessionWatch {
    fn drop(&mut self) {
        let mut sessions = self.sessions.registry.watched.lock();
        // A revocation has removed this watch's entry. An entry of the same session then belongs to a later watch.
        if self.revoked.is_cancelled() {
            return;
        }
        if let Some(watched) = sessions.get_mut(&self.session) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                sessions.remove(&self.session);
            }
        }
    }
}
