//! The rate limiter: how often a user or an address may do something.
//!
//! There are two kinds of limits. A [`Rate`] spaces out actions by the generic cell rate algorithm (ITU-T I.371,
//! appendix I). A [`Guard`] slows down guessing: after some failures each further try has to wait twice as long as the
//! one before.
//!
//! A node checks rates in its own memory. It then adds the counts of many checks to Redis in one pipeline, where the
//! other nodes read them. A check therefore costs no round trip. During [`redis::SYNC_INTERVAL`] the nodes together can
//! allow more than one node alone. A guard asks Redis before each try, because it protects passwords. While Redis is
//! unavailable, both use the node's own counts.

mod guards;
mod rate;
mod redis;
mod states;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::address::ClientNetwork;
use crate::config::{Allowance, Rates};
use crate::error::Result;
use crate::ids::UserId;
pub use guards::Guard;
use guards::Guards;
pub use rate::Rate;
use redis::Shared;
use states::Counts;

/// Client or name that a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    User(UserId),
    Network(ClientNetwork),
    /// A user, seen from one network.
    UserFrom(UserId, ClientNetwork),
    /// First 16 bytes of the SHA-256 of a name that no account has.
    Name([u8; 16]),
}

/// A limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Name of the setting.
    pub setting: &'static str,
    /// Time until the same action is allowed.
    pub retry_after: Duration,
}

/// Counts what users and addresses do. Cheap to clone.
#[derive(Clone)]
pub struct Limiter(Arc<Inner>);

struct Inner {
    enabled: bool,
    /// Counts of each [`Rate`]. None if the rate is unlimited.
    counts: [Option<Counts>; Rate::ALL.len()],
    guards: Guards,
    shared: Option<Shared>,
}

impl Limiter {
    /// Creates a limiter that counts only on this node.
    pub fn local(settings: &Rates) -> Self {
        Self(Arc::new(Inner::new(settings, None)))
    }

    /// Creates a limiter that shares its counts with the other nodes through Redis, until `stop` is cancelled. Each key
    /// in Redis starts with `prefix`. Redis may be unavailable, also at the start.
    pub fn shared(settings: &Rates, url: &str, prefix: &str, stop: CancellationToken) -> Result<Self> {
        let shared = Shared::open(url, prefix)?;
        let limiter = Self(Arc::new(Inner::new(settings, Some(shared.clone()))));
        tokio::spawn(stop.run_until_cancelled_owned(shared.run(limiter.clone())));
        Ok(limiter)
    }

    /// Counts `count` actions. Counts none and fails if they are more than the rate allows now.
    pub fn check(&self, rate: Rate, key: Key, count: u32) -> Result<(), Exceeded> {
        let (Some(counts), Some(count)) = (&self.0.counts[rate as usize], NonZeroU32::new(count)) else {
            return Ok(());
        };
        counts.check(&key, count).map_err(|retry_after| Exceeded { setting: rate.setting(), retry_after })?;
        if let Some(shared) = &self.0.shared {
            shared.enqueue(rate, key, count);
        }
        Ok(())
    }

    /// Counts a try as failed. Fails if the try has to wait.
    pub async fn attempt(&self, guard: Guard, key: Key) -> Result<(), Exceeded> {
        if !self.0.enabled {
            return Ok(());
        }
        let guards = &self.0.guards;
        let shared = match &self.0.shared {
            Some(shared) => shared.attempt(guard, guards.rule(guard), key).await,
            None => None,
        };
        match shared {
            Some(Err(exceeded)) => Err(exceeded),
            Some(Ok(())) => {
                // The node counts the attempt itself too, for times when Redis is unavailable. Its own wait does not
                // matter now.
                let _ = guards.attempt(guard, key);
                Ok(())
            }
            None => guards.attempt(guard, key),
        }
    }

    /// Forgets all failures of the key.
    pub async fn reset(&self, guard: Guard, key: Key) {
        if !self.0.enabled {
            return;
        }
        self.0.guards.reset(guard, key);
        if let Some(shared) = &self.0.shared {
            shared.reset(guard, key).await;
        }
    }

    /// Takes back the failure that one [`Limiter::attempt`] has counted, and allows the next try at once.
    pub async fn undo_attempt(&self, guard: Guard, key: Key) {
        if !self.0.enabled {
            return;
        }
        self.0.guards.undo_attempt(guard, key);
        if let Some(shared) = &self.0.shared {
            shared.undo_attempt(guard, key).await;
        }
    }

    /// Takes over the counts of all nodes: the actions of the key are forgotten after `backlog`.
    fn raise_backlog(&self, rate: Rate, key: &Key, backlog: Duration) {
        if let Some(counts) = &self.0.counts[rate as usize] {
            counts.raise_backlog(key, backlog);
        }
    }
}

impl Inner {
    fn new(settings: &Rates, shared: Option<Shared>) -> Self {
        let counts = Rate::ALL.map(|rate| match rate.allowance(settings) {
            Allowance::Limited { count, time } if settings.rate_limits => Some(Counts::new(count, time)),
            _ => None,
        });
        Self { enabled: settings.rate_limits, counts, guards: Guards::new(settings), shared }
    }
}
