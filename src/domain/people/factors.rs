//! Second factors: compares the codes of authenticator apps and recovery codes, and counts the attempts of clients that
//! guess them.

use std::fmt;

use super::core::PeopleCore;
use super::tries::{Subject, Try};
use super::{recovery_codes, totp};
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::validate::Check;
use crate::ids::UserId;
use crate::log::Transaction;
use crate::notices::FactorChange;
use crate::store::people::{recovery_codes as codes, totp_factors};

/// A second factor as a client sends it.
pub enum FactorInput {
    /// A code of the authenticator app.
    Totp(String),
    RecoveryCode(String),
}

impl fmt::Debug for FactorInput {
    /// Omits the code, so that it does not get into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Totp(_) => "Totp",
            Self::RecoveryCode(_) => "RecoveryCode",
        })
    }
}

/// A second factor whose form is checked.
pub(super) struct Factor(FactorInput);

/// A second factor that a client has entered correctly. It still has to be used, in the transaction that it allows.
/// `PeopleCore::settle` must be called with `counted` after this transaction.
pub(super) struct RightFactor {
    pub(super) counted: Try,
    user: UserId,
    kind: RightKind,
    /// Field of the input that holds the factor.
    path: &'static str,
}

enum RightKind {
    /// Time step of the code of the authenticator app.
    Step(i64),
    /// Hash of the recovery code.
    RecoveryCode(Vec<u8>),
}

impl FactorInput {
    /// Checks the form of the factor in the input field `path`. A text that cannot be a recovery code counts as a wrong
    /// one.
    pub(super) fn checked(self, path: &str) -> Result<Factor> {
        match self {
            Self::Totp(text) => {
                let mut check = Check::default();
                let code = check.code(path, &text);
                check.done()?;
                Ok(Factor(Self::Totp(code)))
            }
            Self::RecoveryCode(_) => Ok(Factor(self)),
        }
    }
}

impl PeopleCore {
    /// Compares a second factor with those of the user. Counts the attempt for the network, and for the user if the
    /// factor can be guessed. Returns BAD_USER_INPUT at `path` if the factor is wrong or already used, or if the account
    /// has no second factor.
    pub(super) async fn check_factor(
        &self,
        user: UserId,
        factor: &Factor,
        path: &'static str,
        client: &Client,
    ) -> Result<RightFactor> {
        let subject = match factor.0 {
            FactorInput::Totp(_) => Subject::Factor(user),
            FactorInput::RecoveryCode(_) => Subject::RecoveryCode,
        };
        let counted = self.count_try(subject, client.network).await?;
        match self.compare_factor(user, factor, path).await {
            Ok(Some(kind)) => Ok(RightFactor { counted, user, kind, path }),
            Ok(None) => Err(wrong_factor(path)),
            Err(error) => {
                self.undo_try(&counted).await;
                Err(error)
            }
        }
    }

    async fn compare_factor(
        &self,
        user: UserId,
        Factor(factor): &Factor,
        path: &'static str,
    ) -> Result<Option<RightKind>> {
        let mut connection = self.base.connection().await?;
        let found = totp_factors::find(&mut connection, user).await?;
        let own = found.filter(|own| own.confirmed_at.is_some()).ok_or_else(|| {
            Error::invalid(path, "The account has no second factor. Sign in or confirm the identity without one.")
        })?;
        match factor {
            FactorInput::Totp(code) => {
                Ok(totp::matching_step(&own.secret, code, self.base.now(), own.last_step).map(RightKind::Step))
            }
            FactorInput::RecoveryCode(text) => {
                let Some(hash) = recovery_codes::hash(user, text) else { return Ok(None) };
                let usable = codes::is_usable(&mut connection, user, &hash).await?;
                Ok(usable.then_some(RightKind::RecoveryCode(hash)))
            }
        }
    }
}

impl RightFactor {
    /// Uses up the factor. Returns the change that the owner gets a notice of, if there is one. Returns BAD_USER_INPUT
    /// if another request has used the factor meanwhile.
    pub(super) async fn use_up(&self, core: &PeopleCore, tx: &mut Transaction<'_>) -> Result<Option<FactorChange>> {
        let (used, change) = match &self.kind {
            RightKind::Step(step) => (totp_factors::use_step(tx.conn(), self.user, *step).await?, None),
            RightKind::RecoveryCode(hash) => {
                let used = codes::spend(tx.conn(), self.user, hash, core.base.now()).await?;
                let left = codes::unused(tx.conn(), self.user).await?;
                (used, Some(FactorChange::RecoveryCodeUsed { left: u32::try_from(left).unwrap_or_default() }))
            }
        };
        if used { Ok(change) } else { Err(wrong_factor(self.path)) }
    }
}

/// Returns the error for every second factor that does not work.
fn wrong_factor(path: &str) -> Error {
    Error::invalid(
        path,
        "This code is wrong or already used. Enter the newest code of your authenticator app, or a recovery code.",
    )
}
