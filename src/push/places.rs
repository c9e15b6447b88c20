//! Limits the pushes that are sent to one origin at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::PUSH_CONCURRENCY_PER_HOST;

/// Maximum time that a push waits for a place. Together with SEND_TIMEOUT it is shorter than the time for which a node
/// keeps a delivery for itself.
const WAIT: Duration = Duration::from_secs(5);
/// Number of origins after which those without pushes are removed.
const ORIGINS: usize = 1024;

/// The places of all origins.
#[derive(Default)]
pub(super) struct Places(Mutex<HashMap<String, Weak<Semaphore>>>);

impl Places {
    /// Waits for a place. Returns None if there was none in time.
    pub(super) async fn take(&self, origin: &str) -> Option<OwnedSemaphorePermit> {
        let taken = timeout(WAIT, self.of(origin).acquire_owned()).await;
        taken.ok()?.ok()
    }

    fn of(&self, origin: &str) -> Arc<Semaphore> {
        let mut origins = self.0.lock();
        if let Some(places) = origins.get(origin).and_then(Weak::upgrade) {
            return places;
        }
        if origins.len() >= ORIGINS {
            origins.retain(|_, places| places.strong_count() > 0);
        }
        let places = Arc::new(Semaphore::new(PUSH_CONCURRENCY_PER_HOST));
        origins.insert(origin.to_owned(), Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_origin_does_not_delay_another() {
        let places = Places::default();
        let mut taken = Vec::new();
        for _ in 0..PUSH_CONCURRENCY_PER_HOST {
            taken.push(places.take("https://slow.example").await.unwrap());
        }
        let waiting = timeout(Duration::from_millis(20), places.take("https://slow.example")).await;
        assert!(waiting.is_err(), "no place is free");
        assert!(places.take("https://other.example").await.is_some());
        taken.pop();
        assert!(places.take("https://slow.example").await.is_some());
    }

    #[tokio::test]
    async fn origins_without_pushes_are_forgotten() {
        let places = Places::default();
        let kept = places.take("https://kept.example").await;
        for number in 0..3 * ORIGINS {
            assert!(places.take(&format!("https://{number}.example")).await.is_some());
        }
        assert!(places.0.lock().len() <= ORIGINS);
        assert_eq!(places.of("https://kept.example").available_permits(), PUSH_CONCURRENCY_PER_HOST - 1);
        drop(kept);
    }
}
