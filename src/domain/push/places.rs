//! Limits the number of pushes that are sent at the same time, for the node and for each push service, so that a slow
//! service does not delay the pushes to the others. A push that is being sent has a place.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::{PUSH_CONCURRENCY, PUSH_CONCURRENCY_PER_HOST};

/// Push services that the operator has configured. All users of a transport share one.
const VENDORS: [&str; 2] = ["fcm", "apns"];
/// Maximum number of pushes to one of `VENDORS` at the same time. If both are slow, PUSH_CONCURRENCY_PER_HOST places
/// are left for the other services.
const PER_VENDOR: usize = (PUSH_CONCURRENCY - PUSH_CONCURRENCY_PER_HOST) / VENDORS.len();

/// The number of pushes that are being sent to each service. No number is 0.
#[derive(Default)]
pub(super) struct Places(Arc<Mutex<HashMap<String, usize>>>);

/// The place of one push. Dropping it frees the place.
pub(super) struct Place {
    taken: Arc<Mutex<HashMap<String, usize>>>,
    service: String,
}

/// The free places at one moment.
pub(super) struct Free {
    pub(super) total: usize,
    /// Free places of the vendors, and of the hosts to which pushes are being sent. Each other host has
    /// PUSH_CONCURRENCY_PER_HOST.
    pub(super) by_service: Vec<(String, usize)>,
}

impl Places {
    pub(super) fn free(&self) -> Free {
        let taken = self.0.lock();
        let hosts = taken.keys().map(String::as_str).filter(|service| !VENDORS.contains(service));
        let by_service = hosts.chain(VENDORS).map(|service| {
            let most = if VENDORS.contains(&service) { PER_VENDOR } else { PUSH_CONCURRENCY_PER_HOST };
            (service.to_owned(), most.saturating_sub(taken.get(service).copied().unwrap_or_default()))
        });
        Free { total: PUSH_CONCURRENCY.saturating_sub(taken.values().sum()), by_service: by_service.collect() }
    }

    /// Takes a place for a push to the service. The caller must check before that one is free.
    pub(super) fn take(&self, service: &str) -> Place {
        *self.0.lock().entry(service.to_owned()).or_default() += 1;
        Place { taken: Arc::clone(&self.0), service: service.to_owned() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        if let Entry::Occupied(mut count) = taken.entry(std::mem::take(&mut self.service)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_service_leaves_places_to_the_others() {
        let places = Places::default();
        let mut slow: Vec<_> = (0..PUSH_CONCURRENCY_PER_HOST).map(|_| places.take("slow.example")).collect();
        let _other = places.take("fcm");
        let free = places.free();
        assert_eq!(free.total, PUSH_CONCURRENCY - PUSH_CONCURRENCY_PER_HOST - 1);
        let by_service: HashMap<_, _> = free.by_service.into_iter().collect();
        let expected = (0, PER_VENDOR - 1, PER_VENDOR);
        assert_eq!((by_service["slow.example"], by_service["fcm"], by_service["apns"]), expected);
        slow.pop();
        assert_eq!(places.free().total, PUSH_CONCURRENCY - PUSH_CONCURRENCY_PER_HOST);
        drop(slow);
        assert_eq!(places.0.lock().len(), 1, "a service without pushes is forgotten");
    }
}
