//! The memory of unfinished request bodies and WebSocket messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::address::ClientNetwork;
use crate::metrics::ConnectionMetrics;

/// Bytes are reserved in steps of this size, so that a body that arrives in many pieces locks seldom.
const STEP: usize = 16 * 1024;

/// Bytes that are held for unfinished bodies and messages, in all and by address.
#[derive(Clone)]
pub(in crate::http) struct Unfinished(Arc<Parts>);

struct Parts {
    held: Mutex<Held>,
    max: usize,
    max_per_address: usize,
    metrics: ConnectionMetrics,
}

#[derive(Default)]
struct Held {
    total: usize,
    by_network: HashMap<ClientNetwork, usize>,
}

/// The limit leaves no memory for more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct NoRoom;

/// The bytes that one body or message holds, until it is dropped.
pub(in crate::http) struct Reservation {
    unfinished: Unfinished,
    /// The network whose share the bytes count against. A client that is not limited by its address has none.
    network: Option<ClientNetwork>,
    bytes: usize,
}

impl Unfinished {
    pub(super) fn new(max: usize, max_per_address: usize, metrics: ConnectionMetrics) -> Self {
        Self(Arc::new(Parts { held: Mutex::default(), max, max_per_address, metrics }))
    }

    /// An empty reservation.
    pub(in crate::http) fn of(&self, network: Option<ClientNetwork>) -> Reservation {
        Reservation { unfinished: self.clone(), network, bytes: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Reserves memory for a body or message of `bytes` in all. A refusal keeps the earlier reservation.
    pub(in crate::http) fn grow_to(&mut self, bytes: usize) -> Result<(), NoRoom> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let more = (bytes - self.bytes).next_multiple_of(STEP);
        let parts = &self.unfinished.0;
        let mut held = self.unfinished.lock();
        let total = held.total + more;
        let mut fits = total <= parts.max;
        if let Some(network) = self.network.filter(|_| fits) {
            let share = held.by_network.get(&network).copied().unwrap_or_default() + more;
            fits = share <= parts.max_per_address;
            if fits {
                held.by_network.insert(network, share);
            }
        }
        if !fits {
            parts.metrics.unfinished_refused();
            return Err(NoRoom);
        }
        held.total = total;
        parts.metrics.unfinished_bytes(total);
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.unfinished.lock();
        held.total -= self.bytes;
        self.unfinished.0.metrics.unfinished_bytes(held.total);
        let Some(network) = self.network else { return };
        if let Some(share) = held.by_network.get_mut(&network) {
            *share -= self.bytes;
            if *share == 0 {
                held.by_network.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::address::ClientAddress;
    use crate::metrics::Metrics;

    fn network(last: u8) -> ClientNetwork {
        ClientAddress::from(IpAddr::from([203, 0, 113, last])).network()
    }

    #[test]
    fn reservations_are_limited_per_address_and_in_total() {
        let unfinished = Unfinished::new(4 * STEP, 2 * STEP, Metrics::default().connections());
        let mut one = unfinished.of(Some(network(1)));
        assert_eq!(one.grow_to(1), Ok(()));
        assert_eq!(one.grow_to(STEP), Ok(()), "within the first step");
        let mut other = unfinished.of(Some(network(1)));
        assert_eq!(other.grow_to(STEP + 1), Err(NoRoom), "beyond the address's share");
        assert_eq!(other.grow_to(STEP), Ok(()));
        let mut third = unfinished.of(Some(network(2)));
        assert_eq!(third.grow_to(2 * STEP), Ok(()));
        assert_eq!(unfinished.of(Some(network(3))).grow_to(1), Err(NoRoom), "beyond the total");
        assert_eq!(unfinished.of(None).grow_to(1), Err(NoRoom), "the total applies to clients without a share");
        drop(one);
        assert_eq!(unfinished.of(None).grow_to(STEP), Ok(()));
        drop((other, third));
        let held = unfinished.lock();
        assert_eq!((held.total, held.by_network.len()), (0, 0));
    }
}
