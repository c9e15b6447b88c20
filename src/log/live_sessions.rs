//! The sessions that are cached as live on this node, and the sessions that this node watches for their revocation.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio_util::sync::CancellationToken;

use super::event::{Change, Event};
use crate::ids::SessionId;

/// Maximum number of sessions that are cached as live. For other sessions the node queries Postgres.
const CACHED_SESSIONS: usize = 100_000;

/// A handle to the registry of live sessions on this node. Cheap to clone.
#[derive(Clone, Default)]
pub struct LiveSessions {
    registry: Arc<Registry>,
}

struct Registry {
    /// Sessions that were live in Postgres and that no event of the log has revoked since.
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
    /// Whether the session is cached as live: the session was live in Postgres, and the log has not revoked it since.
    /// If false, the session might still be live.
    pub fn is_live(&self, session: SessionId) -> bool {
        self.registry.cached.get(&session).is_some()
    }

    /// Watches for the revocation of the session on any node. Start the watch before you read the session from
    /// Postgres, so that no revocation between the start and the read is missed.
    pub fn watch(&self, session: SessionId) -> SessionWatch {
        let mut sessions = self.registry.watched.lock();
        let watched =
            sessions.entry(session).or_insert_with(|| Watched { revoked: CancellationToken::new(), watchers: 0 });
        watched.watchers += 1;
        SessionWatch { sessions: self.clone(), session, revoked: watched.revoked.clone() }
    }

    /// Returns the sessions in `sessions` that have a connection open on this node.
    pub fn connected(&self, sessions: &[SessionId]) -> Vec<SessionId> {
        let watched = self.registry.watched.lock();
        sessions.iter().copied().filter(|session| watched.contains_key(session)).collect()
    }

    pub(super) fn observe(&self, event: &Event) {
        if let Change::SessionRevoked { session, .. } = event.change {
            self.end(session);
        }
    }

    /// Removes a session whose revocation is committed from the cache, and notifies all its watches.
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

/// A watch for the revocation of one session. The watch ends when it is dropped.
pub struct SessionWatch {
    sessions: LiveSessions,
    session: SessionId,
    revoked: CancellationToken,
}

impl SessionWatch {
    pub fn revoked(&self) -> impl Future<Output = ()> + Send + use<> {
        self.revoked.clone().cancelled_owned()
    }

    /// Caches the session as live, until the log revokes the session. The session must have been live in Postgres after
    /// this watch began.
    pub fn confirm(&self) {
        // While this lock is held, no session can be removed by `end`.
        let _sessions = self.sessions.registry.watched.lock();
        if !self.revoked.is_cancelled() {
            self.sessions.registry.cached.insert(self.session, ());
        }
    }
}

impl Drop for SessionWatch {
    fn drop(&mut self) {
        let mut sessions = self.sessions.registry.watched.lock();
        // If the session was revoked, this watch's entry has been removed. An entry of the same session then belongs to
        // a later watch.
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
