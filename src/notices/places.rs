//! The places in a queue of notices, and the lanes for groups of recipients. Both keep clients of one network, or one
//! slow mail domain, from delaying all other notices.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::address::ClientNetwork;
use crate::config::{NOTICE_QUEUE, NOTICE_QUEUE_SHARE};
use crate::fair::{Bounds, Permit, Pool};

/// Reason why a notice is not queued, and so not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFull {
    #[error("{NOTICE_QUEUE} notices wait to be sent")]
    All,
    #[error("{NOTICE_QUEUE_SHARE} notices that clients of one network have caused wait to be sent")]
    Share,
}

/// The places of the notices that wait to be sent.
#[derive(Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    all: usize,
    /// Number of places of each network. No number is 0.
    by_network: HashMap<ClientNetwork, usize>,
}

/// The place of one notice. Dropping it frees the place.
pub(super) struct Place {
    taken: Arc<Mutex<Taken>>,
    network: Option<ClientNetwork>,
}

impl Places {
    /// Takes a place for a notice that a client of this network has caused. Notices without a network have no share.
    pub(super) fn take(&self, network: Option<ClientNetwork>) -> Result<Place, QueueFull> {
        let mut taken = self.0.lock();
        let share = network.and_then(|network| taken.by_network.get(&network)).copied().unwrap_or_default();
        if share >= NOTICE_QUEUE_SHARE {
            return Err(QueueFull::Share);
        }
        if taken.all >= NOTICE_QUEUE {
            return Err(QueueFull::All);
        }
        taken.all += 1;
        if let Some(network) = network {
            taken.by_network.insert(network, share + 1);
        }
        Ok(Place { taken: Arc::clone(&self.0), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        let Some(network) = self.network else { return };
        if let Entry::Occupied(mut share) = taken.by_network.entry(network) {
            *share.get_mut() -= 1;
            if *share.get() == 0 {
                share.remove();
            }
        }
    }
}

/// Returns a pool in which nothing is refused, because `Places` bounds the number of notices.
pub(super) fn pool(workers: usize) -> Pool<ClientNetwork> {
    Pool::new(Bounds { workers, queue: NOTICE_QUEUE, share: NOTICE_QUEUE_SHARE })
}

/// The lanes of the groups of recipients to which notices are being sent.
pub(super) struct Lanes {
    lanes: Arc<Mutex<HashMap<String, Shared>>>,
    /// Maximum number of attempts at the same time for one group.
    per_group: usize,
}

/// The lane of one group.
struct Shared {
    pool: Pool<ClientNetwork>,
    /// Number of notices that use the lane. The lane is removed with the last one.
    notices: usize,
}

/// The use of a lane by one notice.
pub(super) struct Lane {
    lanes: Arc<Mutex<HashMap<String, Shared>>>,
    pool: Pool<ClientNetwork>,
    group: String,
}

impl Lanes {
    pub(super) fn new(per_group: usize) -> Self {
        Self { lanes: Arc::default(), per_group }
    }

    pub(super) fn enter(&self, group: &str) -> Lane {
        let mut lanes = self.lanes.lock();
        let lane = lanes.entry(group.to_owned());
        let lane = lane.or_insert_with(|| Shared { pool: pool(self.per_group), notices: 0 });
        lane.notices += 1;
        Lane { lanes: Arc::clone(&self.lanes), pool: lane.pool.clone(), group: group.to_owned() }
    }
}

impl Lane {
    /// Waits until the group has fewer attempts than its maximum. Networks take turns.
    pub(super) async fn turn(&self, network: Option<ClientNetwork>) -> Permit<ClientNetwork> {
        self.pool.turn(network).await
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut lanes = self.lanes.lock();
        if let Some(lane) = lanes.get_mut(&self.group) {
            lane.notices -= 1;
            if lane.notices == 0 {
                lanes.remove(&self.group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use futures_util::FutureExt as _;

    use super::*;
    use crate::address::ClientAddress;

    fn network(last: u8) -> ClientNetwork {
        ClientAddress::from(IpAddr::V4(Ipv4Addr::new(203, 0, 113, last))).network()
    }

    #[test]
    fn a_network_has_only_its_share_of_the_places() {
        let places = Places::default();
        let mut taken: Vec<_> = (0..NOTICE_QUEUE_SHARE).map(|_| places.take(Some(network(1))).unwrap()).collect();
        assert_eq!(places.take(Some(network(1))).err(), Some(QueueFull::Share));
        places.take(Some(network(2))).unwrap();
        taken.pop();
        places.take(Some(network(1))).unwrap();
        drop(taken);
        assert!(places.0.lock().by_network.is_empty());
        assert_eq!(places.0.lock().all, 0);
    }

    #[test]
    fn the_number_of_places_is_bounded() {
        let places = Places::default();
        let taken: Vec<_> = (0..NOTICE_QUEUE).map(|_| places.take(None).unwrap()).collect();
        assert_eq!(places.take(Some(network(1))).err(), Some(QueueFull::All));
        drop(taken);
        places.take(Some(network(1))).unwrap();
    }

    #[test]
    fn a_group_has_few_attempts_at_the_same_time() {
        let lanes = Lanes::new(2);
        let notices: Vec<_> = (0..3).map(|_| lanes.enter("example.org")).collect();
        let mut running: Vec<_> =
            notices[..2].iter().map(|lane| lane.turn(Some(network(1))).now_or_never().unwrap()).collect();
        assert!(notices[2].turn(Some(network(2))).now_or_never().is_none());
        let other = lanes.enter("example.net");
        assert!(other.turn(Some(network(1))).now_or_never().is_some(), "another group does not wait");
        running.pop();
        assert!(notices[2].turn(Some(network(2))).now_or_never().is_some());
        drop((notices, other));
        assert!(lanes.lanes.lock().is_empty());
    }
}
