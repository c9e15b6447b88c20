//! A broker that holds published events back until a step of the test delivers or drops them.

use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use parlance::log::{Broker, Event, Incoming, Publication};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Capacity of the channel of a subscriber. Larger than the number of publications in a case.
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
    /// Returns the number that the next subscriber will get.
    pub fn next_subscriber(&self) -> usize {
        self.with(|subscribers| subscribers.len())
    }

    /// Returns up to `count` held events, beginning at the index `place` modulo the number of held events. Removes the
    /// returned events unless `kept` is set.
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
        // The error is ignored, because it only means that the node has stopped.
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
