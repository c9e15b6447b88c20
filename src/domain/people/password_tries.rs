//! Compares passwords, and counts the attempts of clients that guess them.

use super::core::PeopleCore;
use super::passwords::Comparison;
use super::tries::Subject;
use crate::domain::client::Client;
use crate::domain::error::Result;
use crate::store::people::users::User;

/// The account for which a client has sent a password.
#[derive(Clone, Copy)]
pub(in crate::domain) enum Account<'a> {
    Known(&'a User),
    /// A name that no account has.
    Unknown(&'a str),
}

impl PeopleCore {
    /// Compares the password with that of the account. If the account has no password, takes the same time and returns
    /// `Wrong`. Returns RATE_LIMITED if too many attempts have failed.
    pub(in crate::domain) async fn check_password(
        &self,
        account: Account<'_>,
        password: String,
        client: &Client,
    ) -> Result<Comparison> {
        let (subject, hash) = match account {
            Account::Known(user) => (Subject::User(user.id), user.password_hash.clone()),
            Account::Unknown(name) => (Subject::Name(name), None),
        };
        let counted = self.count_try(subject, client.network).await?;
        let comparison = self.passwords.verify(password, hash, client).await;
        match &comparison {
            Ok(Comparison::Wrong) => {}
            Ok(Comparison::Right | Comparison::RightByOldHash { .. }) => {
                self.record_first_factor(subject, counted).await?;
            }
            Err(_) => self.undo_try(counted).await,
        }
        comparison
    }
}
