//! Deletes an account. This concerns every room of the domain: calls, conversations, files, messaging and people.

use super::app::App;
use super::client::Client;
use super::error::{Error, Result};
use super::people::accounts::{WRONG_CREDENTIALS, account_changed, check_connected, wrong_password};
use super::people::code_checks::{EnteredCode, RightCode, verified_targets};
use super::people::password_tries::Account;
use super::viewer::Viewer;
use crate::ids::UserId;
use crate::log::{Change, Transaction};
use crate::store::conversations::participants;
use crate::store::messaging::scheduled_messages;
use crate::store::people::sessions::Revoke;
use crate::store::people::users::{self, User};

/// Proof that the viewer owns the account.
#[derive(Clone, Copy)]
enum Proof<'a> {
    /// The password was compared with the hash of this user.
    Password(&'a User),
    /// The code was sent to one of these verified addresses and numbers of the user.
    Code(&'a RightCode, &'a [String]),
}

impl App {
    /// Deletes the viewer's account and all personal data, removes the user from all conversations, and revokes all
    /// sessions. The user's messages stay, without a sender. Needs either the password, or a CONFIRM code that was sent
    /// to a verified e-mail address or phone number of the viewer.
    pub async fn delete_account(
        &self,
        viewer: Viewer,
        password: Option<String>,
        code: Option<EnteredCode>,
        client: &Client,
    ) -> Result<()> {
        check_connected(client)?;
        match (password, code) {
            (Some(_), Some(_)) => Err(Error::invalid("code", "Send the password or a code, not both.")),
            (None, None) => Err(Error::invalid("password", "Send the current password, or a CONFIRM code in `code`.")),
            (Some(password), None) => self.delete_by_password(viewer, password, client).await,
            (None, Some(code)) => self.delete_by_code(viewer, &code, client).await,
        }
    }

    async fn delete_by_password(&self, viewer: Viewer, password: String, client: &Client) -> Result<()> {
        let user = self.users().get(viewer.user).await?.ok_or(WRONG_CREDENTIALS)?;
        let right = self.people().check_password(Account::Own(&user), password, client).await?;
        let right = right.ok_or_else(|| wrong_password("password"))?;
        let log = self.log();
        let deleted = log.transaction(async |tx| self.delete_user(tx, user.id, Proof::Password(&user)).await).await;
        self.people().settle(&right.counted, deleted).await
    }

    async fn delete_by_code(&self, viewer: Viewer, code: &EnteredCode, client: &Client) -> Result<()> {
        let (right, targets) = self.people().check_any_confirmation(viewer, code, client).await?;
        let log = self.log();
        let deleted =
            log.transaction(async |tx| self.delete_user(tx, viewer.user, Proof::Code(&right, &targets)).await).await;
        self.people().settle_code(&right, deleted).await
    }

    /// Deletes the user. Locks the conversations before the user, in the same order as all other transactions. After
    /// the user is locked, no other transaction can add the user to a conversation or sign the user in.
    async fn delete_user(&self, tx: &mut Transaction<'_>, user: UserId, proof: Proof<'_>) -> Result<()> {
        tx.record(Change::UserUpdated { user });
        // Scheduled messages come first, because the scheduler also locks them before conversations.
        scheduled_messages::delete_of(tx.conn(), user).await?;
        self.participants().leave_all(tx, user).await?;
        let locked = users::lock_for_deletion(tx.conn(), user).await?.ok_or(WRONG_CREDENTIALS)?;
        match proof {
            Proof::Password(known) if locked.password_hash != known.password_hash => {
                return Err(wrong_password("password"));
            }
            Proof::Password(_) => {}
            // The account may have another address or number since the code was sent.
            Proof::Code(code, targets) if verified_targets(&locked) != targets => return Err(code.wrong()),
            Proof::Code(code, _) => code.use_up(tx).await?,
        }
        if !participants::all_of_user(tx.conn(), user).await?.is_empty() {
            return Err(account_changed());
        }
        self.sessions().revoke_sessions(tx, user, Revoke::All).await?;
        Ok(users::delete(tx.conn(), user).await?)
    }
}
