//! Guests: accounts without a password, which a client makes without asking its user anything. A guest becomes a
//! regular account by a password, a verified e-mail address or phone number, an identity at an issuer, or a passkey.

use std::sync::Arc;

use super::accounts::{check_connected, username_conflict};
use super::core::PeopleCore;
use super::passwords::NewPassword;
use super::sessions::{Device, Sessions, SignedIn};
use super::usernames::{GUEST, generated};
use super::users::Users;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::limiter::{Key, Rate};
use crate::log::{Change, Transaction};
use crate::store::people::users::{self, User};

const NO_GUEST: Error = Error::Forbidden("This account is not a guest. `changePassword` changes its password.");

pub struct Guests<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

impl Guests<'_> {
    /// Whether guests can be made.
    pub fn are_allowed(&self) -> bool {
        self.core.guests
    }

    /// Makes a guest with a generated username, and signs it in.
    pub async fn create(&self, display_name: Option<String>, device: Device, client: &Client) -> Result<SignedIn> {
        check_connected(client)?;
        if !self.core.guests {
            return Err(Error::Forbidden("This server has no guests. Call `register` for an account."));
        }
        let mut check = Check::default();
        let display_name = display_name.map(|name| check.display_name(&name));
        let device = device.checked(&mut check);
        check.done()?;
        self.count_registration(client)?;
        let username = generated(GUEST, &self.core.base.random);
        let user = self.core.new_user(username, display_name, &device.language);
        let user = User { is_guest: true, ..user };
        let log = &self.core.base.log;
        log.transaction(async |tx| self.insert(tx, &user, device).await).await
    }

    /// Gives the guest a username and a password. Needs no confirmation, because a guest has nothing to confirm with.
    pub async fn upgrade(&self, viewer: Viewer, username: &str, password: &str, client: &Client) -> Result<User> {
        check_connected(client)?;
        let mut check = Check::default();
        let username = check.username(username);
        let password = check.password("password", password);
        check.done()?;
        let user = Users { core: self.core }.get(viewer.user).await?.filter(|user| user.is_guest).ok_or(NO_GUEST)?;
        self.count_registration(client)?;
        let known_words = vec![username.clone(), user.display_name];
        let new_password = NewPassword { password, path: "password", known_words };
        let hash = self.core.passwords.hash_new(new_password, client).await?;
        let log = &self.core.base.log;
        log.transaction(async |tx| self.store(tx, viewer, &username, &hash).await).await
    }

    fn count_registration(&self, client: &Client) -> Result<()> {
        match client.network {
            Some(network) => self.core.base.check_rate_for(Rate::Registrations, Key::Network(network), 1),
            None => Ok(()),
        }
    }

    async fn insert(&self, tx: &mut Transaction<'_>, user: &User, device: Device) -> Result<SignedIn> {
        users::insert(tx.conn(), user).await.map_err(username_conflict)?;
        let signed_in = Sessions { core: self.core }.open(tx, user, device).await?;
        Ok(SignedIn { is_new_account: true, ..signed_in })
    }

    async fn store(&self, tx: &mut Transaction<'_>, viewer: Viewer, username: &str, hash: &str) -> Result<User> {
        tx.record(Change::UserUpdated { user: viewer.user });
        let upgraded = users::upgrade_guest(tx.conn(), viewer.user, username, hash).await;
        upgraded.map_err(username_conflict)?.ok_or(NO_GUEST)
    }
}
