//! Passwords: their strength, and their hashes by Argon2id. Both run on a bounded pool of threads that serves the
//! addresses of clients in turn.
//!
//! RFC 9106 describes Argon2; the lower bounds of the parameters are those of OWASP's Password Storage Cheat Sheet.

use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};

use crate::address::ClientNetwork;
use crate::config::Auth;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::validate::is_hard_to_guess;
use crate::error::Error as Internal;
use crate::fair::{Bounds, Permit, Pool, Refusal};
use crate::random::Random;

/// Time until a retry makes sense for an address that has used up its share. The default pool finishes about 20 jobs in
/// that time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Estimates, hashes and verifies passwords, a few at a time: each job takes tens of MiB and a processor.
pub struct Passwords {
    argon2: Argon2<'static>,
    random: Random,
    pool: Pool<ClientNetwork>,
    /// Hash to verify if the account does not exist, so that the answer takes as long as for an existing one.
    dummy_hash: String,
}

/// A new password and the words that an attacker tries first.
pub(in crate::domain) struct NewPassword {
    pub password: String,
    /// Field of the input that holds the password.
    pub path: &'static str,
    pub known_words: Vec<String>,
}

impl Passwords {
    pub async fn new(settings: &Auth, random: Random) -> Result<Self, Internal> {
        let params = Params::new(settings.password_memory_kib, settings.password_passes, 1, None)
            .map_err(|error| Internal::PasswordHash(error.to_string()))?;
        let mut passwords = Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            pool: Pool::new(Bounds {
                workers: settings.password_threads,
                queue: settings.password_queue,
                share: settings.password_queue_share,
            }),
            dummy_hash: String::new(),
            random,
        };
        let random_password = passwords.random.bytes::<32>().map(|byte| char::from(b'a' + byte % 26));
        let dummy_hash = passwords.hash(random_password.into_iter().collect(), &Client::default()).await;
        passwords.dummy_hash = dummy_hash.map_err(|error| match error {
            Error::Internal(error) => error,
            other => Internal::PasswordHash(format!("{other:?}")),
        })?;
        Ok(passwords)
    }

    /// The hash as a PHC string.
    pub async fn hash(&self, password: String, client: &Client) -> Result<String> {
        let hasher = self.hasher();
        self.run(client, move || Ok(hasher(&password)?)).await
    }

    /// The hash of a password whose length has been checked. Returns BAD_USER_INPUT if the password is easy to guess.
    pub(in crate::domain) async fn hash_new(&self, new_password: NewPassword, client: &Client) -> Result<String> {
        let (hasher, gone) = (self.hasher(), client.gone.clone());
        self.run(client, move || {
            let NewPassword { password, path, known_words } = new_password;
            if !is_hard_to_guess(&password, &known_words.iter().map(String::as_str).collect::<Vec<_>>()) {
                let message = "This password is too easy to guess. A few uncommon words make a good one.";
                return Err(Error::invalid(path, message));
            }
            if gone.is_gone() { Err(CLIENT_DISCONNECTED) } else { Ok(hasher(&password)?) }
        })
        .await
    }

    /// Compares the password with its hash. Without a hash, it takes as long and returns false.
    pub async fn verify(&self, password: String, hash: Option<String>, client: &Client) -> Result<bool> {
        let has_hash = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy_hash.clone());
        let argon2 = self.argon2.clone();
        let matches = self
            .run(client, move || {
                let hash = PasswordHash::new(&hash).map_err(|error| Internal::PasswordHash(error.to_string()))?;
                Ok(argon2.verify_password(password.as_bytes(), &hash).is_ok())
            })
            .await?;
        Ok(matches && has_hash)
    }

    /// Numbers of running and of waiting jobs.
    pub(in crate::domain) fn load(&self) -> (usize, usize) {
        self.pool.load()
    }

    fn hasher(&self) -> impl FnOnce(&str) -> Result<String, Internal> + Send + use<> {
        let (argon2, salt) = (self.argon2.clone(), self.random.bytes::<16>());
        move |password| {
            let hash = argon2.hash_password_with_salt(password.as_bytes(), &salt);
            hash.map(|hash| hash.to_string()).map_err(|error| Internal::PasswordHash(error.to_string()))
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        client: &Client,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self.pool.permit(client.network, &client.gone).await.map_err(refused)?;
        let result = tokio::task::spawn_blocking(move || {
            // The thread holds the permit: a client that disconnects frees no permit that is in use.
            let _permit: Permit<ClientNetwork> = permit;
            work()
        });
        result.await.map_err(|error| Internal::PasswordHash(error.to_string()))?
    }
}

/// No client gets this error, because the client has disconnected.
const CLIENT_DISCONNECTED: Error = Error::Overloaded("The client disconnected before the password was checked.");

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::QueueFull => Error::Overloaded("Too many users are signing in. Try again in a moment."),
        Refusal::ShareFull => Error::RateLimited(
            "PASSWORD_QUEUE_SHARE",
            RETRY_AFTER,
            "Too many of your passwords wait to be checked. Try again in a moment.",
        ),
        Refusal::Gone => CLIENT_DISCONNECTED,
    }
}
