//! Brokers for tests, beside the two that ship.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use parlance::log::{Broker, Incoming, Publication};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub fn redis_url() -> String {
    std::env::var("TEST_REDIS_URL").expect("TEST_REDIS_URL: run the tests with `make test`")
}

/// Loses every `one_in`th publication on purpose.
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
