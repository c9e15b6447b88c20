//! Confirmation of the identity. Changes with which a thief could take over an account need a session whose user has
//! proved their identity in the last minutes: by signing in, by the password, or by a code.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::accounts::check_connected;
use super::code_checks::{CodeFields, EnteredCode};
use super::contact_point::ContactPointInput;
use super::core::PeopleCore;
use super::password_tries::Account;
use super::sessions::ENDED;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::log::Transaction;
use crate::store::people::{sessions, users};

/// Time for which a confirmation is valid. Long enough for a few changes, and too short for a thief who
/// finds an unlocked device later.
pub(super) const CONFIRMED_FOR: TimeDelta = TimeDelta::minutes(10);

pub struct Confirmations<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// Proof of the identity of the viewer.
pub enum Proof {
    Password(String),
    /// A CONFIRM code and the e-mail address or phone number to which it was sent.
    Code(ContactPointInput, EnteredCode),
}

impl fmt::Debug for Proof {
    /// Omits the password and the code, so that they do not get into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Password(_) => "Password",
            Self::Code(..) => "Code",
        })
    }
}

impl Confirmations<'_> {
    /// Confirms the identity of the viewer in this session. Returns when the confirmation expires.
    pub async fn confirm(&self, viewer: Viewer, proof: Proof, client: &Client) -> Result<DateTime<Utc>> {
        match proof {
            Proof::Password(password) => self.confirm_by_password(viewer, password, client).await,
            Proof::Code(contact_point, code) => self.confirm_by_code(viewer, contact_point, &code, client).await,
        }
    }

    async fn confirm_by_password(&self, viewer: Viewer, password: String, client: &Client) -> Result<DateTime<Utc>> {
        check_connected(client)?;
        let user = users::by_id(&mut *self.core.base.connection().await?, viewer.user).await?.ok_or(ENDED)?;
        let Some(right) = self.core.check_password(Account::Own(&user), password, client).await? else {
            let message = "This is not the password of the account. An account without a password needs a code.";
            return Err(Error::invalid("password", message));
        };
        let log = &self.core.base.log;
        let confirmed = log.transaction(async |tx| self.record(tx, viewer).await).await;
        self.core.settle(&right.counted, confirmed).await
    }

    async fn confirm_by_code(
        &self,
        viewer: Viewer,
        contact_point: ContactPointInput,
        code: &EnteredCode,
        client: &Client,
    ) -> Result<DateTime<Utc>> {
        let mut check = Check::default();
        let contact_point = contact_point.checked(&mut check, "code.contactPoint");
        let code = code.checked(&mut check, CodeFields::NESTED);
        check.done()?;
        let targets = [contact_point.value.clone()];
        let right = self.core.check_confirmation(viewer, &targets, &code, client).await?;
        let log = &self.core.base.log;
        let confirmed = log.transaction(async |tx| {
            let user = users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
            // The account may have another address or number since the code was sent.
            if !contact_point.is_verified_by(&user) {
                return Err(right.wrong());
            }
            right.use_up(tx).await?;
            self.record(tx, viewer).await
        });
        let confirmed = confirmed.await;
        self.core.settle_code(&right, confirmed).await
    }

    async fn record(&self, tx: &mut Transaction<'_>, viewer: Viewer) -> Result<DateTime<Utc>> {
        let now = self.core.base.now();
        if sessions::confirm(tx.conn(), viewer.session, now).await? { Ok(now + CONFIRMED_FOR) } else { Err(ENDED) }
    }
}

impl PeopleCore {
    /// Returns `ConfirmationRequired` unless the viewer has confirmed their identity in the last minutes. Call this in
    /// the transaction of the change.
    pub(super) async fn check_confirmed(&self, tx: &mut Transaction<'_>, viewer: Viewer) -> Result<()> {
        let confirmed_at = sessions::confirmed_at(tx.conn(), viewer.session).await?.ok_or(ENDED)?;
        if self.base.now() < confirmed_at + CONFIRMED_FOR { Ok(()) } else { Err(Error::ConfirmationRequired) }
    }
}
