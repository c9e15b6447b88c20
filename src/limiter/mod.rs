//! The rate limiter, which limits how often a user or an address may do something.
//!
//! There are two kinds of limits. A [`Rate`] limits the frequency of actions by the generic cell rate algorithm (ITU-T
//! I.371, appendix I). A [`Guard`] slows down the guessing of passwords and codes: after some failures, each further
//! attempt has to wait twice as long as the attempt before.
//!
//! A node checks rates in its own memory. After that, it adds the counts of many checks to Redis in one pipeline, and
//! receives the counts of all nodes. A check therefore costs no round trip to Redis. During [`redis::SYNC_INTERVAL`],
//! all nodes together can allow more actions than one node alone. A guard calls Redis before each attempt, because it
//! protects accounts. While Redis is unavailable, rates and guards use only the counts in the node's memory.

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

/// Key of a count: the client or the name whose actions a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    User(UserId),
    Network(ClientNetwork),
    /// The account of a user, for attempts from one network only.
    UserFrom(UserId, ClientNetwork),
    /// A name, an e-mail address, a phone number, or several such values, as the first 16 bytes of a SHA-256.
    Name([u8; 16]),
}

/// The error for a limit that is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Name of the setting that defines the limit.
    pub setting: &'static str,
    /// Time until the same action is allowed.
    pub retry_after: Duration,
}

/// The rate limiter. Counts the actions of users and addresses. Cheap to clone.
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
    /// in Redis starts with `prefix`. Works even if Redis is unavailable when the limiter is created.
    pub fn shared(settings: &Rates, url: &str, prefix: &str, stop: CancellationToken) -> Result<Self> {
        let shared = Shared::open(url, prefix, stop.clone())?;
        let limiter = Self(Arc::new(Inner::new(settings, Some(shared.clone()))));
        tokio::spawn(stop.run_until_cancelled_owned(shared.run(limiter.clone())));
        Ok(limiter)
    }

    /// Whether this node shares its counts with the other nodes now. False while Redis is unavailable.
    pub fn is_shared(&self) -> bool {
        self.0.shared.as_ref().is_some_and(Shared::is_available)
    }

    /// Counts `count` actions. If the rate does not allow all these actions now, counts none of them and returns
    /// `Exceeded`.
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

    /// Counts an attempt as failed before it is made. If the key must still wait, counts nothing and returns the
    /// remaining wait.
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
                // The node also counts the attempt in its memory, for times when Redis is unavailable. The result of
                // this count does not matter now.
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

    /// Removes the failure that one [`Limiter::attempt`] has counted, and allows the next attempt at once.
    pub async fn undo_attempt(&self, guard: Guard, key: Key) {
        if !self.0.enabled {
            return;
        }
        self.0.guards.undo_attempt(guard, key);
        if let Some(shared) = &self.0.shared {
            shared.undo_attempt(guard, key).await;
        }
    }

    /// Takes over the count of all nodes for a key. `backlog` is the time after which all actions of the key are
    /// forgotten.
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
