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

/// Maximum number of keys that one rate keeps in memory, of about 100 bytes each. The least used keys are forgotten
/// first, so that a client with many addresses cannot fill the memory.
const MAX_KEYS: usize = 100_000;

/// The counts of one rate, by key.
pub(super) struct Counts {
    limiter: RateLimiter<Key, States, MonotonicClock, NoOpMiddleware<Instant>>,
    states: States,
    started: Instant,
    interval: Duration,
    time: Duration,
    burst: NonZeroU32,
}

/// The theoretical arrival time of the next action of each key, in nanoseconds since the counts were created.
#[derive(Clone)]
struct States(Arc<Cache<Key, Arc<AtomicU64>>>);

impl Counts {
    /// Creates counts that allow `count` actions at once, and `count` further actions within `time`.
    pub(super) fn new(count: NonZeroU32, time: Duration) -> Self {
        let interval = (time / count.get()).max(Duration::from_nanos(1));
        // `with_period` returns None only for an interval of zero.
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(count)).allow_burst(count);
        let states = States(Arc::new(Cache::new(MAX_KEYS)));
        let (clock, started) = (MonotonicClock, Instant::now());
        let limiter = RateLimiter::new(quota, states.clone(), clock);
        Self { limiter, states, started, interval, time, burst: count }
    }

    /// Returns the time that one action adds to the backlog.
    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    /// Returns the number of actions that are allowed at once.
    pub(super) const fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// Returns the maximum backlog of a key on all nodes together. A node allows an action while the backlog is below
    /// `time`. Every other node can add to the backlog before the nodes have exchanged counts, so the maximum is higher
    /// than `time`.
    pub(super) fn max_backlog(&self) -> Duration {
        self.time * 2
    }

    /// Counts `count` actions, or at most the burst. If these actions are not allowed now, counts none of them and
    /// returns the time to wait as the error.
    pub(super) fn check(&self, key: &Key, count: NonZeroU32) -> Result<(), Duration> {
        match self.limiter.check_key_n(key, count.min(self.burst)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.limiter.clock().now())),
            Err(_) => Err(self.time),
        }
    }

    /// Takes back `count` actions, or at most the burst, that [`Counts::check`] has counted.
    pub(super) fn undo(&self, key: &Key, count: NonZeroU32) {
        let added = self.interval.saturating_mul(count.min(self.burst).get());
        let added = u64::try_from(added.as_nanos()).unwrap_or(u64::MAX);
        let subtract = |arrival: u64| Some(arrival.saturating_sub(added));
        // The closure returns Some, so the update cannot fail.
        let _ = self.states.of(key).fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
    }

    /// Takes over the count of all nodes for a key. `backlog` is the time after which all actions of the key are
    /// forgotten.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_that_are_undone_are_allowed_again() {
        let of = |count| NonZeroU32::new(count).unwrap();
        let (counts, key) = (Counts::new(of(3), Duration::from_hours(1)), Key::Name([0; 16]));
        counts.check(&key, of(2)).unwrap();
        counts.check(&key, of(2)).unwrap_err();
        counts.undo(&key, of(1));
        counts.check(&key, of(2)).unwrap();
        counts.check(&key, of(1)).unwrap_err();
        // More actions than the burst count as the burst.
        counts.undo(&key, of(3));
        counts.check(&key, of(9)).unwrap();
        counts.undo(&key, of(9));
        counts.check(&key, of(3)).unwrap();
        // A key without actions stays without actions.
        counts.undo(&Key::Name([1; 16]), of(3));
        counts.check(&Key::Name([1; 16]), of(3)).unwrap();
        counts.check(&Key::Name([1; 16]), of(1)).unwrap_err();
    }
}
