//! Deletes an account. This concerns every room of the domain: calls, conversations, files, messaging and people.

use super::app::App;
use super::client::Client;
use super::error::{Error, Result};
use super::people::accounts::{WRONG_CREDENTIALS, account_changed, check_connected, wrong_password};
use super::people::code_checks::{EnteredCode, RightCode, verified_targets};
use super::people::password_tries::Account;
use super::viewer::Viewer;
use crate::log::{Change, Transaction};
use crate::store::conversations::participants;
use crate::store::messaging::scheduled_messages;
use crate::store::people::passkeys;
use crate::store::people::sessions::Revoke;
use crate::store::people::users::{self, User};

/// Proof that the viewer owns the account.
#[derive(Clone, Copy)]
enum Proof<'a> {
    /// The password was compared with the hash of this user.
    Password(&'a User),
    /// The code was sent to one of these verified addresses and numbers of the user.
    Code(&'a RightCode, &'a [String]),
    /// A token of an identity that is linked to the account was verified.
    Token,
    /// The session of a guest, or a confirmed session of a user who has a passkey.
    Session,
}

impl App {
    /// Deletes the viewer's account and all personal data, removes the user from all conversations, and revokes all
    /// sessions. The user's messages stay, without a sender. Needs the password, a CONFIRM code that was sent to a
    /// verified e-mail address or phone number of the viewer, or a token of an identity of the viewer. A guest needs
    /// none. A confirmed session is enough if the account has a passkey. If it has a second factor, the session must be
    /// confirmed in any case.
    pub async fn delete_account(
        &self,
        viewer: Viewer,
        password: Option<String>,
        code: Option<EnteredCode>,
        token: Option<String>,
        client: &Client,
    ) -> Result<()> {
        check_connected(client)?;
        match (password, code, token) {
            (None, None, None) => self.delete_by_session(viewer).await,
            (Some(password), None, None) => self.delete_by_password(viewer, password, client).await,
            (None, Some(code), None) => self.delete_by_code(viewer, &code, client).await,
            (None, None, Some(token)) => self.delete_by_token(viewer, &token, client).await,
            _ => Err(Error::invalid("code", "Send only one of the password, a code and a token.")),
        }
    }

    async fn delete_by_session(&self, viewer: Viewer) -> Result<()> {
        self.log()
            .transaction(async |tx| {
                // The check is repeated after the user is locked. It comes first as well, because a deletion is much
                // work.
                self.check_session(tx, viewer).await?;
                self.delete_user(tx, viewer, Proof::Session).await
            })
            .await
    }

    async fn delete_by_token(&self, viewer: Viewer, token: &str, client: &Client) -> Result<()> {
        self.people().check_token_of_viewer(viewer, token, client).await?;
        self.log().transaction(async |tx| self.delete_user(tx, viewer, Proof::Token).await).await
    }

    async fn delete_by_password(&self, viewer: Viewer, password: String, client: &Client) -> Result<()> {
        let user = self.users().get(viewer.user).await?.ok_or(WRONG_CREDENTIALS)?;
        let right = self.people().check_password(Account::Own(&user), password, client).await?;
        let right = right.ok_or_else(|| wrong_password("password"))?;
        let log = self.log();
        let deleted = log.transaction(async |tx| self.delete_user(tx, viewer, Proof::Password(&user)).await).await;
        self.people().settle(&right.counted, deleted).await
    }

    async fn delete_by_code(&self, viewer: Viewer, code: &EnteredCode, client: &Client) -> Result<()> {
        let (right, targets) = self.people().check_any_confirmation(viewer, code, client).await?;
        let log = self.log();
        let proof = Proof::Code(&right, &targets);
        let deleted = log.transaction(async |tx| self.delete_user(tx, viewer, proof).await).await;
        self.people().settle_code(&right, deleted).await
    }

    /// Checks that the session alone proves the identity: it is that of a guest, or it is confirmed and the user has a
    /// passkey.
    async fn check_session(&self, tx: &mut Transaction<'_>, viewer: Viewer) -> Result<()> {
        let user = users::by_id(tx.conn(), viewer.user).await?.ok_or(WRONG_CREDENTIALS)?;
        if !user.is_guest && passkeys::count(tx.conn(), viewer.user).await? == 0 {
            return Err(not_proved());
        }
        self.people().check_confirmed(tx, viewer).await
    }

    /// Deletes the user. Locks the conversations before the user, in the same order as all other transactions. After
    /// the user is locked, no other transaction can add the user to a conversation or sign the user in.
    async fn delete_user(&self, tx: &mut Transaction<'_>, viewer: Viewer, proof: Proof<'_>) -> Result<()> {
        let user = viewer.user;
        tx.record(Change::UserUpdated { user });
        // Scheduled messages come first, because the scheduler also locks them before conversations.
        scheduled_messages::delete_of(tx.conn(), user).await?;
        self.participants().leave_all(tx, user).await?;
        let locked = users::lock_for_deletion(tx.conn(), user).await?.ok_or(WRONG_CREDENTIALS)?;
        match proof {
            Proof::Password(known) if locked.password_hash != known.password_hash => {
                return Err(wrong_password("password"));
            }
            Proof::Password(_) | Proof::Token => {}
            Proof::Session => self.check_session(tx, viewer).await?,
            // The account may have another address or number since the code was sent.
            Proof::Code(code, targets) if verified_targets(&locked) != targets => return Err(code.wrong()),
            Proof::Code(code, _) => code.use_up(tx).await?,
        }
        self.people().check_second_factor(tx, viewer).await?;
        if !participants::all_of_user(tx.conn(), user).await?.is_empty() {
            return Err(account_changed());
        }
        self.sessions().revoke_sessions(tx, user, Revoke::All).await?;
        Ok(users::delete(tx.conn(), user).await?)
    }
}

fn not_proved() -> Error {
    Error::invalid("password", "Send the current password, a CONFIRM code in `code`, or a token in `token`.")
}
