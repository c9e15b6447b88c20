//! Limits the number of pushes that are sent at the same time, for the node and for each push service, so that a slow
//! service does not delay the pushes to the others. A push that is being sent has a place.
//!
//! Clients name the hosts, so there can be many slow ones. All hosts that are not known to answer promptly share a part
//! of the places.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::{PUSH_CONCURRENCY, PUSH_CONCURRENCY_PER_HOST};

/// Push services that the operator has configured. All users of a transport share one.
const VENDORS: [&str; 2] = ["fcm", "apns"];
/// Maximum number of pushes to one of `VENDORS` at the same time. If both are slow, PUSH_CONCURRENCY_PER_HOST places
/// are left for the other services.
const PER_VENDOR: usize = (PUSH_CONCURRENCY - PUSH_CONCURRENCY_PER_HOST) / VENDORS.len();

/// Maximum number of pushes at the same time to all hosts that are not proven.
const UNPROVEN: usize = PUSH_CONCURRENCY / 2;
/// A host is proven if the last push to it has ended within this time.
const PROMPT: Duration = Duration::from_secs(2);
/// Maximum number of proven hosts that are remembered.
const MAX_PROVEN: usize = 256;

/// The pushes that are being sent.
#[derive(Default)]
pub(super) struct Places(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The number of pushes that are being sent to each service. No number is 0.
    taken: HashMap<String, usize>,
    proven: HashSet<String>,
}

/// The place of one push. Dropping it frees the place.
pub(super) struct Place {
    state: Arc<Mutex<State>>,
    service: String,
    taken_at: Instant,
}

/// The free places at one moment.
pub(super) struct Free {
    pub(super) total: usize,
    /// Free places of all hosts together that are not proven.
    pub(super) unproven: usize,
    /// The vendors, the hosts to which pushes are being sent, and the proven hosts. Each other host is not proven and
    /// has PUSH_CONCURRENCY_PER_HOST free places.
    pub(super) services: Vec<Service>,
}

pub(super) struct Service {
    pub(super) name: String,
    pub(super) free: usize,
    /// Whether it is known to answer promptly. The vendors always are, because they have few places.
    pub(super) is_proven: bool,
}

impl Places {
    pub(super) fn free(&self) -> Free {
        let state = self.0.lock();
        let names: HashSet<_> = state.taken.keys().chain(&state.proven).map(String::as_str).chain(VENDORS).collect();
        let services = names.into_iter().map(|name| {
            let most = if VENDORS.contains(&name) { PER_VENDOR } else { PUSH_CONCURRENCY_PER_HOST };
            let free = most.saturating_sub(state.taken.get(name).copied().unwrap_or_default());
            Service { name: name.to_owned(), free, is_proven: state.is_proven(name) }
        });
        let services = services.collect();
        let unproven: usize =
            state.taken.iter().filter(|(name, _)| !state.is_proven(name)).map(|(_, count)| *count).sum();
        Free {
            total: PUSH_CONCURRENCY.saturating_sub(state.taken.values().sum()),
            unproven: UNPROVEN.saturating_sub(unproven),
            services,
        }
    }

    /// Takes a place for a push to the service. The caller must check before that one is free.
    pub(super) fn take(&self, service: &str) -> Place {
        *self.0.lock().taken.entry(service.to_owned()).or_default() += 1;
        Place { state: Arc::clone(&self.0), service: service.to_owned(), taken_at: Instant::now() }
    }
}

impl State {
    fn is_proven(&self, service: &str) -> bool {
        VENDORS.contains(&service) || self.proven.contains(service)
    }

    /// Frees a place of the service. `is_prompt` says whether the push has ended within `PROMPT`.
    fn release(&mut self, service: String, is_prompt: bool) {
        if let Entry::Occupied(mut count) = self.taken.entry(service.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if !is_prompt {
            self.proven.remove(&service);
        } else if !self.is_proven(&service) {
            // Any other host can be forgotten: it is proven again by its next push.
            let forgotten = self.proven.iter().next().filter(|_| self.proven.len() >= MAX_PROVEN).cloned();
            if let Some(forgotten) = forgotten {
                self.proven.remove(&forgotten);
            }
            self.proven.insert(service);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let is_prompt = self.taken_at.elapsed() <= PROMPT;
        self.state.lock().release(mem::take(&mut self.service), is_prompt);
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
        assert_eq!(free.unproven, UNPROVEN - PUSH_CONCURRENCY_PER_HOST);
        let by_name: HashMap<_, _> =
            free.services.into_iter().map(|service| (service.name, (service.free, service.is_proven))).collect();
        let expected = ((0, false), (PER_VENDOR - 1, true), (PER_VENDOR, true));
        assert_eq!((by_name["slow.example"], by_name["fcm"], by_name["apns"]), expected);
        slow.pop();
        assert_eq!(places.free().total, PUSH_CONCURRENCY - PUSH_CONCURRENCY_PER_HOST);
        drop(slow);
        assert_eq!(places.0.lock().taken.len(), 1, "a service without pushes has no number");
    }

    #[test]
    fn a_host_is_proven_while_its_last_push_was_prompt() {
        let places = Places::default();
        let is_proven = || places.0.lock().is_proven("push.example");
        drop(places.take("push.example"));
        assert!(is_proven());
        let _place = places.take("push.example");
        assert_eq!(places.free().unproven, UNPROVEN);
        places.0.lock().release("push.example".to_owned(), false);
        assert!(!is_proven());
        for number in 0..2 * MAX_PROVEN {
            drop(places.take(&format!("host{number}.example")));
        }
        assert_eq!(places.0.lock().proven.len(), MAX_PROVEN);
    }
}
