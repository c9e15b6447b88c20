//! Validation and normalisation of the text that users enter.

use chrono::{DateTime, Datelike as _, Utc};

use super::error::{Error, Result, Violation};
use super::{phone, text};
use crate::text::ascii_digit;

const USERNAME: std::ops::RangeInclusive<usize> = 3..=32;
const DISPLAY_NAME: std::ops::RangeInclusive<usize> = 1..=64;
const ABOUT: std::ops::RangeInclusive<usize> = 0..=500;
const DEVICE_NAME: std::ops::RangeInclusive<usize> = 1..=100;
const TITLE: std::ops::RangeInclusive<usize> = 1..=100;
const TOPIC: std::ops::RangeInclusive<usize> = 0..=500;
const CLIENT_ID: std::ops::RangeInclusive<usize> = 1..=64;
/// Maximum length of a file name in characters, the limit of NTFS and APFS. A character has up to four bytes. Each byte
/// takes three bytes in the header Content-Disposition, and five in the URL of a download, which contains the header.
/// So the name takes at most 5,100 bytes of the URL. Proxies and S3 allow 8,192.
const MAX_FILE_NAME: usize = 255;
/// Maximum size of a content type in bytes. RFC 6838, section 4.2, allows 127 characters for each of its two parts.
const MAX_CONTENT_TYPE: usize = 255;
/// Size of a SHA-256 hash in bytes. As text, each byte has two hexadecimal digits.
const SHA256: usize = 32;
/// Allowed years of a time. The years of RFC 3339 have four digits.
const YEARS: std::ops::RangeInclusive<i32> = 0..=9999;
/// Allowed number of seconds after which a message expires: at most 365 days.
const EXPIRES_IN: std::ops::RangeInclusive<i32> = 1..=31_536_000;
/// Maximum size of an e-mail address in bytes. RFC 5321, section 4.5.3.1.3, allows 256 including two angle brackets.
const MAX_EMAIL: usize = 254;
/// Number of digits of a verification code.
pub(super) const CODE_DIGITS: usize = 6;
/// Maximum number of characters of a code that are read. Each digit can have spaces around it.
const MAX_CODE_TEXT: usize = 32;
/// Number of random bytes of a challenge: 144 bits, which nobody can guess.
pub(super) const CHALLENGE_BYTES: usize = 18;
/// Number of characters of a challenge: its bytes in Base64.
const CHALLENGE_CHARACTERS: usize = CHALLENGE_BYTES / 3 * 4;
/// Allowed length of a password in characters. A longer password takes longer to process and is not safer.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=128;
/// Maximum number of characters into which Unicode decomposes one character.
const MAX_DECOMPOSED: usize = 4;
/// Minimum strength of a password: an attacker needs at least about 10^6 guesses. zxcvbn describes this score as
/// protection from unthrottled online attacks.
const MIN_PASSWORD_SCORE: zxcvbn::Score = zxcvbn::Score::Two;
/// Number of characters at the start of a password from which its strength is estimated. The time of the estimate grows
/// fast with this number: the slowest password takes 8 ms for 16 characters, 54 ms for 24, 99 ms for 32 and 1.1 s for
/// 128. For comparison, an Argon2 hash takes about 100 ms. Most passwords take less than 1 ms. If the start of a
/// password is hard to guess, the whole password is hard to guess.
const ESTIMATED_CHARACTERS: usize = 24;

pub(super) const NO_BODY: &str = "A message needs a body.";

/// Converts a username, e-mail address or phone number to the form in which it is stored.
pub(super) fn identifier(text: &str) -> String {
    phone::e164(text).unwrap_or_else(|| text.trim().to_lowercase())
}

/// Returns all forms in which a username, e-mail address or phone number may be stored, the form of `identifier` first.
pub(super) fn identifiers(text: &str) -> Vec<String> {
    let mut forms = vec![identifier(text)];
    if let Some(older) = phone::without_rules(text).filter(|older| *older != forms[0]) {
        forms.push(older);
    }
    forms
}

/// Same as `identifier`, but returns None if the text is neither an e-mail address nor a phone number.
pub(super) fn contact_point(text: &str) -> Option<String> {
    let text = identifier(text);
    (text.starts_with('+') || text.contains('@')).then_some(text)
}

/// Whether a text is a valid username in the form in which it is stored.
pub(super) fn is_username(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
    USERNAME.contains(&name.len()) && name.chars().all(allowed)
}

/// Whether an attacker needs many guesses for the password. `known` are words that an attacker tries first. Takes tens
/// of milliseconds, so the caller should use a thread on which blocking is allowed.
pub(super) fn is_hard_to_guess(password: &str, known: &[&str]) -> bool {
    let end = password.char_indices().nth(ESTIMATED_CHARACTERS).map_or(password.len(), |(end, _)| end);
    zxcvbn::zxcvbn(&password[..end], known).score() >= MIN_PASSWORD_SCORE
}

/// Whether the domain of an e-mail address is an IP address, also in brackets (RFC 5321, section 4.1.3). The server
/// sends no e-mails to these, because they would let clients choose the machine to which a relay connects. No top-level
/// domain is a number (RFC 3696, section 2).
fn is_address_literal(domain: &str) -> bool {
    let top = domain.rsplit('.').next().unwrap_or_default();
    domain.contains(['[', ']', ':']) || top.bytes().all(|byte| byte.is_ascii_digit())
}

/// Collects all violations of an input, so that one error reports them together.
#[derive(Default)]
pub(super) struct Check {
    violations: Vec<Violation>,
}

impl Check {
    pub(super) fn done(self) -> Result<()> {
        if self.violations.is_empty() { Ok(()) } else { Err(Error::Invalid(self.violations)) }
    }

    pub(super) fn fail(&mut self, path: &str, message: impl Into<String>) {
        self.violations.push(Violation::new(path, message));
    }

    /// Checks a username. Returns it in lower case, so that two usernames never differ only in case.
    pub(super) fn username(&mut self, text: &str) -> String {
        let name = text.trim().to_lowercase();
        if !is_username(&name) {
            self.fail(
                "username",
                format!(
                    "A username must have {} to {} letters a to z, digits, dots or underscores.",
                    USERNAME.start(),
                    USERNAME.end()
                ),
            );
        }
        name
    }

    pub(super) fn email(&mut self, path: &str, text: &str) -> String {
        let email = text.trim().to_lowercase();
        let is_valid = email.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && domain.split('.').count() > 1
                && domain.split('.').all(|label| !label.is_empty())
                && !domain.contains('@')
                && !is_address_literal(domain)
        });
        if !is_valid || email.len() > MAX_EMAIL || email.chars().any(|c| c.is_whitespace() || c.is_control()) {
            self.fail(path, "This is not an e-mail address.");
        }
        email
    }

    /// Checks a phone number. Returns it in the form of E.164.
    pub(super) fn phone(&mut self, path: &str, text: &str) -> String {
        phone::e164(text).unwrap_or_else(|| {
            self.fail(path, "A phone number must begin with + and its country code, such as +4915112345678.");
            String::new()
        })
    }

    /// Checks a verification code. Returns its digits in ASCII. Spaces between the digits are allowed, because some
    /// keyboards insert them.
    pub(super) fn code(&mut self, path: &str, text: &str) -> String {
        let spaced = text.chars().take(MAX_CODE_TEXT).filter(|c| !c.is_whitespace());
        let code: String = spaced.map(ascii_digit).collect();
        if code.len() != CODE_DIGITS || !code.bytes().all(|digit| digit.is_ascii_digit()) {
            self.fail(path, format!("A code must have {CODE_DIGITS} digits."));
        }
        code
    }

    /// Checks the form of a challenge, the name of a code.
    pub(super) fn challenge(&mut self, path: &str, text: &str) -> String {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        if text.len() == CHALLENGE_CHARACTERS && text.bytes().all(allowed) {
            return text.to_owned();
        }
        self.fail(path, "A challenge must be one that `requestCode` has returned.");
        String::new()
    }

    /// Checks the length of a new password in the input field `path`. Returns the form of the password that is hashed.
    /// `Passwords::hash_new` checks its strength later, on a thread on which blocking is allowed.
    pub(super) fn password(&mut self, path: &str, password: &str) -> String {
        let (min, max) = PASSWORD.into_inner();
        // A longer text is longer than `max` in the form that is hashed, too. It is refused before it is converted.
        let opaque = if password.chars().count() > MAX_DECOMPOSED * max { None } else { Some(text::opaque(password)) };
        match opaque {
            Some(opaque) if opaque.contains(char::is_control) => {
                self.fail(path, "A password cannot contain line breaks or control characters.");
            }
            Some(opaque) if PASSWORD.contains(&opaque.chars().count()) => return opaque,
            _ => self.fail(path, format!("A password must have {min} to {max} characters.")),
        }
        String::new()
    }

    pub(super) fn display_name(&mut self, text: &str) -> String {
        self.line("displayName", "A display name", text, DISPLAY_NAME)
    }

    pub(super) fn device_name(&mut self, text: &str) -> String {
        self.line("deviceName", "A device name", text, DEVICE_NAME)
    }

    pub(super) fn passkey_name(&mut self, text: &str) -> String {
        self.line("name", "The name of a passkey", text, DEVICE_NAME)
    }

    pub(super) fn title(&mut self, text: &str) -> String {
        self.line("title", "A title", text, TITLE)
    }

    pub(super) fn about(&mut self, text: &str) -> String {
        self.text("about", "An about text", text, ABOUT)
    }

    pub(super) fn topic(&mut self, text: &str) -> String {
        self.text("topic", "A topic", text, TOPIC)
    }

    /// Checks a clientId, which is stored exactly as sent.
    pub(super) fn client_id(&mut self, text: &str) {
        if !CLIENT_ID.contains(&text.chars().count()) || text.contains('\0') {
            let (min, max) = CLIENT_ID.into_inner();
            self.fail("clientId", format!("A clientId must have {min} to {max} characters."));
        }
    }

    /// Checks the body of a message, which is stored exactly as sent. The body must show something, have at most `max`
    /// characters, and not contain NUL.
    pub(super) fn body(&mut self, text: &str, max: usize) {
        if text::is_invisible(text) {
            self.fail("body", NO_BODY);
        } else {
            self.caption(text, max);
        }
    }

    /// Same as `body`, but the text may show nothing, because the message has attachments.
    pub(super) fn caption(&mut self, text: &str, max: usize) {
        if text.chars().count() > max {
            self.fail("body", format!("A message can have at most {max} characters."));
        } else if text.contains('\0') {
            self.fail("body", "A message cannot contain the character NUL.");
        }
    }

    /// Checks a file name. Removes a path before the name, so that the name cannot refer to another directory.
    pub(super) fn file_name(&mut self, text: &str) -> String {
        let name = text.rsplit(['/', '\\']).next().unwrap_or_default().trim();
        if name == "." || name == ".." || text::is_invisible(name) {
            self.fail("fileName", "A file needs a name.");
        } else if name.chars().count() > MAX_FILE_NAME {
            self.fail("fileName", format!("A file name can have at most {MAX_FILE_NAME} characters."));
        } else {
            // Checks the path, too, because it is not shown anywhere and no client sends such a path.
            self.single_line("fileName", "A file name", text);
        }
        name.to_owned()
    }

    /// Checks a content type. Returns it in lower case and without parameters.
    pub(super) fn content_type(&mut self, text: &str) -> String {
        let essence = match text.parse::<mime::Mime>() {
            Ok(parsed) if text.len() <= MAX_CONTENT_TYPE => parsed.essence_str().to_ascii_lowercase(),
            _ => String::new(),
        };
        if essence.is_empty() || essence.contains('*') {
            self.fail("contentType", "A content type must have two parts, such as image/jpeg.");
        }
        essence
    }

    pub(super) fn sha256(&mut self, text: &str) -> Vec<u8> {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        bytes.filter(|bytes| bytes.len() == SHA256).unwrap_or_else(|| {
            self.fail("sha256", format!("A SHA-256 must have {} hexadecimal digits.", 2 * SHA256));
            Vec::new()
        })
    }

    /// Checks that RFC 3339 can write the time: its year in UTC must have four digits. A time that a client sends with
    /// another offset can be in an earlier or later year.
    pub(super) fn time(&mut self, path: &str, time: DateTime<Utc>) {
        if !YEARS.contains(&time.year()) {
            self.fail(path, "A time must be from 0000-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z.");
        }
    }

    pub(super) fn expires_in(&mut self, seconds: i32) {
        if !EXPIRES_IN.contains(&seconds) {
            let (min, max) = EXPIRES_IN.into_inner();
            self.fail("expiresIn", format!("A message may expire after {min} to {max} seconds."));
        }
    }

    /// Adds a violation if there are more than `max` items. `what` names the items.
    pub(super) fn at_most(&mut self, path: &str, what: &str, count: usize, max: usize) {
        if count > max {
            self.fail(path, format!("At most {max} {what} are allowed."));
        }
    }

    /// Adds a violation unless the number of items is from 1 to `max`. `what` names the items.
    pub(super) fn count(&mut self, path: &str, what: &str, count: usize, max: usize) {
        if !(1..=max).contains(&count) {
            self.fail(path, format!("The number of {what} must be from 1 to {max}."));
        }
    }

    /// Same as `text`, but the text must be a single line that shows something.
    fn line(&mut self, path: &str, what: &str, text: &str, length: std::ops::RangeInclusive<usize>) -> String {
        let line = text.trim_matches(|c: char| c.is_whitespace() && !text::is_separator(c));
        if line.is_empty() || self.single_line(path, what, line) {
            return self.text(path, what, line, length);
        }
        line.to_owned()
    }

    /// Adds a violation if the text has line breaks, control characters, or characters that change the direction of the
    /// text around it. Returns whether the text has none of these.
    fn single_line(&mut self, path: &str, what: &str, text: &str) -> bool {
        if text.contains(|c: char| c.is_control() || text::is_separator(c)) {
            self.fail(path, format!("{what} cannot contain line breaks or control characters."));
        } else if text.contains(text::changes_direction) {
            self.fail(path, format!("{what} cannot contain characters that change the direction of text."));
        } else if text::is_invisible(text) {
            self.fail(path, format!("{what} must have a character that can be seen."));
        } else {
            return true;
        }
        false
    }

    /// Removes spaces at both ends. A text that shows nothing counts as empty.
    fn text(&mut self, path: &str, what: &str, text: &str, length: std::ops::RangeInclusive<usize>) -> String {
        let text = if text::is_invisible(text) { "" } else { text.trim() }.to_owned();
        if !length.contains(&text.chars().count()) {
            self.fail(path, format!("{what} must have {} to {} characters.", length.start(), length.end()));
        } else if text.contains('\0') {
            self.fail(path, format!("{what} cannot contain the character NUL."));
        }
        text
    }
}
