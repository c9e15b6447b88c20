//! What a notice says, to whom, and in which language.

use std::fmt;
use std::time::Duration;

use reqwest::Url;

use super::language::Language;
use crate::address::ClientNetwork;

/// Maximum time from queueing a code until it is sent. A user who waits for longer requests another one.
const CODE_DEADLINE: Duration = Duration::from_mins(2);
/// Maximum time from queueing another notice until it is sent.
const NOTICE_DEADLINE: Duration = Duration::from_mins(10);
/// Maximum time from queueing a digest until it is sent. Nobody waits for a digest.
const DIGEST_DEADLINE: Duration = Duration::from_hours(1);
/// Maximum number of conversations that a digest lists. It tells the number of the others.
pub const MAX_DIGEST_CONVERSATIONS: usize = 10;

/// Address or number of a user, to which a notice is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// An e-mail address.
    Email(String),
    /// A phone number in the form of E.164, such as +491701234567.
    Phone(String),
}

/// Purpose of a verification code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeUse {
    Login,
    /// Proves that an address or a number belongs to the account.
    Verify,
    ResetPassword,
    /// Confirms a change of the account.
    Confirm,
}

/// Kind of an address or number of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactKind {
    Email,
    Phone,
}

/// Change of the second factors, passkeys or identities of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactorChange {
    TotpAdded,
    TotpRemoved,
    /// The account has new recovery codes, and the former ones no longer work.
    RecoveryCodesReplaced,
    RecoveryCodeUsed {
        /// Number of recovery codes that still work.
        left: u32,
    },
    PasskeyAdded {
        name: String,
    },
    PasskeyRemoved {
        name: String,
    },
    IdentityLinked {
        issuer: String,
    },
    IdentityUnlinked {
        issuer: String,
    },
}

/// Content of a notice.
#[derive(Clone, PartialEq, Eq)]
pub enum Notice {
    Code {
        code: String,
        usage: CodeUse,
        /// Minutes until the code expires.
        minutes: u32,
    },
    /// Tells the owner that the account has a first address or number of this kind. `now` is masked by the caller.
    ContactPointAdded { username: String, kind: ContactKind, now: String },
    /// Tells the owner that the account has another address or number of this kind. `now` is masked by the caller. None
    /// if it was removed.
    ContactPointChanged { username: String, kind: ContactKind, now: Option<String> },
    /// Tells the owner that the password was changed, or that the account has its first one.
    PasswordChanged { username: String, is_first: bool },
    /// Tells the owner that the password was reset.
    PasswordReset { username: String },
    /// Tells the owner that a second factor, a passkey or an identity was added, removed or used up.
    FactorChanged { username: String, change: FactorChange },
    /// Tells the user which messages are unread. Only for e-mail addresses: there are no templates for SMS.
    Digest {
        username: String,
        /// Number of all unread messages.
        unread: u32,
        /// Conversations with unread messages, in the order of the e-mail. The first MAX_DIGEST_CONVERSATIONS are
        /// listed. Empty if the e-mail must not name them.
        conversations: Vec<DigestConversation>,
        /// Number of conversations with unread messages that are not in `conversations`.
        others: u32,
        /// None without PUBLIC_URL. The e-mail then says that digests are turned off in the settings of the app.
        links: Option<DigestLinks>,
    },
}

/// A conversation in a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestConversation {
    /// Title of the group, or name of the other participant of a direct conversation.
    pub name: String,
    /// Number of unread messages of the conversation.
    pub unread: u32,
    /// What the e-mail shows of the newest unread message, as `PushTexts::preview` writes it. A long preview is
    /// shortened. None if the e-mail must not show the message.
    pub preview: Option<String>,
}

/// Links in a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestLinks {
    pub app: Url,
    /// Turns the digests of the user off. With https it accepts the POST request of RFC 8058 without a sign-in. A GET
    /// request must only show a page that asks, because mail filters open links.
    pub unsubscribe: Url,
}

/// A notice with its recipient and language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub recipient: Recipient,
    pub notice: Notice,
    pub language: Language,
    /// Network of the client that causes the notice, by which the queue counts. None if limits by address do not apply
    /// to the client.
    pub network: Option<ClientNetwork>,
}

impl fmt::Debug for Notice {
    /// Writes only the purpose, so that no log gets a code.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.purpose())
    }
}

impl ContactKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
        }
    }
}

impl Recipient {
    pub(super) fn address(&self) -> &str {
        match self {
            Self::Email(address) | Self::Phone(address) => address,
        }
    }

    /// Returns a form for logs, in which an operator recognises the recipient but cannot learn the address.
    pub(super) fn masked(&self) -> String {
        match self {
            Self::Email(address) => {
                let (user, domain) = address.rsplit_once('@').unwrap_or_default();
                format!("{}…@{domain}", user.chars().take(1).collect::<String>())
            }
            Self::Phone(number) => {
                let skipped = number.chars().count().saturating_sub(4);
                format!("…{}", number.chars().skip(skipped).collect::<String>())
            }
        }
    }

    /// Returns the group of recipients that depend on the same servers: the domain of an e-mail address, or the country
    /// code of a phone number.
    pub(super) fn group(&self) -> &str {
        match self {
            Self::Email(address) => address.rsplit_once('@').map_or(address, |(_, domain)| domain),
            Self::Phone(number) => {
                let digits = number.trim_start_matches('+');
                digits.get(..country_code_digits(digits)).unwrap_or(digits)
            }
        }
    }
}

/// Returns the number of digits of the country code with which these digits begin (ITU-T E.164, list of assigned
/// codes).
fn country_code_digits(digits: &str) -> usize {
    const TWO_DIGITS: [&str; 44] = [
        "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48", "49",
        "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81", "82", "84",
        "86", "90", "91", "92", "93", "94", "95", "98",
    ];
    if digits.starts_with(['1', '7']) {
        1
    } else if TWO_DIGITS.iter().any(|code| digits.starts_with(code)) {
        2
    } else {
        3
    }
}

impl CodeUse {
    pub(super) const ALL: [Self; 4] = [Self::Login, Self::Verify, Self::ResetPassword, Self::Confirm];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Verify => "verify",
            Self::ResetPassword => "reset_password",
            Self::Confirm => "confirm",
        }
    }
}

impl FactorChange {
    /// Returns the name of the change in templates.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::TotpAdded => "totp_added",
            Self::TotpRemoved => "totp_removed",
            Self::RecoveryCodesReplaced => "recovery_codes_replaced",
            Self::RecoveryCodeUsed { .. } => "recovery_code_used",
            Self::PasskeyAdded { .. } => "passkey_added",
            Self::PasskeyRemoved { .. } => "passkey_removed",
            Self::IdentityLinked { .. } => "identity_linked",
            Self::IdentityUnlinked { .. } => "identity_unlinked",
        }
    }

    /// Returns the name of the passkey. None if the change concerns no passkey.
    pub(super) fn passkey(&self) -> Option<&str> {
        match self {
            Self::PasskeyAdded { name } | Self::PasskeyRemoved { name } => Some(name),
            _ => None,
        }
    }

    /// Returns the name of the issuer. None if the change concerns no identity.
    pub(super) fn issuer(&self) -> Option<&str> {
        match self {
            Self::IdentityLinked { issuer } | Self::IdentityUnlinked { issuer } => Some(issuer),
            _ => None,
        }
    }

    /// Returns the number of recovery codes that still work. None if no recovery code was used.
    pub(super) const fn codes_left(&self) -> Option<u32> {
        match self {
            Self::RecoveryCodeUsed { left } => Some(*left),
            _ => None,
        }
    }
}

impl Notice {
    /// Returns the beginning of the names of the templates.
    pub(super) const fn template(&self) -> &'static str {
        match self {
            Self::Code { .. } => "code",
            Self::ContactPointAdded { .. } => "contact_point_added",
            Self::ContactPointChanged { .. } => "contact_point_changed",
            Self::PasswordChanged { .. } => "password_changed",
            Self::PasswordReset { .. } => "password_reset",
            Self::FactorChanged { .. } => "factor_changed",
            Self::Digest { .. } => "digest",
        }
    }

    /// Returns why the notice is sent, for the hook and for logs.
    pub(super) const fn purpose(&self) -> &'static str {
        match self {
            Self::Code { usage, .. } => usage.as_str(),
            _ => self.template(),
        }
    }

    /// Returns the verification code. None if the notice has none.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Code { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the notice has templates for SMS.
    pub(super) const fn has_sms(&self) -> bool {
        !matches!(self, Self::Digest { .. })
    }

    /// Returns the link that turns such notices off. None if the notice has none.
    pub(super) const fn unsubscribe(&self) -> Option<&Url> {
        match self {
            Self::Digest { links: Some(links), .. } => Some(&links.unsubscribe),
            _ => None,
        }
    }

    /// Returns the maximum time from queueing the notice until it is sent. A code is never sent after it has expired.
    pub(super) fn deadline(&self) -> Duration {
        match self {
            Self::Code { minutes, .. } => CODE_DEADLINE.min(Duration::from_mins(u64::from(*minutes))),
            Self::Digest { .. } => DIGEST_DEADLINE,
            _ => NOTICE_DEADLINE,
        }
    }
}

impl Outgoing {
    /// Replaces the code and the address of the recipient in an error of a server, and shortens it, for logs. Servers
    /// may write the address in another case.
    pub(super) fn redact(&self, reason: &str) -> String {
        const MAX_CHARACTERS: usize = 300;
        let mut text = replace_in_any_case(reason, self.recipient.address(), &self.recipient.masked());
        if let Some(code) = self.notice.code() {
            text = text.replace(code, "••••••");
        }
        text.chars().take(MAX_CHARACTERS).collect()
    }
}

/// Replaces all occurrences of a pattern. Letters of ASCII match in upper and lower case.
fn replace_in_any_case(text: &str, pattern: &str, replacement: &str) -> String {
    // Both texts have the same positions.
    let (lower, pattern) = (text.to_ascii_lowercase(), pattern.to_ascii_lowercase());
    let mut replaced = String::new();
    let mut end = 0;
    for (start, _) in lower.match_indices(&pattern).filter(|_| !pattern.is_empty()) {
        replaced += &text[end..start];
        replaced += replacement;
        end = start + pattern.len();
    }
    replaced + &text[end..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(minutes: u32) -> Notice {
        Notice::Code { code: "482913".into(), usage: CodeUse::Login, minutes }
    }

    #[test]
    fn a_masked_recipient_is_not_complete() {
        assert_eq!(Recipient::Email("ada@example.com".into()).masked(), "a…@example.com");
        assert_eq!(Recipient::Email("ä@example.com".into()).masked(), "ä…@example.com");
        assert_eq!(Recipient::Phone("+491701234567".into()).masked(), "…4567");
    }

    #[test]
    fn an_error_is_logged_without_the_code_and_the_address() {
        let recipient = Recipient::Email("ada@example.com".into());
        let outgoing = Outgoing { recipient, notice: code(10), language: Language::default(), network: None };
        for address in ["ada@example.com", "ADA@Example.COM"] {
            let redacted = outgoing.redact(&format!("550 Ü <{address}>: no such user, 482913"));
            assert_eq!(redacted, "550 Ü <a…@example.com>: no such user, ••••••");
        }
        assert!(!format!("{outgoing:?}").contains("482913"));
        assert_eq!(outgoing.redact(&"ä".repeat(1000)).chars().count(), 300);
    }

    #[test]
    fn recipients_of_a_domain_or_a_country_are_one_group() {
        assert_eq!(Recipient::Email("ada@example.com".into()).group(), "example.com");
        for (number, code) in [("+491701234567", "49"), ("+12125550123", "1"), ("+358401234567", "358")] {
            assert_eq!(Recipient::Phone(number.into()).group(), code);
        }
    }

    #[test]
    fn a_code_is_not_sent_after_it_expires() {
        assert_eq!(code(1).deadline(), Duration::from_mins(1));
        assert_eq!(code(10).deadline(), Duration::from_mins(2));
        assert_eq!(Notice::PasswordReset { username: "ada".into() }.deadline(), Duration::from_mins(10));
    }
}
