//! A broker that holds back what is published until a step says what becomes of it.

use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use parlance::log::{Broker, Event, Incoming, Publication};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// More than a case publishes.
const QUEUE: usize = 4096;

#[derive(Default)]
pub struct HeldBroker {
    subscribers: Mutex<Vec<Subscriber>>,
}

struct Subscriber {
    sender: mpsc::Sender<Incoming>,
    held: Vec<Event>,
}

impl HeldBroker {
    /// The number of the next subscriber.
    pub fn next_subscriber(&self) -> usize {
        self.with(|subscribers| subscribers.len())
    }

    /// Takes `count` events from `place` on out of what is held, for whatever becomes of them. Kept ones can be taken
    /// again.
    pub fn take(&self, subscriber: usize, place: usize, count: usize, kept: bool) -> Vec<Event> {
        self.with(|subscribers| {
            let held = &mut subscribers[subscriber].held;
            if held.is_empty() {
                return Vec::new();
            }
            let first = place % held.len();
            let range = first..(first + count).min(held.len());
            if kept { held[range].to_vec() } else { held.drain(range).collect() }
        })
    }

    pub fn send(&self, subscriber: usize, incoming: Incoming) {
        // It fails where the node is gone.
        self.with(|subscribers| drop(subscribers[subscriber].sender.try_send(incoming)));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<Subscriber>) -> T) -> T {
        work(&mut self.subscribers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Broker for HeldBroker {
    fn publish<'a>(&'a self, publication: &'a Publication) -> BoxFuture<'a, parlance::error::Result<()>> {
        self.with(|subscribers| {
            for subscriber in subscribers {
                subscriber.held.extend(&publication.events);
            }
        });
        Box::pin(async { Ok(()) })
    }

    fn subscribe(&self, _: CancellationToken) -> mpsc::Receiver<Incoming> {
        let (sender, incoming) = mpsc::channel(QUEUE);
        self.with(|subscribers| subscribers.push(Subscriber { sender, held: Vec::new() }));
        incoming
    }
}
