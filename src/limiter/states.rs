//! The counts of one rate in the node's memory.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use quick_cache::sync::Cache;

use super::Key;

/// Keys that one rate keeps in memory, of about 100 bytes each. The least used are forgotten first, so that a client
/// with many addresses cannot fill the memory.
const MAX_KEYS: usize = 100_000;

/// Counts by key.
pub(super) struct Counts {
    limiter: RateLimiter<Key, States, MonotonicClock, NoOpMiddleware<Instant>>,
    states: States,
    started: Instant,
    interval: Duration,
    time: Duration,
    burst: NonZeroU32,
}

/// For each key the theoretical arrival time of its next action, in nanoseconds since the start.
#[derive(Clone)]
struct States(Arc<Cache<Key, Arc<AtomicU64>>>);

impl Counts {
    /// Allows `count` at once, and as many again within `time`.
    pub(super) fn new(count: NonZeroU32, time: Duration) -> Self {
        let interval = (time / count.get()).max(Duration::from_nanos(1));
        // `with_period` returns None only for an interval of zero.
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(count)).allow_burst(count);
        let states = States(Arc::new(Cache::new(MAX_KEYS)));
        let (clock, started) = (MonotonicClock, Instant::now());
        let limiter = RateLimiter::new(quota, states.clone(), clock);
        Self { limiter, states, started, interval, time, burst: count }
    }

    /// Time that one action counts for.
    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    /// Bound on the backlog of a key on all nodes together. A node allows an action while the backlog is below `time`.
    /// Each of the others can add to it before they have exchanged counts, so the bound is higher.
    pub(super) fn max_backlog(&self) -> Duration {
        self.time * 2
    }

    /// Fails with the time to wait. A `count` above the burst counts as the whole burst.
    pub(super) fn check(&self, key: &Key, count: NonZeroU32) -> Result<(), Duration> {
        match self.limiter.check_key_n(key, count.min(self.burst)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.limiter.clock().now())),
            Err(_) => Err(self.time),
        }
    }

    /// Takes over the count of all nodes: the actions of the key are forgotten after `backlog`.
    pub(super) fn raise_backlog(&self, key: &Key, backlog: Duration) {
        let arrival = self.started.elapsed() + backlog.min(self.max_backlog());
        let arrival = u64::try_from(arrival.as_nanos()).unwrap_or(u64::MAX);
        self.states.of(key).fetch_max(arrival, Ordering::Relaxed);
    }
}

impl States {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        // The closure cannot fail.
        let state = self.0.get_or_insert_with(key, || Ok::<_, std::convert::Infallible>(Arc::default()));
        state.unwrap_or_default()
    }
}

impl StateStore for States {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let state = self.of(key);
        let mut before = state.load(Ordering::Relaxed);
        loop {
            // Zero means that the key has no actions yet.
            let (decision, after) = decide(Some(before).filter(|&nanos| nanos > 0).map(Nanos::new))?;
            match state.compare_exchange_weak(before, after.into(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(decision),
                Err(now) => before = now,
            }
        }
    }
}
