//! Slows down clients that guess passwords or codes, without locking out the owner of the account.
//!
//! Each attempt counts as failed until it has succeeded, so parallel attempts give an attacker no advantage. Attempts
//! count for the account and for the network of the client. An attacker who guesses makes every client of that account
//! wait, including its owner. Each network in which the owner has a live session therefore has a separate count of
//! attempts for that account.

use sha2::{Digest as _, Sha256};

use super::core::PeopleCore;
use crate::address::{ClientAddress, ClientNetwork};
use crate::domain::error::Result;
use crate::domain::limits::limited;
use crate::ids::UserId;
use crate::limiter::{Guard, Key};
use crate::store::people::sessions;

const TOO_MANY: &str = "There were too many wrong passwords or codes.";

/// The target of the attempts of a client.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    User(UserId),
    /// A name that no account has, sent with a password. Attempts with this name count as well, so that clients cannot
    /// find out which accounts exist.
    Name(&'a str),
    /// An e-mail address or a phone number, sent with a code. These attempts have a count of their own, which does not
    /// depend on whether an account has the address or number. Otherwise the waits would reveal whose it is.
    ContactPoint(&'a str),
}

/// An attempt that counts as failed, with the keys of its counts.
pub(super) struct Try {
    account: Key,
    network: Option<Key>,
}

/// An attempt that counts as failed for the network of the client only.
pub(super) struct NetworkTry(Option<Key>);

impl PeopleCore {
    /// Counts an attempt as failed before it is made. Returns RATE_LIMITED if too many attempts have failed.
    pub(super) async fn count_try(&self, subject: Subject<'_>, network: Option<ClientNetwork>) -> Result<Try> {
        let Some(network) = network else {
            return Ok(Try { account: self.count_subject(subject).await?, network: None });
        };
        let counted = self.count_subject_and_network(subject, network).await;
        match (counted, subject) {
            (Err(_), Subject::User(user)) if self.has_session_in(user, network).await? => {
                let account = Key::UserFrom(user, network);
                self.guard(Guard::Account, account).await?;
                Ok(Try { account, network: None })
            }
            (counted, _) => counted,
        }
    }

    /// Records that the attempt has succeeded: forgets the failures of the account. Earlier failures of the network
    /// still count, because an attacker can also sign in to an account of their own.
    pub(super) async fn record_success(&self, counted: Try) {
        self.base.limiter.reset(Guard::Account, counted.account).await;
        self.undo_attempt(Guard::Network, counted.network).await;
    }

    /// Takes back an attempt in which nothing was compared.
    pub(super) async fn undo_try(&self, counted: Try) {
        self.undo_attempt(Guard::Account, Some(counted.account)).await;
        self.undo_attempt(Guard::Network, counted.network).await;
    }

    /// Counts an attempt with a token, which belongs to no account yet. Returns RATE_LIMITED if too many attempts of
    /// the network have failed.
    pub(super) async fn count_network_try(&self, network: Option<ClientNetwork>) -> Result<NetworkTry> {
        let key = network.map(Key::Network);
        if let Some(key) = key {
            self.guard(Guard::Network, key).await?;
        }
        Ok(NetworkTry(key))
    }

    /// Takes back an attempt that has succeeded, or in which nothing was compared.
    pub(super) async fn undo_network_try(&self, NetworkTry(key): NetworkTry) {
        self.undo_attempt(Guard::Network, key).await;
    }

    async fn count_subject_and_network(&self, subject: Subject<'_>, network: ClientNetwork) -> Result<Try> {
        let network = Key::Network(network);
        self.guard(Guard::Network, network).await?;
        match self.count_subject(subject).await {
            Ok(account) => Ok(Try { account, network: Some(network) }),
            Err(error) => {
                // The server compares nothing, so the attempt does not count for the network.
                self.undo_attempt(Guard::Network, Some(network)).await;
                Err(error)
            }
        }
    }

    async fn count_subject(&self, subject: Subject<'_>) -> Result<Key> {
        let key = match subject {
            Subject::User(user) => Key::User(user),
            Subject::Name(name) => name_key("name", name),
            Subject::ContactPoint(contact_point) => contact_point_key(contact_point),
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

/// Returns the key by which limits count an e-mail address or a phone number.
pub(super) fn contact_point_key(contact_point: &str) -> Key {
    name_key("contact point", contact_point)
}

fn name_key(kind: &str, name: &str) -> Key {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::new().chain_update(kind).chain_update(b"\0").chain_update(name).finalize()[..16]);
    Key::Name(key)
}
