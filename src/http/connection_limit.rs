//! Counts the open connections of each user, or of each address, on this node.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts the open connections of each key. Keys without connections take no memory.
pub(super) struct ConnectionLimit<K>(Arc<Mutex<HashMap<K, usize>>>);

/// Counts one connection until the permit is dropped.
pub(super) struct Permit<K: Eq + Hash> {
    connection_limit: ConnectionLimit<K>,
    key: K,
}

impl<K: Eq + Hash + Copy> ConnectionLimit<K> {
    /// Counts one more connection of the key. Returns None if the key already has `max` connections.
    pub(super) fn try_acquire(&self, key: K, max: usize) -> Option<Permit<K>> {
        let mut counts = self.0.lock();
        let count = counts.entry(key).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Permit { connection_limit: self.clone(), key })
    }
}

impl<K> Clone for ConnectionLimit<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for ConnectionLimit<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut counts = self.connection_limit.0.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}
