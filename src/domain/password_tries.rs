//! Slows down clients that guess passwords, and does not lock out the owner of an account.
//!
//! Each try counts as failed until it has succeeded. Parallel tries therefore gain nothing. Tries count for the account
//! and for the network of the client. A stranger who guesses makes every client of that account wait, the owner
//! included. Networks in which the owner has a live session therefore have counts of their own.

use sha2::{Digest as _, Sha256};

use super::App;
use super::error::Result;
use super::limits::limited;
use crate::address::{ClientAddress, ClientNetwork};
use crate::ids::UserId;
use crate::limiter::{Guard, Key};
use crate::store::sessions;

const TOO_MANY: &str = "There were too many wrong passwords. Wait before the next try.";

/// A try that counts as failed.
pub(super) struct PasswordTry<'a> {
    app: &'a App,
    account: Key,
    network: Option<Key>,
}

/// The account whose password is tried.
pub(super) enum Account<'a> {
    Known(UserId),
    /// No account has this name. Its tries count as well, so that clients cannot find out which accounts exist.
    Unknown(&'a str),
}

impl App {
    /// RATE_LIMITED where too many tries have failed.
    pub(super) async fn password_try(
        &self,
        account: Account<'_>,
        from: Option<ClientAddress>,
    ) -> Result<PasswordTry<'_>> {
        let network = from.map(ClientAddress::network);
        if let Some(network) = network {
            self.guard(Guard::Network, Key::Network(network)).await?;
        }
        let key = match account {
            Account::Known(user) => Key::User(user),
            Account::Unknown(name) => Key::Name(half_hash(name)),
        };
        let account = match (self.guard(Guard::Account, key).await, account, network) {
            (Ok(()), ..) => key,
            (Err(_), Account::Known(user), Some(network)) if self.is_at_home(user, network).await? => {
                let key = Key::UserFrom(user, network);
                self.guard(Guard::Account, key).await?;
                key
            }
            (Err(error), ..) => return Err(error),
        };
        Ok(PasswordTry { app: self, account, network: network.map(Key::Network) })
    }

    async fn guard(&self, guard: Guard, key: Key) -> Result<()> {
        self.limiter().attempt(guard, key).await.map_err(|exceeded| limited(exceeded, TOO_MANY))
    }

    /// Whether the user has a live session that was last used in this network.
    async fn is_at_home(&self, user: UserId, network: ClientNetwork) -> Result<bool> {
        let live = sessions::live_of(&mut *self.connection().await?, user, self.now()).await?;
        let networks = live.iter().filter_map(|session| {
            let address: std::net::IpAddr = session.ip_address.as_ref()?.parse().ok()?;
            Some(ClientAddress::from(address).network())
        });
        Ok(networks.into_iter().any(|own| own == network))
    }
}

impl PasswordTry<'_> {
    /// The password was right.
    pub(super) async fn passed(self) {
        let limiter = self.app.limiter();
        limiter.passed(Guard::Account, self.account).await;
        if let Some(network) = self.network {
            limiter.passed(Guard::Network, network).await;
        }
    }
}

fn half_hash(name: &str) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(name)[..16]);
    half
}
