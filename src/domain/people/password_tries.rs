//! Compares passwords, and counts the attempts of clients that guess them.

use super::core::PeopleCore;
use super::passwords::Comparison;
use super::tries::{Subject, Try};
use crate::domain::client::Client;
use crate::domain::error::Result;
use crate::store::people::users::User;

/// The account for which a client has sent a password.
#[derive(Clone, Copy)]
pub(in crate::domain) enum Account<'a> {
    /// The account of the signed-in user.
    Own(&'a User),
    /// A username, e-mail address or phone number as it is stored, and the account that has it.
    Identified(&'a str, Option<&'a User>),
}

/// A password that is right. `PeopleCore::settle` must be called with `counted` after the transaction of the change.
pub(in crate::domain) struct RightPassword {
    /// New hash of the password, if the stored one is from former settings.
    pub(in crate::domain) renewed: Option<String>,
    pub(in crate::domain) counted: Try,
}

impl PeopleCore {
    /// Compares the password with that of the account. Returns None if it is wrong. If there is no account, or the
    /// account has no password, takes the same time and returns None. Returns RATE_LIMITED if too many attempts have
    /// failed.
    pub(in crate::domain) async fn check_password(
        &self,
        account: Account<'_>,
        password: String,
        client: &Client,
    ) -> Result<Option<RightPassword>> {
        let (subject, user) = match account {
            Account::Own(user) => (Subject::User(user.id), Some(user)),
            Account::Identified(name, user) => (Subject::Identifier(name, user.map(|user| user.id)), user),
        };
        let counted = self.count_try(subject, client.network).await?;
        let hash = user.and_then(|user| user.password_hash.clone());
        match self.passwords.verify(password, hash, client).await {
            Ok(Comparison::Wrong) => Ok(None),
            Ok(Comparison::Right) => Ok(Some(RightPassword { renewed: None, counted })),
            Ok(Comparison::RightByOldHash { renewed }) => Ok(Some(RightPassword { renewed: Some(renewed), counted })),
            Err(error) => {
                self.undo_try(&counted).await;
                Err(error)
            }
        }
    }
}
