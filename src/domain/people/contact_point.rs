//! An e-mail address or a phone number, to which the server sends codes and other notices.

use super::core::PeopleCore;
use super::notice_language::notice_language;
use super::tries::name_key;
use crate::domain::client::Client;
use crate::domain::error::{Error, Result};
use crate::domain::phone;
use crate::domain::validate::{self, Check};
use crate::limiter::Rate;
use crate::notices::{Channel, ContactKind, FactorChange, Language, Notice, Outgoing, Recipient};
use crate::store::people::users::User;

/// Name of the input field with an e-mail address or a phone number.
pub(super) const CONTACT_POINT: &str = "contactPoint";
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

    /// Returns the kind as notices name it.
    pub(super) const fn in_notices(self) -> ContactKind {
        match self {
            Self::Email => ContactKind::Email,
            Self::Phone => ContactKind::Phone,
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
    /// Returns BAD_USER_INPUT if the server cannot send to this address or number. `path` is the input field.
    pub(super) fn check_channel(&self, contact_point: &ContactPoint, path: &str) -> Result<()> {
        match self.obstacle(contact_point.kind, &contact_point.value) {
            Some(message) => Err(Error::invalid(format!("{path}.{}", contact_point.kind.field()), message)),
            None => Ok(()),
        }
    }

    /// Returns why the server cannot send to this address or number, as a message for the user. None if it can.
    pub(super) fn obstacle(&self, kind: Kind, address: &str) -> Option<&'static str> {
        let is_missing = |channel: Channel| channel == Channel::Unavailable;
        let (email, phone) = (is_missing(self.notices.email()), is_missing(self.notices.phone()));
        match kind {
            _ if email && phone => Some("This server sends neither e-mails nor SMS."),
            Kind::Email if email => Some("This server sends no e-mails. Use a phone number."),
            Kind::Phone if phone => Some("This server sends no SMS. Use an e-mail address."),
            Kind::Phone if !self.may_text(address) => {
                Some("This server sends no SMS to this country or to this kind of number. Use another number.")
            }
            _ => None,
        }
    }

    /// Whether SMS may be sent to this number: its country is in SMS_COUNTRIES, and its owner earns nothing from them.
    fn may_text(&self, number: &str) -> bool {
        phone::country_code(number).is_some_and(|code| self.sms_countries.contains(code)) && !phone::is_costly(number)
    }

    /// Whether RATE_SMS has room for one more SMS with a code. The SMS of known owners have as much room again, so that
    /// strangers who request codes for arbitrary numbers cannot lock them out.
    pub(super) fn has_room_for_sms(&self, is_owner: bool) -> bool {
        let has_room = |of: &str| self.base.limiter.check(Rate::Sms, name_key("sms", &[of]), 1).is_ok();
        has_room("all") || is_owner && has_room("owners")
    }

    /// Queues a notice in the language of the client. A notice for which there is no place is dropped.
    pub(super) fn tell(&self, recipient: Recipient, notice: Notice, client: &Client) {
        self.tell_in(client.language.clone(), recipient, notice, client);
    }

    fn tell_in(&self, language: Language, recipient: Recipient, notice: Notice, client: &Client) {
        let network = client.network;
        if let Err(full) = self.notices.send(Outgoing { recipient, notice, language, network }) {
            tracing::warn!(%full, "a notice was dropped");
        }
    }

    /// Sends a notice of a change to all e-mail addresses and phone numbers that the user has verified. `user` is the
    /// row before the change, so that the owner learns of a change by a thief. The notice is in the language of the
    /// account, or else in that of the client.
    pub(super) fn tell_owner(&self, user: &User, notice: &Notice, client: &Client) {
        let language = notice_language(user, client);
        for kind in Kind::ALL {
            let Some(address) = kind.verified(user) else { continue };
            if kind == Kind::Email || self.has_room_for_sms_to(user, address) {
                self.tell_in(language.clone(), kind.recipient(address), notice.clone(), client);
            }
        }
    }

    /// Tells the owner of a change of the second factors, passkeys or identities of the account.
    pub(super) fn tell_of_factor_change(&self, user: &User, change: FactorChange, client: &Client) {
        let notice = Notice::FactorChanged { username: user.username.clone(), change };
        self.tell_owner(user, &notice, client);
    }

    /// Whether an SMS about a change may be sent to this number of the user. Each SMS costs money, so a user can cause
    /// as many of them as codes.
    fn has_room_for_sms_to(&self, user: &User, number: &str) -> bool {
        let key = name_key("sms about changes", &[&user.id.to_string()]);
        let has_room = self.may_text(number) && self.base.limiter.check(Rate::CodesPerUser, key, 1).is_ok();
        if !has_room {
            tracing::warn!("an SMS about a change was not sent, because of SMS_COUNTRIES or RATE_CODES_PER_USER");
        }
        has_room
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
