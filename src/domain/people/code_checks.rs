//! Compares codes that clients enter. A code works once, for 10 minutes, and for a few tries.
//!
//! A client that sends the challenge of its request names one code, and only the waits of its network apply. So a
//! stranger, who does not have the challenge, can neither use up its tries nor make it wait.

use std::fmt;

use super::code_slots::{CodePurpose, Slot};
use super::contact_point::Kind;
use super::core::PeopleCore;
use super::tries::{Subject, Try};
use crate::config::CODE_TRIES;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::validate::{self, Check};
use crate::domain::viewer::Viewer;
use crate::log::Transaction;
use crate::store::people::users::{self, User};
use crate::store::people::verification_codes::{self, LiveCode};

/// A code as a client enters it.
#[derive(Clone)]
pub struct EnteredCode {
    pub code: String,
    /// The challenge that `requestCode` returned together with the code.
    pub challenge: Option<String>,
}

impl fmt::Debug for EnteredCode {
    /// Omits the code and the challenge, so that they do not get into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EnteredCode").finish_non_exhaustive()
    }
}

/// The input fields of a code and its challenge.
#[derive(Clone, Copy)]
pub(super) struct CodeFields {
    pub(super) code: &'static str,
    pub(super) challenge: &'static str,
}

impl CodeFields {
    /// The fields of an input that has them at the top.
    pub(super) const TOP: Self = Self { code: "code", challenge: "challenge" };
    /// The fields of an input that has them in the field `code`.
    pub(super) const NESTED: Self = Self { code: "code.code", challenge: "code.challenge" };
}

/// An entered code in the form in which it is compared.
pub(super) struct CheckedCode {
    digits: String,
    challenge: Option<String>,
    /// Field of the input that holds the code.
    path: &'static str,
}

/// A code that a client has entered correctly. It still has to be used, in the transaction of the change.
/// `PeopleCore::settle_code` then records whether the transaction was committed.
pub(in crate::domain) struct RightCode {
    id: Vec<u8>,
    by_challenge: bool,
    counted: Try,
    path: &'static str,
}

impl EnteredCode {
    pub(super) fn checked(&self, check: &mut Check, fields: CodeFields) -> CheckedCode {
        let digits = check.code(fields.code, &self.code);
        let challenge = self.challenge.as_deref().map(|challenge| check.challenge(fields.challenge, challenge));
        CheckedCode { digits, challenge, path: fields.code }
    }
}

impl PeopleCore {
    /// Compares a code that a client has entered with the live codes of the slots, which belong to one subject: with
    /// the code that the challenge names, or else with the newest code of each slot. Counts the attempt for each of
    /// these codes, for the network, and without a challenge for the subject. A code that is wrong, used, expired or
    /// was never requested, and one with too many tries, get the same BAD_USER_INPUT.
    pub(super) async fn check_code(
        &self,
        subject: Subject<'_>,
        slots: &[Slot<'_>],
        code: &CheckedCode,
        client: &Client,
    ) -> Result<RightCode> {
        let subject = if code.challenge.is_some() { Subject::Challenge } else { subject };
        let counted = self.count_try(subject, client.network).await?;
        match self.compare_code(slots, code).await {
            Ok(Some(id)) => Ok(RightCode { id, by_challenge: code.challenge.is_some(), counted, path: code.path }),
            Ok(None) => Err(wrong_code(code.path)),
            Err(error) => {
                self.undo_try(&counted).await;
                Err(error)
            }
        }
    }

    /// Returns the id of the right code.
    async fn compare_code(&self, slots: &[Slot<'_>], code: &CheckedCode) -> Result<Option<Vec<u8>>> {
        let (key, now) = (&self.tokens.code_key, self.base.now());
        let max_tries = i16::try_from(CODE_TRIES).unwrap_or(i16::MAX);
        let slot_ids: Vec<_> = slots.iter().map(|slot| slot.id(key)).collect();
        let mut connection = self.base.connection().await?;
        let live = match &code.challenge {
            Some(challenge) => {
                let ids: Vec<_> = slots.iter().map(|slot| slot.challenge_id(key, challenge)).collect();
                verification_codes::count_try(&mut connection, &ids, max_tries, now).await?
            }
            None => verification_codes::count_open_try(&mut connection, &slot_ids, max_tries, now).await?,
        };
        let is_right = |live: &LiveCode| {
            let slot = slot_ids.iter().position(|id| *id == live.slot).and_then(|place| slots.get(place));
            slot.is_some_and(|slot| slot.matches(key, &code.digits, &live.code_hash))
        };
        Ok(live.into_iter().find(is_right).map(|live| live.id))
    }

    /// Returns `outcome`, the result of the transaction that uses the code. Only if it was committed, the failures of
    /// the subject are forgotten. If it failed, the code is still there, and the try does not count: the client can
    /// correct the rest of the input and send the code again.
    pub(in crate::domain) async fn settle_code<T>(&self, code: &RightCode, outcome: Result<T>) -> Result<T> {
        if outcome.is_err()
            && let Err(error) = self.undo_code_try(code).await
        {
            tracing::debug!(?error, "a try of a code could not be taken back");
        }
        self.settle(&code.counted, outcome).await
    }

    async fn undo_code_try(&self, code: &RightCode) -> Result<()> {
        let mut connection = self.base.connection().await?;
        if code.by_challenge {
            verification_codes::undo_try(&mut connection, &code.id).await?;
        } else {
            verification_codes::undo_open_try(&mut connection, &code.id).await?;
        }
        Ok(())
    }

    /// Compares a CONFIRM code with those that were sent to these addresses and numbers of the viewer.
    pub(super) async fn check_confirmation(
        &self,
        viewer: Viewer,
        targets: &[String],
        code: &CheckedCode,
        client: &Client,
    ) -> Result<RightCode> {
        let (purpose, user) = (CodePurpose::Confirm, Some(viewer.user));
        let slots: Vec<_> = targets.iter().map(|target| Slot { purpose, target, user }).collect();
        self.check_code(Subject::User(viewer.user), &slots, code, client).await
    }

    /// Compares a CONFIRM code with those that were sent to any of the viewer's verified addresses and numbers.
    pub(in crate::domain) async fn check_any_confirmation(
        &self,
        viewer: Viewer,
        code: &EnteredCode,
        client: &Client,
    ) -> Result<(RightCode, Vec<String>)> {
        let mut check = Check::default();
        let code = code.checked(&mut check, CodeFields::TOP);
        check.done()?;
        let user = users::by_id(&mut *self.base.connection().await?, viewer.user).await?;
        let user = user.ok_or_else(|| wrong_code(code.path))?;
        let targets = verified_targets(&user);
        Ok((self.check_confirmation(viewer, &targets, &code, client).await?, targets))
    }

    /// Deletes all live codes with which somebody could get access to the account.
    pub(super) async fn delete_codes(&self, tx: &mut Transaction<'_>, user: &User) -> Result<()> {
        let (key, targets) = (&self.tokens.code_key, verified_targets(user));
        let slots = targets.iter().flat_map(|target| Slot::all_of(target, user.id));
        let slots: Vec<_> = slots.map(|slot| slot.id(key)).collect();
        Ok(verification_codes::delete_all(tx.conn(), &slots, user.id).await?)
    }
}

impl RightCode {
    /// Uses up the code. Returns BAD_USER_INPUT if another request has used or replaced it meanwhile.
    pub(in crate::domain) async fn use_up(&self, tx: &mut Transaction<'_>) -> Result<()> {
        if verification_codes::delete(tx.conn(), &self.id).await? { Ok(()) } else { Err(self.wrong()) }
    }

    /// Returns the error for every code that does not work.
    pub(in crate::domain) fn wrong(&self) -> Error {
        wrong_code(self.path)
    }
}

/// Returns the verified addresses and numbers of the user in the form to which codes are sent. An older server may have
/// stored a number in another form.
pub(in crate::domain) fn verified_targets(user: &User) -> Vec<String> {
    Kind::ALL.iter().filter_map(|kind| kind.verified(user)).map(validate::identifier).collect()
}

fn wrong_code(path: &str) -> Error {
    Error::invalid(path, "This code is wrong, expired or already used. Call `requestCode` for a new one.")
}
