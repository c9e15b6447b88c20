//! Brokers that wrap another broker and inject faults.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use parlance::log::{Broker, Event, Incoming, Publication};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub fn redis_url() -> String {
    std::env::var("TEST_REDIS_URL").expect("TEST_REDIS_URL: run the tests with `make test`")
}

/// A broker that drops every `one_in`th published event.
pub struct DroppingBroker {
    pub inner: Arc<dyn Broker>,
    pub one_in: usize,
    pub published: AtomicUsize,
}

impl DroppingBroker {
    pub fn new(inner: Arc<dyn Broker>, one_in: usize) -> Self {
        Self { inner, one_in, published: AtomicUsize::new(0) }
    }
}

impl Broker for DroppingBroker {
    fn publish<'a>(&'a self, publication: &'a Publication) -> BoxFuture<'a, parlance::error::Result<()>> {
        let mut publication = publication.clone();
        publication.events.retain(|_| !(self.published.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(self.one_in));
        Box::pin(async move { self.inner.publish(&publication).await })
    }

    fn subscribe(&self, stop: CancellationToken) -> mpsc::Receiver<Incoming> {
        self.inner.subscribe(stop)
    }
}

/// A broker that drops, duplicates and delays events at random. The seed determines the faults. A delayed event is
/// published after the events of the next publication.
pub struct FaultyBroker {
    inner: Arc<dyn Broker>,
    state: Mutex<Faults>,
}

struct Faults {
    chance: StdRng,
    late: Vec<Event>,
    lost: usize,
    doubled: usize,
    held_back: usize,
}

impl FaultyBroker {
    pub fn new(inner: Arc<dyn Broker>, seed: u64) -> Self {
        let chance = StdRng::seed_from_u64(seed);
        let faults = Faults { chance, late: Vec::new(), lost: 0, doubled: 0, held_back: 0 };
        Self { inner, state: Mutex::new(faults) }
    }

    /// Returns the number of dropped, duplicated or delayed events, whichever is smallest.
    pub fn faults(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.lost.min(state.doubled).min(state.held_back)
    }

    /// Applies faults to a publication. Returns the events to publish first, then the events that were delayed before.
    fn disturb(&self, events: &[Event]) -> [Vec<Event>; 2] {
        let mut state = self.state.lock().unwrap();
        let mut late = std::mem::take(&mut state.late);
        late.reverse();
        let mut now = Vec::new();
        for &event in events {
            match state.chance.next_u32() % 8 {
                0 | 1 => state.lost += 1,
                2 => {
                    state.doubled += 1;
                    now.extend([event, event]);
                }
                3 | 4 => {
                    state.held_back += 1;
                    state.late.push(event);
                }
                _ => now.push(event),
            }
        }
        [now, late]
    }
}

impl Broker for FaultyBroker {
    fn publish<'a>(&'a self, publication: &'a Publication) -> BoxFuture<'a, parlance::error::Result<()>> {
        let parts = self.disturb(&publication.events);
        Box::pin(async move {
            for events in parts {
                self.inner.publish(&Publication { events, ..publication.clone() }).await?;
            }
            Ok(())
        })
    }

    fn subscribe(&self, stop: CancellationToken) -> mpsc::Receiver<Incoming> {
        self.inner.subscribe(stop)
    }
}
