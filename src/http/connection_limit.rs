//! How many connections each user has open on this node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::UserId;

#[derive(Clone, Default)]
pub(super) struct ConnectionLimit(Arc<Mutex<HashMap<UserId, usize>>>);

/// One connection, counted until it is dropped.
pub(super) struct Permit {
    connection_limit: ConnectionLimit,
    user: UserId,
}

impl ConnectionLimit {
    /// None where the user has `max` already.
    pub(super) fn take(&self, user: UserId, max: usize) -> Option<Permit> {
        let mut taken = self.lock();
        let count = taken.entry(user).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Permit { connection_limit: self.clone(), user })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.connection_limit.lock();
        if let Some(count) = taken.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.user);
            }
        }
    }
}
