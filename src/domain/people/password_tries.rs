//! Slows down clients that guess passwords, without locking out the owner of the account.
//!
//! Each attempt counts as failed until it has succeeded, so parallel attempts give an attacker no advantage. Attempts
//! count for the account and for the network of the client. An attacker who guesses makes every client of that account
//! wait, including its owner. Each network in which the owner has a live session therefore has a separate count of
//! attempts for that account.

use sha2::{Digest as _, Sha256};

use super::core::PeopleCore;
use super::passwords::Comparison;
use crate::address::{ClientAddress, ClientNetwork};
use crate::domain::client::Client;
use crate::domain::error::Result;
use crate::domain::limits::limited;
use crate::ids::UserId;
use crate::limiter::{Guard, Key};
use crate::store::people::sessions;
use crate::store::people::users::User;

const TOO_MANY: &str = "There were too many wrong passwords.";

/// The account for which a client has sent a password.
#[derive(Clone, Copy)]
pub(in crate::domain) enum Account<'a> {
    Known(&'a User),
    /// A name that no account has. Attempts with this name count as well, so that clients cannot find out which
    /// accounts exist.
    Unknown(&'a str),
}

/// An attempt that counts as failed, with the keys of its counts.
struct PasswordTry {
    account: Key,
    network: Option<Key>,
}

impl PeopleCore {
    /// Compares the password with that of the account. Returns RATE_LIMITED if too many attempts have failed.
    pub(in crate::domain) async fn check_password(
        &self,
        account: Account<'_>,
        password: String,
        client: &Client,
    ) -> Result<Comparison> {
        let counted = self.count_try(account, client.network).await?;
        let hash = match account {
            Account::Known(user) => Some(user.password_hash.clone()),
            Account::Unknown(_) => None,
        };
        let comparison = self.passwords.verify(password, hash, client).await;
        match &comparison {
            Ok(Comparison::Wrong) => {}
            Ok(Comparison::Right | Comparison::RightByOldHash { .. }) => {
                self.base.limiter.reset(Guard::Account, counted.account).await;
                // Earlier failures of the network still count, because an attacker can also sign in to an account of
                // their own.
                self.undo_attempt(Guard::Network, counted.network).await;
            }
            // No password was compared, so the attempt does not count.
            Err(_) => {
                self.undo_attempt(Guard::Account, Some(counted.account)).await;
                self.undo_attempt(Guard::Network, counted.network).await;
            }
        }
        comparison
    }

    async fn count_try(&self, account: Account<'_>, network: Option<ClientNetwork>) -> Result<PasswordTry> {
        let Some(network) = network else {
            return Ok(PasswordTry { account: self.count_account(account).await?, network: None });
        };
        let counted = self.count_account_and_network(account, network).await;
        match (counted, account) {
            (Err(_), Account::Known(user)) if self.has_session_in(user.id, network).await? => {
                let account = Key::UserFrom(user.id, network);
                self.guard(Guard::Account, account).await?;
                Ok(PasswordTry { account, network: None })
            }
            (counted, _) => counted,
        }
    }

    async fn count_account_and_network(&self, account: Account<'_>, network: ClientNetwork) -> Result<PasswordTry> {
        let network = Key::Network(network);
        self.guard(Guard::Network, network).await?;
        match self.count_account(account).await {
            Ok(account) => Ok(PasswordTry { account, network: Some(network) }),
            Err(error) => {
                // No password is compared, so the attempt does not count for the network.
                self.undo_attempt(Guard::Network, Some(network)).await;
                Err(error)
            }
        }
    }

    async fn count_account(&self, account: Account<'_>) -> Result<Key> {
        let key = match account {
            Account::Known(user) => Key::User(user.id),
            Account::Unknown(name) => Key::Name(name_key(name)),
        };
        self.guard(Guard::Account, key).await?;
        Ok(key)
    }

    async fn guard(&self, guard: Guard, key: Key) -> Result<()> {
        self.base.limiter.attempt(guard, key).await.map_err(|exceeded| limited(exceeded, TOO_MANY))
    }

    async fn undo_attempt(&self, guard: Guard, key: Option<Key>) {
        if let Some(key) = key {
            self.base.limiter.undo_attempt(guard, key).await;
        }
    }

    /// Returns whether the user has a live session that was last used in this network.
    async fn has_session_in(&self, user: UserId, network: ClientNetwork) -> Result<bool> {
        let live = sessions::live_of(&mut *self.base.connection().await?, user, self.base.now()).await?;
        let mut networks = live.iter().filter_map(|session| {
            let address: std::net::IpAddr = session.ip_address.as_ref()?.parse().ok()?;
            Some(ClientAddress::from(address).network())
        });
        Ok(networks.any(|own| own == network))
    }
}

fn name_key(name: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(name)[..16]);
    key
}
