//! Identities at issuers: the tokens that prove them, and how they are linked to accounts. An identity is an issuer and
//! a subject, never an e-mail address.

use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as Diesel};

use super::confirmations::CONFIRMED_FOR;
use super::core::PeopleCore;
use super::sessions::ENDED;
use super::sign_in_codes::is_code;
use super::tries::Subject;
use crate::config::{MAX_IDENTITIES, MAX_ISSUER_TOKEN};
use crate::domain::client::Client;
use crate::domain::error::{Error, Result, Violation};
use crate::domain::viewer::Viewer;
use crate::ids::{IdentityId, UserId};
use crate::issuers::{Assertion, Issuer, Refusal};
use crate::limiter::Rate;
use crate::log::{Change, Transaction};
use crate::notices::FactorChange;
use crate::store::people::identities::{self, Identity};
use crate::store::people::users::{self, User};

/// Name of the input field with a token of an issuer or a sign-in code.
const TOKEN: &str = "token";

pub struct Identities<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

impl Identities<'_> {
    /// Reads the identities of the viewer, oldest first.
    pub async fn list(&self, viewer: Viewer) -> Result<Vec<Identity>> {
        Ok(identities::of_user(&mut *self.core.base.connection().await?, viewer.user).await?)
    }

    /// Links the identity of the token to the account of the viewer. Needs a confirmed identity, because the owner of
    /// the token can then sign in to the account. Sends a notice to the owner of the account.
    pub async fn link(&self, viewer: Viewer, token: &str, client: &Client) -> Result<User> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let assertion = self.core.prove(token, client).await?;
        let log = &self.core.base.log;
        let (user, is_new) = log.transaction(async |tx| self.store(tx, viewer, &assertion).await).await?;
        if is_new {
            self.core.tell_of_link(&user, &assertion.issuer, client);
        }
        Ok(user)
    }

    /// Removes an identity from the account of the viewer, unless it is the only way to sign in. Sends a notice to the
    /// owner of the account.
    pub async fn unlink(&self, viewer: Viewer, id: IdentityId, client: &Client) -> Result<User> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        let (user, removed) = log.transaction(async |tx| self.remove(tx, viewer, id).await).await?;
        let change = FactorChange::IdentityUnlinked { issuer: self.core.issuer_name(&removed.issuer) };
        self.core.tell_of_factor_change(&user, change, client);
        Ok(user)
    }

    /// Returns the user, and whether the identity was not linked before.
    async fn store(&self, tx: &mut Transaction<'_>, viewer: Viewer, assertion: &Assertion) -> Result<(User, bool)> {
        let mut user = users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
        match identities::owner(tx.conn(), &assertion.issuer, &assertion.subject).await? {
            Some(owner) if owner == viewer.user => return Ok((user, false)),
            Some(_) => return Err(taken()),
            None => {}
        }
        self.core.check_confirmed(tx, viewer).await?;
        let count = identities::count(tx.conn(), viewer.user).await?;
        if usize::try_from(count).is_ok_and(|count| count >= MAX_IDENTITIES) {
            let message = format!("An account has at most {MAX_IDENTITIES} identities. Call `unlinkIdentity` first.");
            return Err(Error::invalid(TOKEN, message));
        }
        let identity = self.core.new_identity(user.id, assertion);
        identities::insert(tx.conn(), &identity).await.map_err(|error| match error {
            Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => taken(),
            error => error.into(),
        })?;
        if users::end_guest(tx.conn(), user.id).await? {
            tx.record(Change::UserUpdated { user: user.id });
            user.is_guest = false;
        }
        Ok((user, true))
    }

    async fn remove(&self, tx: &mut Transaction<'_>, viewer: Viewer, id: IdentityId) -> Result<(User, Identity)> {
        let user = users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
        self.core.check_confirmed(tx, viewer).await?;
        let removed = identities::delete(tx.conn(), viewer.user, id).await?;
        let removed = removed.ok_or(Error::NotFound("No such identity. `viewer.identities` lists yours."))?;
        self.core.check_can_sign_in(tx, &user, "identityId").await?;
        Ok((user, removed))
    }
}

impl PeopleCore {
    /// Verifies a token of an issuer, or uses up a sign-in code. Returns BAD_USER_INPUT at `token` if it is invalid,
    /// and RATE_LIMITED if the network has sent too many invalid ones.
    pub(super) async fn prove(&self, token: &str, client: &Client) -> Result<Assertion> {
        let counted = self.count_try(Subject::Token, client.network).await?;
        let proved = self.read_proof(token).await;
        if !matches!(proved, Err(Error::Invalid(_))) {
            self.undo_try(&counted).await;
        }
        proved
    }

    async fn read_proof(&self, token: &str) -> Result<Assertion> {
        if token.len() > MAX_ISSUER_TOKEN {
            return Err(Error::invalid(TOKEN, format!("A token has at most {MAX_ISSUER_TOKEN} bytes.")));
        }
        if !is_code(token) {
            return self.issuers.verify(token, self.base.now()).await.map_err(refused);
        }
        let assertion = self.take_sign_in_code(token).await?;
        assertion.ok_or_else(|| {
            let message = "This sign-in code is unknown, expired or already used, or its verifier is wrong. Start the \
                           login again.";
            Error::invalid(TOKEN, message)
        })
    }

    /// Checks that the token belongs to an identity of the viewer, who has signed in at the issuer in the last minutes.
    pub(in crate::domain) async fn check_token_of_viewer(
        &self,
        viewer: Viewer,
        token: &str,
        client: &Client,
    ) -> Result<()> {
        let Assertion { issuer, subject, authenticated_at, .. } = self.prove(token, client).await?;
        let owner = identities::owner(&mut *self.base.connection().await?, &issuer, &subject).await?;
        if owner != Some(viewer.user) {
            return Err(Error::invalid(TOKEN, "The identity of this token is not linked to your account."));
        }
        if authenticated_at + CONFIRMED_FOR <= self.base.now() {
            let message = "The sign-in of the token was more than 10 minutes ago. Sign in at the issuer again.";
            return Err(Error::invalid(TOKEN, message));
        }
        Ok(())
    }

    /// Tells the owner that an identity at the issuer with this URL was linked to the account.
    pub(super) fn tell_of_link(&self, user: &User, issuer: &str, client: &Client) {
        let change = FactorChange::IdentityLinked { issuer: self.issuer_name(issuer) };
        self.tell_of_factor_change(user, change, client);
    }

    /// Returns the name of the issuer with this URL, or the URL if the server no longer accepts the issuer.
    fn issuer_name(&self, url: &str) -> String {
        self.issuers.by_url(url).map_or(url, Issuer::name).to_owned()
    }

    pub(super) fn new_identity(&self, user: UserId, assertion: &Assertion) -> Identity {
        let now = self.base.now();
        Identity {
            id: IdentityId::new(now, &self.base.random),
            user_id: user,
            issuer: assertion.issuer.clone(),
            subject: assertion.subject.clone(),
            created_at: now,
            last_used_at: now,
        }
    }
}

/// Returns the error for a token or an answer of an issuer that was refused.
pub(super) fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Invalid(reason) => Error::invalid(TOKEN, reason),
        Refusal::Unavailable => Error::Overloaded("The issuer does not answer. Try again in a moment."),
    }
}

fn taken() -> Error {
    let message =
        "This identity is linked to another account. Sign in to it by `signInWithToken`, and unlink it there.";
    Error::Conflict(Violation::new(TOKEN, message))
}
