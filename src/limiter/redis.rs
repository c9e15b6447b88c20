//! The counts that the nodes share through Redis.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{RedisResult, Script};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::guards::{RESET_AFTER, Rule};
use super::{Exceeded, Guard, Key, Limiter, Rate};
use crate::error::Result;
use crate::redis::client;

/// Time between two exchanges of counts. Meanwhile, all nodes together can allow more actions than one node alone.
pub(super) const SYNC_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum time for a response of Redis. After that time, a guard uses the counts in the node's memory.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// Time after a failure of Redis before the node calls Redis again.
const BACKOFF: Duration = Duration::from_secs(1);
/// Maximum number of keys whose counts wait for an exchange. Counts of further keys are not shared with the other
/// nodes.
const MAX_PENDING: usize = 20_000;

/// Adds `ARGV[1]` microseconds to the time at which all actions of a key are forgotten. The new time is at most
/// `ARGV[2]` microseconds from now. Returns the microseconds from now until the new time.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local time = redis.call('TIME')
        local now = time[1] * 1000000 + time[2]
        local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + tonumber(ARGV[1])
        arrival = math.min(arrival, now + tonumber(ARGV[2]))
        local backlog = arrival - now
        redis.call('SET', KEYS[1], string.format('%.0f', arrival), 'PX', math.ceil(backlog / 1000) + 1)
        return math.ceil(backlog)
        ",
    )
});

/// Counts a failure and returns 0. If the key must still wait, counts nothing and returns the remaining wait in
/// milliseconds. `ARGV`: the number of failures after which each attempt has to wait, and in milliseconds the first
/// wait, the maximum wait, and the time after which all failures are forgotten.
static ATTEMPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local state = redis.call('HMGET', KEYS[1], 'failures', 'next')
        local failures, next = tonumber(state[1] or 0), tonumber(state[2] or 0)
        if now < next then return next - now end
        failures = failures + 1
        local beyond = failures - tonumber(ARGV[1])
        local delay = 0
        if beyond >= 0 then
            delay = math.min(tonumber(ARGV[2]) * 2 ^ math.min(beyond, 40), tonumber(ARGV[3]))
        end
        redis.call('HSET', KEYS[1], 'failures', failures, 'next', string.format('%.0f', now + delay))
        redis.call('PEXPIRE', KEYS[1], ARGV[4])
        return 0
        ",
    )
});

/// Removes one failure, and allows the next attempt at once.
static UNDO_ATTEMPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local failures = tonumber(redis.call('HGET', KEYS[1], 'failures') or 0)
        if failures > 1 then
            redis.call('HSET', KEYS[1], 'failures', failures - 1, 'next', 0)
        else
            redis.call('DEL', KEYS[1])
        end
        return 0
        ",
    )
});

/// The connection to Redis, and the counts that wait for an exchange.
#[derive(Clone)]
pub(super) struct Shared {
    redis: ConnectionManager,
    prefix: Arc<str>,
    pending: Arc<PendingCounts>,
    health: Arc<Health>,
}

/// State of the connection to Redis.
struct Health {
    /// Time of the next call to Redis after a failure. Until then, requests do not wait for Redis. None while Redis is
    /// available.
    retry_at: Mutex<Option<Instant>>,
    /// Cancelled when the node stops. The runtime then ends the connection.
    stop: CancellationToken,
}

impl Health {
    fn may_try(&self) -> bool {
        self.retry_at.lock().is_none_or(|retry_at| Instant::now() >= retry_at)
    }

    /// Returns the value of the response, or None if Redis is unavailable. Logs only when Redis becomes unavailable or
    /// available again, and not each failure.
    fn record_result<T>(&self, answer: RedisResult<T>) -> Option<T> {
        let mut retry_at = self.retry_at.lock();
        match answer {
            Ok(value) => {
                if retry_at.take().is_some() {
                    info!("limits are shared through Redis again");
                }
                Some(value)
            }
            Err(error) => {
                if retry_at.replace(Instant::now() + BACKOFF).is_none() && !self.stop.is_cancelled() {
                    warn!(%error, "Redis is unavailable; this node uses its own counts for limits");
                }
                None
            }
        }
    }
}

#[derive(Default)]
struct PendingCounts {
    counts: Mutex<HashMap<(Rate, Key), u64>>,
    not_empty: Notify,
}

impl Shared {
    /// Prepares the connection to Redis, which is opened on first use.
    pub(super) fn open(url: &str, prefix: &str, stop: CancellationToken) -> Result<Self> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_connection_timeout(Some(CONNECTION_TIMEOUT));
        let redis = ConnectionManager::new_lazy_with_config(client(url)?, config)?;
        let health = Health { retry_at: Mutex::default(), stop };
        Ok(Self { redis, prefix: prefix.into(), pending: Arc::default(), health: Arc::new(health) })
    }

    /// Whether the last call to Redis succeeded. True before the first call.
    pub(super) fn is_available(&self) -> bool {
        self.health.retry_at.lock().is_none()
    }

    /// Queues a count for the next exchange.
    pub(super) fn enqueue(&self, rate: Rate, key: Key, count: NonZeroU32) {
        let mut counts = self.pending.counts.lock();
        let is_first = counts.is_empty();
        let has_space = counts.len() < MAX_PENDING;
        match counts.get_mut(&(rate, key)) {
            Some(pending) => *pending += u64::from(count.get()),
            None if has_space => {
                counts.insert((rate, key), count.get().into());
            }
            None => {}
        }
        drop(counts);
        // An exchange takes all counts, so a second notification would cause an exchange without counts.
        if is_first {
            self.pending.not_empty.notify_one();
        }
    }

    /// Counts a failure for all nodes. If the key must still wait, counts nothing and returns `Exceeded`. Returns None
    /// if Redis is unavailable.
    pub(super) async fn attempt(&self, guard: Guard, rule: Rule, key: Key) -> Option<Result<(), Exceeded>> {
        if !self.health.may_try() {
            return None;
        }
        let mut call = ATTEMPT.key(guard_name(&self.prefix, guard, key));
        call.arg(rule.free).arg(millis(rule.first_delay)).arg(millis(rule.max_delay)).arg(millis(RESET_AFTER));
        let wait: RedisResult<u64> = call.invoke_async(&mut self.redis.clone()).await;
        Some(match self.health.record_result(wait)? {
            0 => Ok(()),
            wait => Err(Exceeded { setting: guard.setting(), retry_after: Duration::from_millis(wait) }),
        })
    }

    pub(super) async fn reset(&self, guard: Guard, key: Key) {
        if !self.health.may_try() {
            return;
        }
        let name = guard_name(&self.prefix, guard, key);
        let done: RedisResult<u64> = redis::cmd("DEL").arg(name).query_async(&mut self.redis.clone()).await;
        self.health.record_result(done);
    }

    pub(super) async fn undo_attempt(&self, guard: Guard, key: Key) {
        if !self.health.may_try() {
            return;
        }
        let name = guard_name(&self.prefix, guard, key);
        let done: RedisResult<u64> = UNDO_ATTEMPT.key(name).invoke_async(&mut self.redis.clone()).await;
        self.health.record_result(done);
    }

    /// Repeats exchanges. Each exchange sends the pending counts, and takes over the counts of all nodes.
    pub(super) async fn run(mut self, limiter: Limiter) {
        loop {
            self.pending.not_empty.notified().await;
            let counts: Vec<_> = std::mem::take(&mut *self.pending.counts.lock()).into_iter().collect();
            let exchanged = self.exchange(&limiter, &counts).await;
            let pause = if self.health.record_result(exchanged).is_some() { SYNC_INTERVAL } else { BACKOFF };
            sleep(pause).await;
        }
    }

    async fn exchange(&mut self, limiter: &Limiter, counts: &[((Rate, Key), u64)]) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        let mut keys = Vec::with_capacity(counts.len());
        for &((rate, key), count) in counts {
            let Some(counts) = limiter.0.counts(rate, key) else { continue };
            let nanos = u64::try_from(counts.interval().as_nanos()).unwrap_or(u64::MAX);
            let added = nanos.saturating_mul(count).div_ceil(1000);
            let bound = u64::try_from(counts.max_backlog().as_micros()).unwrap_or(u64::MAX);
            let mut call = ADD.key(rate_name(&self.prefix, rate, key));
            pipe.invoke_script(call.arg(added).arg(bound));
            keys.push((rate, key));
        }
        let backlogs: RedisResult<Vec<u64>> = pipe.query_async(&mut self.redis).await;
        let backlogs = match backlogs {
            // Redis loses its cache of scripts when it restarts, so the script is loaded again.
            Err(error) if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoScript) => {
                ADD.prepare_invoke().load_async(&mut self.redis).await?;
                pipe.query_async(&mut self.redis).await?
            }
            backlogs => backlogs?,
        };
        for ((rate, key), backlog) in keys.into_iter().zip(backlogs) {
            limiter.raise_backlog(rate, key, Duration::from_micros(backlog));
        }
        Ok(())
    }
}

fn rate_name(prefix: &str, rate: Rate, key: Key) -> String {
    format!("{prefix}:{}:{}", rate.setting(), key_name(key))
}

fn guard_name(prefix: &str, guard: Guard, key: Key) -> String {
    format!("{prefix}:{}:{}", guard.name(), key_name(key))
}

fn key_name(key: Key) -> String {
    match key {
        Key::User(user) => user.to_string(),
        Key::Network(network) => network.to_string(),
        Key::UserFrom(user, network) => format!("{user}@{network}"),
        Key::Name(hash) => format!("{:032x}", u128::from_be_bytes(hash)),
        Key::NameFrom(hash, network) => format!("{:032x}@{network}", u128::from_be_bytes(hash)),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
