//! Passwords: estimates of their strength, and their hashes by Argon2id. Both are computed on a bounded pool of
//! threads, which serves the networks of clients in turn.
//!
//! RFC 9106 describes Argon2; the lower bounds of the parameters are those of OWASP's Password Storage Cheat Sheet.

use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};

use super::common_passwords::is_common;
use crate::address::ClientNetwork;
use crate::config::Auth;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::text;
use crate::domain::validate::is_hard_to_guess;
use crate::error::Error as Internal;
use crate::fair::{Bounds, Permit, Pool, Refusal};
use crate::random::Random;

/// Time after which a client should retry if its network has used up its share of the queue. The pool with default
/// settings finishes about 20 jobs in that time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Estimates the strength of passwords, hashes passwords and verifies them. Runs only a few jobs at a time, because
/// each job needs tens of MiB of memory and a processor.
pub struct Passwords {
    argon2: Argon2<'static>,
    random: Random,
    pool: Pool<ClientNetwork>,
    /// Hash that is verified if the account does not exist, so that the response takes as long as for an existing
    /// account.
    dummy_hash: String,
}

/// A new password and the words that an attacker would guess first.
pub(in crate::domain) struct NewPassword {
    pub password: String,
    /// Field of the input that holds the password.
    pub path: &'static str,
    pub known_words: Vec<String>,
}

/// Result of comparing a password with a hash.
pub(in crate::domain) enum Comparison {
    Wrong,
    Right,
    /// The password is right, and its hash has other parameters than the settings, or is from a time before passwords
    /// were converted by `text::opaque`. `renewed` is a hash of the converted password, with the parameters of the
    /// settings.
    RightByOldHash {
        renewed: String,
    },
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

    /// Hashes a password in the form of `text::opaque`. Returns the hash as a PHC string.
    pub async fn hash(&self, password: String, client: &Client) -> Result<String> {
        let hasher = self.hasher();
        self.run(client, move || Ok(hasher(&text::opaque(&password))?)).await
    }

    /// Hashes a new password that `Check::password` has returned. Returns BAD_USER_INPUT if the password is easy to
    /// guess.
    pub(in crate::domain) async fn hash_new(&self, new_password: NewPassword, client: &Client) -> Result<String> {
        let (hasher, gone) = (self.hasher(), client.gone.clone());
        self.run(client, move || {
            let NewPassword { password, path, known_words } = new_password;
            let known_words: Vec<&str> = known_words.iter().map(String::as_str).collect();
            if is_common(&password) || !is_hard_to_guess(&password, &known_words) {
                let message = "This password is too easy to guess. A few uncommon words make a good one.";
                return Err(Error::invalid(path, message));
            }
            if gone.is_gone() { Err(CLIENT_DISCONNECTED) } else { Ok(hasher(&password)?) }
        })
        .await
    }

    /// Compares the password with the hash. If `hash` is None, takes the same time and returns `Wrong`.
    ///
    /// Compares each form in which the password may have been hashed. Almost all passwords have one form. The number of
    /// forms depends on the password alone, so that the time of a wrong password reveals nothing about the account.
    ///
    /// A comparison with a hash that has other parameters takes another time than one with the dummy hash. So after a
    /// change of the settings, the time can reveal accounts whose owners have not signed in since.
    pub(in crate::domain) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
        client: &Client,
    ) -> Result<Comparison> {
        let has_hash = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy_hash.clone());
        let (argon2, hasher) = (self.argon2.clone(), self.hasher());
        self.run(client, move || {
            let hash = PasswordHash::new(&hash).map_err(|error| Internal::PasswordHash(error.to_string()))?;
            let forms = text::hashed_forms(password);
            let matching = forms.iter().position(|form| argon2.verify_password(form.as_bytes(), &hash).is_ok());
            Ok(match matching {
                Some(0) if has_hash && has_parameters_of(&argon2, &hash) => Comparison::Right,
                Some(_) if has_hash => Comparison::RightByOldHash { renewed: hasher(&forms[0])? },
                _ => Comparison::Wrong,
            })
        })
        .await
    }

    /// Returns the number of running jobs and the number of waiting jobs.
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
            // The thread holds the permit, so that a client that disconnects does not release the permit of a running
            // job.
            let _permit: Permit<ClientNetwork> = permit;
            work()
        });
        result.await.map_err(|error| Internal::PasswordHash(error.to_string()))?
    }
}

/// Returns whether the hash was computed with the algorithm, version and parameters of `argon2`.
fn has_parameters_of(argon2: &Argon2<'_>, hash: &PasswordHash) -> bool {
    let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    hash.algorithm == Algorithm::Argon2id.ident()
        && hash.version == Some(Version::V0x13.into())
        && Params::try_from(hash).is_ok_and(|params| costs(&params) == costs(argon2.params()))
}

/// Error for a client that has disconnected. The client does not receive the error.
const CLIENT_DISCONNECTED: Error =
    Error::Overloaded("The client disconnected before the password was checked. Try again.");

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::QueueFull => Error::Overloaded("Too many users are signing in. Try again in a moment."),
        Refusal::ShareFull => {
            Error::RateLimited("PASSWORD_QUEUE_SHARE", RETRY_AFTER, "Too many of your passwords wait to be checked.")
        }
        Refusal::Gone => CLIENT_DISCONNECTED,
    }
}
