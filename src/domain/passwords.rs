//! Password hashes: Argon2id on a bounded pool of threads.
//!
//! RFC 9106 describes Argon2; the floor of the parameters is that of OWASP's Password Storage Cheat Sheet.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::{Error, Result};
use crate::config::Auth;
use crate::error::Error as Internal;
use crate::random::Random;

/// Hashes and verifies passwords, a few at a time: each takes tens of MiB and a processor.
pub struct Passwords {
    argon2: Argon2<'static>,
    random: Random,
    threads: Arc<Semaphore>,
    /// Those that hash and those that wait.
    places: Semaphore,
    /// Verified in place of the hash that an unknown account has not got.
    decoy: String,
}

impl Passwords {
    pub async fn new(settings: &Auth, random: Random) -> Result<Self, Internal> {
        let params = Params::new(settings.password_memory_kib, settings.password_passes, 1, None)
            .map_err(|error| Internal::PasswordHash(error.to_string()))?;
        let mut passwords = Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            threads: Arc::new(Semaphore::new(settings.password_threads)),
            places: Semaphore::new(settings.password_threads + settings.password_queue),
            decoy: String::new(),
            random,
        };
        let unknowable = passwords.random.bytes::<32>().map(|byte| char::from(b'a' + byte % 26));
        passwords.decoy = passwords.hash(unknowable.into_iter().collect()).await.map_err(|error| match error {
            Error::Internal(error) => error,
            other => Internal::PasswordHash(format!("{other:?}")),
        })?;
        Ok(passwords)
    }

    /// The hash as a PHC string.
    pub async fn hash(&self, password: String) -> Result<String> {
        let (argon2, salt) = (self.argon2.clone(), self.random.bytes::<16>());
        self.run(move || {
            let hash = argon2.hash_password_with_salt(password.as_bytes(), &salt);
            hash.map(|hash| hash.to_string()).map_err(|error| Internal::PasswordHash(error.to_string()))
        })
        .await
    }

    /// Whether the password is the one that was hashed. Without a hash the same time is spent, and it is not.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        let argon2 = self.argon2.clone();
        let matches = self
            .run(move || {
                let hash = PasswordHash::new(&hash).map_err(|error| Internal::PasswordHash(error.to_string()))?;
                Ok(argon2.verify_password(password.as_bytes(), &hash).is_ok())
            })
            .await?;
        Ok(matches && known)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, Internal> + Send + 'static) -> Result<T> {
        let _place: SemaphorePermit<'_> =
            self.places.try_acquire().map_err(|_| Error::Overloaded("Too many are signing in just now."))?;
        let closed = |error: tokio::sync::AcquireError| Internal::PasswordHash(error.to_string());
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(closed)?;
        let result = tokio::task::spawn_blocking(move || {
            // Held by the thread itself: a caller who goes away frees no place that is still in use.
            let _thread = thread;
            work()
        });
        result.await.map_err(|error| Internal::PasswordHash(error.to_string()))?.map_err(Error::from)
    }
}
