//! Slows down clients that guess passwords, codes or second factors, without locking out the owner of the account.
//!
//! Each attempt counts as failed until the change that it allows is committed, so parallel attempts give an attacker no
//! advantage. Attempts count for their subject and for the network of the client. An attacker who guesses makes every
//! client of that subject wait, including its owner. Each network in which the owner has a live session therefore has a
//! separate count of attempts for that account.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::core::PeopleCore;
use crate::address::ClientNetwork;
use crate::domain::error::Result;
use crate::domain::limits::limited;
use crate::ids::UserId;
use crate::limiter::{Guard, Key};
use crate::store::people::sessions;

const TOO_MANY: &str = "There were too many wrong passwords, codes, second factors or tokens.";

/// The target of the attempts of a client.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    /// The account of a signed-in user, who enters its password or a CONFIRM code.
    User(UserId),
    /// A username, e-mail address or phone number, sent with a password, and the account that has it. The attempts
    /// count for the name, whether an account has it or not, so that clients can find out neither which accounts exist
    /// nor which names belong to the same account. All names of an account together have a ceiling.
    Identifier(&'a str, Option<UserId>),
    /// An e-mail address or a phone number, sent with a code. These attempts have a count of their own, which does not
    /// depend on whether an account has the address or number. Otherwise the waits would reveal whose it is.
    ContactPoint(&'a str),
    /// An e-mail address or a phone number that the user wants to verify. A thief with a session can verify an address
    /// of their own, so these attempts do not affect the counts of the account.
    Verification(UserId, &'a str),
    /// A code that the client names by its challenge. The code has few tries, so only the network has to wait.
    Challenge,
    /// A token of an issuer, or a sign-in code. They cannot be guessed, so only the network has to wait.
    Token,
    /// A code of the authenticator app of an account. These attempts have a count of their own, which only a right code
    /// of the app resets. Otherwise a client that knows the password could guess codes without ever waiting.
    Factor(UserId),
    /// A recovery code. It has too many random bits to be guessed, so only the network has to wait. An owner whose
    /// account has many wrong codes of the app can therefore still use a recovery code.
    RecoveryCode,
}

/// An attempt that counts as failed, with the keys of its counts.
pub(in crate::domain) struct Try {
    network: Option<Key>,
    subject: Vec<(Guard, Key)>,
}

impl Subject<'_> {
    /// Returns the counts of the attempts.
    fn counts(self) -> Vec<(Guard, Key)> {
        match self {
            Self::User(user) => vec![(Guard::Account, Key::User(user))],
            Self::Identifier(name, user) => {
                // A name without an account has a ceiling too, so that both cases take the same time.
                let all = user.map_or_else(|| name_key("all names", &[name]), Key::User);
                vec![(Guard::Account, name_key("name", &[name])), (Guard::AllNames, all)]
            }
            Self::ContactPoint(contact_point) => vec![(Guard::Account, contact_point_key(contact_point))],
            Self::Verification(user, contact_point) => {
                vec![(Guard::Account, name_key("verification", &[&user.to_string(), contact_point]))]
            }
            Self::Challenge | Self::Token | Self::RecoveryCode => Vec::new(),
            Self::Factor(user) => vec![(Guard::Account, name_key("factor", &[&user.to_string()]))],
        }
    }

    /// Returns the account whose owner may try again in a network with a session. A name without an account has a user
    /// who does not exist, so that both cases execute the same statement.
    fn account(self) -> Option<UserId> {
        match self {
            Self::User(user) | Self::Factor(user) => Some(user),
            Self::Identifier(_, user) => Some(user.unwrap_or(UserId(Uuid::nil()))),
            Self::ContactPoint(_) | Self::Verification(..) | Self::Challenge | Self::Token | Self::RecoveryCode => None,
        }
    }

    /// Returns the counts of the attempts in a network in which this user has a live session. For second factors, all
    /// these networks together have a ceiling: a thief with a session can move it from network to network, and a code
    /// of six digits cannot withstand as many attempts as a password.
    fn counts_at_home(self, user: UserId, network: ClientNetwork) -> Vec<(Guard, Key)> {
        if !matches!(self, Self::Factor(_)) {
            return vec![(Guard::Account, Key::UserFrom(user, network))];
        }
        let user = user.to_string();
        vec![
            (Guard::Account, name_key("factor and network", &[&user, &network.to_string()])),
            (Guard::AllNames, name_key("factor and all networks", &[&user])),
        ]
    }
}

impl PeopleCore {
    /// Counts an attempt as failed before it is made. Returns RATE_LIMITED if too many attempts have failed.
    pub(super) async fn count_try(&self, subject: Subject<'_>, network: Option<ClientNetwork>) -> Result<Try> {
        let network_key = network.map(Key::Network);
        if let Some(key) = network_key {
            self.guard(Guard::Network, key).await?;
        }
        match self.count_subject(subject, network).await {
            Ok(subject) => Ok(Try { network: network_key, subject }),
            Err(error) => {
                // The server compares nothing, so the attempt does not count for the network.
                self.undo_network(network_key).await;
                Err(error)
            }
        }
    }

    /// Returns `outcome`, the result of the change that the attempt allows. If the change was committed, forgets the
    /// failures of the subject. If it failed, the attempt does not count, because the password or code was right.
    pub(in crate::domain) async fn settle<T>(&self, counted: &Try, outcome: Result<T>) -> Result<T> {
        if outcome.is_ok() {
            self.record_success(counted).await;
        } else {
            self.undo_try(counted).await;
        }
        outcome
    }

    /// Takes back an attempt in which nothing was compared, or whose change was not made.
    pub(super) async fn undo_try(&self, counted: &Try) {
        self.undo_all(&counted.subject).await;
        self.undo_network(counted.network).await;
    }

    /// Records that the attempt has succeeded: forgets the failures of the subject. Earlier failures of the network
    /// still count, because an attacker can also sign in to an account of their own.
    async fn record_success(&self, counted: &Try) {
        for &(guard, key) in &counted.subject {
            self.base.limiter.reset(guard, key).await;
        }
        self.undo_network(counted.network).await;
    }

    /// Counts the attempt for its subject. If the subject has to wait, and its owner has a live session in the network,
    /// counts the attempt for the owner in this network instead.
    async fn count_subject(&self, subject: Subject<'_>, network: Option<ClientNetwork>) -> Result<Vec<(Guard, Key)>> {
        let counts = subject.counts();
        let Err(refused) = self.count_all(&counts).await else { return Ok(counts) };
        let (Some(user), Some(network)) = (subject.account(), network) else { return Err(refused) };
        let mut connection = self.base.connection().await?;
        let is_home = sessions::has_live_in(&mut connection, user, &network.to_string(), self.base.now()).await?;
        drop(connection);
        if !is_home {
            return Err(refused);
        }
        let at_home = subject.counts_at_home(user, network);
        self.count_all(&at_home).await?;
        Ok(at_home)
    }

    /// Counts an attempt for each of the keys, or for none if one of them has to wait.
    async fn count_all(&self, counts: &[(Guard, Key)]) -> Result<()> {
        for (place, &(guard, key)) in counts.iter().enumerate() {
            if let Err(error) = self.guard(guard, key).await {
                self.undo_all(&counts[..place]).await;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn guard(&self, guard: Guard, key: Key) -> Result<()> {
        self.base.limiter.attempt(guard, key).await.map_err(|exceeded| limited(exceeded, TOO_MANY))
    }

    async fn undo_all(&self, counts: &[(Guard, Key)]) {
        for &(guard, key) in counts {
            self.base.limiter.undo_attempt(guard, key).await;
        }
    }

    async fn undo_network(&self, key: Option<Key>) {
        if let Some(key) = key {
            self.base.limiter.undo_attempt(Guard::Network, key).await;
        }
    }
}

/// Returns the key by which limits count an e-mail address or a phone number.
pub(super) fn contact_point_key(contact_point: &str) -> Key {
    name_key("contact point", &[contact_point])
}

/// Returns the key by which limits count an e-mail address or a phone number, for clients of one network.
pub(super) fn contact_point_key_from(contact_point: &str, network: ClientNetwork) -> Key {
    Key::NameFrom(name_hash("contact point and network", &[contact_point]), network)
}

/// Returns a key for these values. `kind` separates the keys of different limits.
pub(super) fn name_key(kind: &str, values: &[&str]) -> Key {
    Key::Name(name_hash(kind, values))
}

fn name_hash(kind: &str, values: &[&str]) -> [u8; 16] {
    let mut hash = Sha256::new().chain_update(kind);
    for value in values {
        hash = hash.chain_update(b"\0").chain_update(value);
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}
