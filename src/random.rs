//! The source of randomness, which is passed as a parameter to all code that needs it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng as _;
use rand::rngs::StdRng;

/// A cryptographically secure source of random bytes. Clones share the same source.
#[derive(Clone)]
pub struct Random(Arc<Mutex<StdRng>>);

impl Random {
    /// Creates a source that is seeded by the operating system.
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().fill_bytes(&mut bytes);
        bytes
    }

    /// Returns a random duration between half of `backoff` and `backoff`, so that the nodes of a cluster do not retry
    /// at the same time.
    pub fn jittered(&self, backoff: Duration) -> Duration {
        let [byte] = self.bytes::<1>();
        backoff / 2 + backoff / 2 * u32::from(byte) / u32::from(u8::MAX)
    }
}
