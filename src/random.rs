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

    /// Returns a random number below `bound`. All numbers are equally likely. Returns 0 if `bound` is 0.
    pub fn below(&self, bound: u32) -> u32 {
        // Numbers above the largest multiple of `bound` would make small results more likely.
        let Some(rest) = u32::MAX.checked_rem(bound) else { return 0 };
        loop {
            let number = u32::from_be_bytes(self.bytes());
            if number < u32::MAX - rest {
                return number % bound;
            }
        }
    }

    /// Returns a random duration between half of `backoff` and `backoff`, so that the nodes of a cluster do not retry
    /// at the same time.
    pub fn jittered(&self, backoff: Duration) -> Duration {
        let [byte] = self.bytes::<1>();
        backoff / 2 + backoff / 2 * u32::from(byte) / u32::from(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn numbers_below_a_bound_are_equally_likely() {
        const NUMBERS: u32 = 60_000;
        let random = Random::system();
        let mut counts = [0_u32; 6];
        for _ in 0..NUMBERS {
            counts[random.below(6) as usize] += 1;
        }
        // The standard deviation of each count is 91.
        assert!(counts.iter().all(|count| count.abs_diff(NUMBERS / 6) < 1000), "{counts:?}");
        assert_eq!((random.below(1), random.below(0)), (0, 0));
    }
}
