//! The rate limiter, which limits how often a user or an address may do something.
//!
//! There are two kinds of limits. A [`Rate`] limits the frequency of actions by the generic cell rate algorithm (ITU-T
//! I.371, appendix I). A [`Guard`] slows down the guessing of passwords and codes: after some failures, each further
//! attempt has to wait twice as long as the attempt before.
//!
//! Both kinds count an IPv6 client twice: by its network of 64 bits, and by its site, a network of 48 bits. A client
//! can rent a whole site and use 65,536 networks. The allowance of a site is that of a network times
//! [`SITE_ALLOWANCE`](crate::config::SITE_ALLOWANCE).
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
    /// Such a name, for actions from one network only.
    NameFrom([u8; 16], ClientNetwork),
}

impl Key {
    /// Returns the key by which limits also count the IPv6 site of the client. None for IPv4 and for keys without a
    /// network. Also None for [`Key::UserFrom`]: its network is that of the owner of the account, and not of strangers.
    fn of_site(self) -> Option<Self> {
        match self {
            Self::Network(network) => network.site().map(Self::Network),
            Self::NameFrom(name, network) => network.site().map(|site| Self::NameFrom(name, site)),
            Self::User(_) | Self::UserFrom(..) | Self::Name(_) => None,
        }
    }

    fn is_of_site(self) -> bool {
        matches!(self, Self::Network(network) | Self::NameFrom(_, network) if network.is_site())
    }
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
    /// Counts of the sites of IPv6 clients. None if the rate is unlimited or counts no sites.
    site_counts: [Option<Counts>; Rate::ALL.len()],
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

    /// Counts `count` actions of the key, and of the site of an IPv6 client. If the rate does not allow all these
    /// actions now, counts none of them and returns `Exceeded`.
    pub fn check(&self, rate: Rate, key: Key, count: u32) -> Result<(), Exceeded> {
        let (Some(counts), Some(count)) = (self.0.counts(rate, key), NonZeroU32::new(count)) else {
            return Ok(());
        };
        let exceeded = |retry_after| Exceeded { setting: rate.setting(), retry_after };
        counts.check(&key, count).map_err(exceeded)?;
        let site = key.of_site().and_then(|site| Some((site, self.0.counts(rate, site)?)));
        if let Some((site, of_site)) = site
            && let Err(retry_after) = of_site.check(&site, count.min(counts.burst()))
        {
            counts.undo(&key, count);
            return Err(exceeded(retry_after));
        }
        if let Some(shared) = &self.0.shared {
            shared.enqueue(rate, key, count);
            if let Some((site, _)) = site {
                shared.enqueue(rate, site, count);
            }
        }
        Ok(())
    }

    /// Counts an attempt as failed before it is made, also for the site of an IPv6 client. If the key or the site must
    /// still wait, counts nothing and returns the remaining wait.
    pub async fn attempt(&self, guard: Guard, key: Key) -> Result<(), Exceeded> {
        if !self.0.enabled {
            return Ok(());
        }
        self.attempt_of(guard, key).await?;
        if let Some(site) = key.of_site()
            && let Err(exceeded) = self.attempt_of(guard, site).await
        {
            self.undo_attempt_of(guard, key).await;
            return Err(exceeded);
        }
        Ok(())
    }

    /// Counts an attempt for exactly this key.
    async fn attempt_of(&self, guard: Guard, key: Key) -> Result<(), Exceeded> {
        let guards = &self.0.guards;
        let shared = match &self.0.shared {
            Some(shared) => shared.attempt(guard, guards.rule(guard, key), key).await,
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

    /// Forgets all failures of the key. The failures of the site of an IPv6 client still count.
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
        self.undo_attempt_of(guard, key).await;
        if let Some(site) = key.of_site() {
            self.undo_attempt_of(guard, site).await;
        }
    }

    /// Removes a failure of exactly this key.
    async fn undo_attempt_of(&self, guard: Guard, key: Key) {
        self.0.guards.undo_attempt(guard, key);
        if let Some(shared) = &self.0.shared {
            shared.undo_attempt(guard, key).await;
        }
    }

    /// Takes over the count of all nodes for a key. `backlog` is the time after which all actions of the key are
    /// forgotten.
    fn raise_backlog(&self, rate: Rate, key: Key, backlog: Duration) {
        if let Some(counts) = self.0.counts(rate, key) {
            counts.raise_backlog(&key, backlog);
        }
    }
}

impl Inner {
    fn new(settings: &Rates, shared: Option<Shared>) -> Self {
        let counts_for = |allowance| match allowance {
            Allowance::Limited { count, time } if settings.rate_limits => Some(Counts::new(count, time)),
            _ => None,
        };
        let counts = Rate::ALL.map(|rate| counts_for(rate.allowance(settings)));
        let site_counts = Rate::ALL
            .map(|rate| if rate.counts_sites() { counts_for(rate.allowance(settings).of_site()) } else { None });
        Self { enabled: settings.rate_limits, counts, site_counts, guards: Guards::new(settings), shared }
    }

    /// Returns the counts to which the key belongs. None if the rate does not limit the key.
    fn counts(&self, rate: Rate, key: Key) -> Option<&Counts> {
        let counts = if key.is_of_site() { &self.site_counts } else { &self.counts };
        counts[rate as usize].as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use clap::Parser;

    use super::*;
    use crate::address::ClientAddress;
    use crate::config::SITE_ALLOWANCE;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        rates: Rates,
    }

    fn limiter(flags: &[&str]) -> Limiter {
        Limiter::local(&Flags::parse_from([&["parlance"][..], flags].concat()).rates)
    }

    fn network(address: &str) -> ClientNetwork {
        ClientAddress::from(address.parse::<IpAddr>().unwrap()).network()
    }

    /// Returns networks of 64 bits that are all in one site, one for each number.
    fn networks(site: &str) -> impl Iterator<Item = ClientNetwork> {
        (0..).map(move |number| network(&format!("2001:db8:{site}:{number:x}::1")))
    }

    #[test]
    fn the_networks_of_a_site_share_a_larger_allowance() {
        let limiter = limiter(&["--rate-registrations=2/1h", "--rate-codes-per-target=2/1h"]);
        for rate in [Rate::Registrations, Rate::CodesPerTarget] {
            let key = |network| match rate {
                Rate::Registrations => Key::Network(network),
                _ => Key::NameFrom([0; 16], network),
            };
            let allowed = |network| limiter.check(rate, key(network), 1).is_ok();
            let of_each: Vec<_> =
                networks("1").take(10).map(|network| (0..3).filter(|_| allowed(network)).count()).collect();
            assert_eq!(of_each, [2, 2, 2, 2, 2, 2, 2, 2, 0, 0], "{rate:?}");
            assert!(networks("2").take(8).all(allowed), "{rate:?}: another site has an allowance of its own");
            let exceeded = limiter.check(rate, key(network("2001:db8:1:ffff::1")), 1).unwrap_err();
            assert_eq!(exceeded.setting, rate.setting());
        }
        // Another name has a count of its own in the same site.
        assert_eq!(limiter.check(Rate::CodesPerTarget, Key::NameFrom([1; 16], network("2001:db8:1::1")), 1), Ok(()));
    }

    #[test]
    fn ipv4_addresses_and_requests_count_for_no_site() {
        let limiter = limiter(&["--rate-registrations=1/1h", "--rate-requests=1/1h"]);
        for last in 0..=255 {
            let key = Key::Network(network(&format!("203.0.113.{last}")));
            assert_eq!(limiter.check(Rate::Registrations, key, 1), Ok(()), "{last}");
        }
        for network in networks("1").take(100) {
            assert_eq!(limiter.check(Rate::Requests, Key::Network(network), 1), Ok(()), "{network}");
            limiter.check(Rate::Requests, Key::Network(network), 1).unwrap_err();
        }
    }

    /// Otherwise the refused actions would exhaust the allowance of the network.
    #[test]
    fn an_action_that_the_site_refuses_does_not_count_for_the_network() {
        let limiter = limiter(&["--rate-registrations=2/1h"]);
        for network in networks("1").take(8) {
            limiter.check(Rate::Registrations, Key::Network(network), 2).unwrap();
        }
        let late = Key::Network(network("2001:db8:1:ffff::1"));
        for _ in 0..5 {
            limiter.check(Rate::Registrations, late, 1).unwrap_err();
        }
        limiter.0.counts(Rate::Registrations, late).unwrap().check(&late, NonZeroU32::MIN).unwrap();
    }

    #[tokio::test]
    async fn failures_of_the_networks_of_a_site_add_up() {
        let limiter = limiter(&["--password-tries-per-address=1", "--password-first-delay=300"]);
        let keys: Vec<_> = networks("1").take(10).map(Key::Network).collect();
        let (free, late) = keys.split_at(SITE_ALLOWANCE as usize);
        for &key in free {
            assert_eq!(limiter.attempt(Guard::Network, key).await, Ok(()));
        }
        let exceeded = limiter.attempt(Guard::Network, late[0]).await.unwrap_err();
        assert_eq!(exceeded.setting, "PASSWORD_TRIES_PER_ADDRESS");
        // An attempt that is undone is undone for the site, too. The attempt that was refused has not counted.
        limiter.undo_attempt(Guard::Network, free[0]).await;
        assert_eq!(limiter.attempt(Guard::Network, late[0]).await, Ok(()));
        limiter.attempt(Guard::Network, late[1]).await.unwrap_err();
        let elsewhere = Key::Network(network("2001:db8:2::1"));
        assert_eq!(limiter.attempt(Guard::Network, elsewhere).await, Ok(()));
    }
}
