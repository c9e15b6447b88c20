//! Randomness, handed to whoever needs it.

use std::sync::{Arc, Mutex, PoisonError};

use rand::Rng as _;
use rand::rngs::StdRng;

/// A cryptographically secure source of random bytes, shared by the whole server.
#[derive(Clone)]
pub struct Random(Arc<Mutex<StdRng>>);

impl Random {
    /// Seeded by the operating system.
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        bytes
    }
}
