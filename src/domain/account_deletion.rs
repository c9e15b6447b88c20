//! Deletes an account. This concerns every room of the domain: calls, conversations, files, messaging and people.

use super::app::App;
use super::client::Client;
use super::error::{Error, Result, Violation};
use super::people::accounts::{WRONG_CREDENTIALS, check_connected, wrong_password};
use super::people::password_tries::Account;
use super::viewer::Viewer;
use crate::log::{Change, Transaction};
use crate::store::conversations::participants;
use crate::store::messaging::scheduled_messages;
use crate::store::people::sessions::Revoke;
use crate::store::people::users::{self, User};

impl App {
    /// Deletes the viewer's account and all personal data, removes the user from all conversations, and revokes all
    /// sessions. The user's messages stay, without a sender.
    pub async fn delete_account(&self, viewer: Viewer, password: String, client: &Client) -> Result<()> {
        check_connected(client)?;
        let user = self.users().get(viewer.user).await?.ok_or(WRONG_CREDENTIALS)?;
        if !self.people().check_password(Account::Known(&user), password, client).await?.is_right() {
            return Err(wrong_password("password"));
        }
        self.log().transaction(async |tx| self.delete_user(tx, &user).await).await
    }

    /// Deletes the user. Locks the conversations before the user, in the same order as all other transactions. After
    /// the user is locked, no other transaction can add the user to a conversation or sign the user in.
    async fn delete_user(&self, tx: &mut Transaction<'_>, user: &User) -> Result<()> {
        tx.record(Change::UserUpdated { user: user.id });
        // Scheduled messages come first, because the scheduler also locks them before conversations.
        scheduled_messages::delete_of(tx.conn(), user.id).await?;
        self.participants().leave_all(tx, user.id).await?;
        let locked = users::lock_for_deletion(tx.conn(), user.id, &user.password_hash).await?;
        locked.ok_or_else(|| wrong_password("password"))?;
        if !participants::all_of_user(tx.conn(), user.id).await?.is_empty() {
            return Err(Error::Conflict(Violation::new("input", "The account changed meanwhile. Try again.")));
        }
        self.sessions().revoke_sessions(tx, user.id, Revoke::All).await?;
        Ok(users::delete(tx.conn(), user.id).await?)
    }
}
