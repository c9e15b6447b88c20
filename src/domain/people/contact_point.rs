//! An e-mail address or a phone number, to which the server sends codes and other notices.

use super::core::PeopleCore;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::validate::{self, Check};
use crate::notices::{Channel, Notice, Outgoing, QueueFull, Recipient};
use crate::store::people::users::User;

/// Number of digits at the end of a phone number that its masked form shows.
const SHOWN_DIGITS: usize = 4;

/// An e-mail address or a phone number as a client sends it.
#[derive(Clone, Debug)]
pub enum ContactPointInput {
    Email(String),
    Phone(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Email,
    Phone,
}

/// An e-mail address or a phone number in the form in which it is stored.
#[derive(Clone, Debug)]
pub(super) struct ContactPoint {
    pub(super) kind: Kind,
    pub(super) value: String,
    /// All forms in which servers may have stored it, `value` among them.
    pub(super) forms: Vec<String>,
}

impl ContactPointInput {
    /// Checks the input in the input field `path`.
    pub(super) fn checked(self, check: &mut Check, path: &str) -> ContactPoint {
        let (kind, value, forms) = match self {
            Self::Email(text) => {
                let email = check.email(&format!("{path}.email"), &text);
                (Kind::Email, email.clone(), vec![email])
            }
            Self::Phone(text) => {
                (Kind::Phone, check.phone(&format!("{path}.phone"), &text), validate::identifiers(&text))
            }
        };
        ContactPoint { kind, value, forms }
    }
}

impl ContactPoint {
    /// Whether the user has verified this address or number. An older server may have stored it in another form.
    pub(super) fn is_verified_by(&self, user: &User) -> bool {
        self.kind.verified(user).is_some_and(|verified| validate::identifier(verified) == self.value)
    }

    pub(super) fn recipient(&self) -> Recipient {
        self.kind.recipient(&self.value)
    }
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Email, Self::Phone];

    /// Returns the name of the input field of this kind.
    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
        }
    }

    /// Returns the user's address or number. None if the user has none or has not verified it.
    pub(super) fn verified(self, user: &User) -> Option<&str> {
        match self {
            Self::Email => user.email.as_deref().filter(|_| user.email_verified_at.is_some()),
            Self::Phone => user.phone.as_deref().filter(|_| user.phone_verified_at.is_some()),
        }
    }

    pub(super) fn recipient(self, address: &str) -> Recipient {
        match self {
            Self::Email => Recipient::Email(address.to_owned()),
            Self::Phone => Recipient::Phone(address.to_owned()),
        }
    }
}

/// Hides most of an address or number: a…@example.org, •••• 5678. A notice to the former address shows the new one in
/// this form, because other people might read it.
pub(super) fn masked(kind: Kind, address: &str) -> String {
    match kind {
        Kind::Email => {
            let (local, domain) = address.split_once('@').unwrap_or((address, ""));
            format!("{}…@{domain}", local.chars().next().unwrap_or_default())
        }
        Kind::Phone => {
            let hidden = address.chars().count().saturating_sub(SHOWN_DIGITS);
            format!("•••• {}", address.chars().skip(hidden).collect::<String>())
        }
    }
}

impl PeopleCore {
    /// Returns BAD_USER_INPUT if the server cannot send to this kind of address. `path` is the input field.
    pub(super) fn check_channel(&self, kind: Kind, path: &str) -> Result<()> {
        let (channel, message) = match kind {
            Kind::Email => (self.notices.email(), "This server sends no e-mails. Use a phone number."),
            Kind::Phone => (self.notices.phone(), "This server sends no SMS. Use an e-mail address."),
        };
        match channel {
            Channel::Unavailable => Err(Error::invalid(format!("{path}.{}", kind.field()), message)),
            Channel::Sent | Channel::Logged => Ok(()),
        }
    }

    /// Queues a notice in the language of the client.
    pub(super) fn tell(&self, recipient: Recipient, notice: Notice, client: &Client) -> Result<(), QueueFull> {
        self.notices.send(Outgoing { recipient, notice, language: client.language.clone() })
    }

    /// Queues a notice after a change of the account, to each verified address and number of the user.
    pub(super) fn tell_owner(&self, user: &User, notice: &Notice, client: &Client) {
        for kind in Kind::ALL {
            if let Some(address) = kind.verified(user) {
                self.tell_of_change(kind.recipient(address), notice.clone(), client);
            }
        }
    }

    /// Queues a notice after a change of the account. The change is already committed, so a full queue is only logged.
    pub(super) fn tell_of_change(&self, recipient: Recipient, notice: Notice, client: &Client) {
        if self.tell(recipient, notice, client).is_err() {
            tracing::warn!("a notice of a change was dropped, because too many notices wait to be sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, masked};

    #[test]
    fn a_masked_contact_point_shows_only_its_beginning_or_end() {
        assert_eq!(masked(Kind::Email, "ada@example.org"), "a…@example.org");
        assert_eq!(masked(Kind::Email, "ü@example.org"), "ü…@example.org");
        assert_eq!(masked(Kind::Phone, "+4915112345678"), "•••• 5678");
        assert_eq!(masked(Kind::Phone, "+49"), "•••• +49");
    }
}
