//! Guards against the guessing of passwords and codes: waits that grow with each failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use super::{Exceeded, Key};
use crate::config::{PASSWORD_MAX_DELAY, Rates, SITE_ALLOWANCE};

/// Time without another attempt after which the failures of a key are forgotten.
pub(super) const RESET_AFTER: Duration = Duration::from_hours(24);
/// Maximum number of keys in memory, of about 150 bytes each. The least used keys are forgotten first.
const MAX_KEYS: usize = 100_000;
/// Number of failures for all names of an account together, in multiples of those for one name: an account has at most
/// three names, which are its username, e-mail address and phone number.
const NAMES: u32 = 3;

/// Kind of attempts that a guard counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Attempts to use a password or a code for one account, or for one name or address that an account may have.
    Account,
    /// Attempts to use a password for one account by any of its names, or a second factor from any network in which the
    /// owner has a session.
    AllNames,
    /// Attempts to use a password, a code, a second factor or a token from one network.
    Network,
}

impl Guard {
    /// Returns the name of the setting with the number of failures after which each attempt has to wait.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Account | Self::AllNames => "PASSWORD_TRIES_PER_ACCOUNT",
            Self::Network => "PASSWORD_TRIES_PER_ADDRESS",
        }
    }

    /// Returns the part of the names of keys in Redis that separates the guards.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Account | Self::Network => self.setting(),
            Self::AllNames => "PASSWORD_TRIES_PER_ACCOUNT:all",
        }
    }
}

/// Rule that determines how the wait of a guard grows with the number of failures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Number of failures after which each further attempt has to wait.
    pub(super) free: u32,
    /// Wait after the first failure that causes a wait.
    pub(super) first_delay: Duration,
    pub(super) max_delay: Duration,
}

impl Rule {
    /// Returns the wait after this number of consecutive failures.
    fn delay(self, failures: u32) -> Duration {
        match failures.checked_sub(self.free) {
            None => Duration::ZERO,
            Some(beyond) => self.first_delay.saturating_mul(2_u32.saturating_pow(beyond)).min(self.max_delay),
        }
    }
}

/// The failures that this node has counted, by guard and key.
pub(super) struct Guards {
    account: Rule,
    all_names: Rule,
    network: Rule,
    tries: Cache<(Guard, Key), Arc<Mutex<Tries>>>,
}

#[derive(Clone, Copy, Default)]
struct Tries {
    failures: u32,
    /// Time from which the next attempt is allowed, and time of the last attempt. None before the first attempt.
    times: Option<(Instant, Instant)>,
}

impl Guards {
    pub(super) fn new(settings: &Rates) -> Self {
        let rule = |free| Rule { free, first_delay: settings.password_first_delay, max_delay: PASSWORD_MAX_DELAY };
        Self {
            account: rule(settings.password_tries_per_account),
            all_names: rule(settings.password_tries_per_account.saturating_mul(NAMES)),
            network: rule(settings.password_tries_per_address),
            tries: Cache::new(MAX_KEYS),
        }
    }

    /// Returns the rule for a key. An IPv6 site may have more failures than a network before its attempts have to wait.
    pub(super) fn rule(&self, guard: Guard, key: Key) -> Rule {
        let rule = match guard {
            Guard::Account => self.account,
            Guard::AllNames => self.all_names,
            Guard::Network => self.network,
        };
        if key.is_of_site() { Rule { free: rule.free.saturating_mul(SITE_ALLOWANCE), ..rule } } else { rule }
    }

    pub(super) fn attempt(&self, guard: Guard, key: Key) -> Result<(), Exceeded> {
        let tries = self.of(guard, key);
        let (mut tries, now) = (tries.lock(), Instant::now());
        match tries.times {
            Some((_, last)) if now.duration_since(last) >= RESET_AFTER => *tries = Tries::default(),
            Some((next, _)) if now < next => {
                return Err(Exceeded { setting: guard.setting(), retry_after: next - now });
            }
            _ => {}
        }
        tries.failures = tries.failures.saturating_add(1);
        tries.times = Some((now + self.rule(guard, key).delay(tries.failures), now));
        Ok(())
    }

    pub(super) fn reset(&self, guard: Guard, key: Key) {
        self.tries.remove(&(guard, key));
    }

    pub(super) fn undo_attempt(&self, guard: Guard, key: Key) {
        let tries = self.of(guard, key);
        let mut tries = tries.lock();
        tries.failures = tries.failures.saturating_sub(1);
        let now = Instant::now();
        tries.times = Some((now, now));
    }

    fn of(&self, guard: Guard, key: Key) -> Arc<Mutex<Tries>> {
        // The closure cannot fail.
        let state = self.tries.get_or_insert_with(&(guard, key), || Ok::<_, std::convert::Infallible>(Arc::default()));
        state.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_with_each_failure_up_to_max_delay() {
        let rule = Rule { free: 3, first_delay: Duration::from_secs(1), max_delay: Duration::from_secs(10) };
        let delays = (1..=8).map(|failures| rule.delay(failures).as_secs());
        assert_eq!(delays.collect::<Vec<_>>(), [0, 0, 1, 2, 4, 8, 10, 10]);
        assert_eq!(rule.delay(u32::MAX), Duration::from_secs(10));
    }
}
