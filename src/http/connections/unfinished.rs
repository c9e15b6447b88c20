//! The memory of unfinished request bodies and WebSocket messages.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::address::ClientNetwork;
use crate::metrics::ConnectionMetrics;

/// A reservation grows in multiples of this number of bytes, so that a body that arrives in many small chunks rarely
/// locks.
const STEP: usize = 16 * 1024;

/// Counts the bytes that are reserved for unfinished bodies and messages, in total and by address. Cheap to clone.
#[derive(Clone)]
pub(in crate::http) struct Unfinished(Arc<Inner>);

struct Inner {
    reserved: Mutex<Reserved>,
    max: usize,
    max_per_address: usize,
    metrics: ConnectionMetrics,
}

#[derive(Default)]
struct Reserved {
    total: usize,
    by_network: HashMap<ClientNetwork, usize>,
}

/// Error: no more bytes can be reserved without exceeding the limit of the node or of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct OutOfMemory;

/// The bytes that are reserved for one body or message, until the reservation is dropped.
pub(in crate::http) struct Reservation {
    unfinished: Unfinished,
    /// The network whose share the bytes count against. None for a client to which the limits by address do not apply.
    network: Option<ClientNetwork>,
    bytes: usize,
}

impl Unfinished {
    pub(super) fn new(max: usize, max_per_address: usize, metrics: ConnectionMetrics) -> Self {
        Self(Arc::new(Inner { reserved: Mutex::default(), max, max_per_address, metrics }))
    }

    /// Returns an empty reservation.
    pub(in crate::http) fn reservation(&self, network: Option<ClientNetwork>) -> Reservation {
        Reservation { unfinished: self.clone(), network, bytes: 0 }
    }
}

impl Reservation {
    /// Grows the reservation to at least `bytes` in total. On an error, the reservation stays as it was.
    pub(in crate::http) fn grow_to(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let more = (bytes - self.bytes).next_multiple_of(STEP);
        let inner = &self.unfinished.0;
        let mut reserved = self.unfinished.0.reserved.lock();
        let total = reserved.total + more;
        let mut fits = total <= inner.max;
        if let Some(network) = self.network.filter(|_| fits) {
            let share = reserved.by_network.get(&network).copied().unwrap_or_default() + more;
            fits = share <= inner.max_per_address;
            if fits {
                reserved.by_network.insert(network, share);
            }
        }
        if !fits {
            inner.metrics.unfinished_refused();
            return Err(OutOfMemory);
        }
        reserved.total = total;
        inner.metrics.unfinished_bytes(total);
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut reserved = self.unfinished.0.reserved.lock();
        reserved.total -= self.bytes;
        self.unfinished.0.metrics.unfinished_bytes(reserved.total);
        let Some(network) = self.network else { return };
        if let Some(share) = reserved.by_network.get_mut(&network) {
            *share -= self.bytes;
            if *share == 0 {
                reserved.by_network.remove(&network);
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
        let mut one = unfinished.reservation(Some(network(1)));
        assert_eq!(one.grow_to(1), Ok(()));
        assert_eq!(one.grow_to(STEP), Ok(()), "within the first step");
        let mut other = unfinished.reservation(Some(network(1)));
        assert_eq!(other.grow_to(STEP + 1), Err(OutOfMemory), "beyond the address's share");
        assert_eq!(other.grow_to(STEP), Ok(()));
        let mut third = unfinished.reservation(Some(network(2)));
        assert_eq!(third.grow_to(2 * STEP), Ok(()));
        assert_eq!(unfinished.reservation(Some(network(3))).grow_to(1), Err(OutOfMemory), "beyond the total");
        assert_eq!(
            unfinished.reservation(None).grow_to(1),
            Err(OutOfMemory),
            "the total applies to clients without a share"
        );
        drop(one);
        assert_eq!(unfinished.reservation(None).grow_to(STEP), Ok(()));
        drop((other, third));
        let reserved = unfinished.0.reserved.lock();
        assert_eq!((reserved.total, reserved.by_network.len()), (0, 0));
    }
}
