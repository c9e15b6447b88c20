//! The rules of what people may type.

use super::error::{Error, Result, Violation};

const USERNAME: std::ops::RangeInclusive<usize> = 3..=32;
const DISPLAY_NAME: std::ops::RangeInclusive<usize> = 1..=64;
const ABOUT: std::ops::RangeInclusive<usize> = 0..=500;
const DEVICE_NAME: std::ops::RangeInclusive<usize> = 1..=100;
const TITLE: std::ops::RangeInclusive<usize> = 1..=100;
const TOPIC: std::ops::RangeInclusive<usize> = 0..=500;
const CLIENT_ID: std::ops::RangeInclusive<usize> = 1..=64;
/// Seconds: up to a year.
const EXPIRES_IN: std::ops::RangeInclusive<i32> = 1..=31_536_000;
/// RFC 5321, section 4.5.3.1.3: a path of 256 with its angle brackets.
const MAX_EMAIL: usize = 254;
/// ITU-T E.164: a country code and subscriber number of 15 digits at most.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Longer ones cost time and make nothing safer.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=128;
/// zxcvbn's "safe from an online attack that is not throttled", about 10^6 guesses and more.
const MIN_PASSWORD_SCORE: zxcvbn::Score = zxcvbn::Score::Two;

/// A username, e-mail address or phone number in the form that it is kept in.
pub(super) fn identifier(text: &str) -> String {
    if text.trim().starts_with('+') { phone_digits(text) } else { text.trim().to_lowercase() }
}

/// The same of what may be an e-mail address or a phone number; None of anything else.
pub(super) fn contact_point(text: &str) -> Option<String> {
    let text = identifier(text);
    (text.starts_with('+') || text.contains('@')).then_some(text)
}

/// Whether it is one in the form that it is kept in.
pub(super) fn is_username(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
    USERNAME.contains(&name.len()) && name.chars().all(allowed)
}

/// Spaces, hyphens and brackets are for people; what is kept is E.164.
fn phone_digits(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')')).collect()
}

/// Collects what is wrong with an input, so that a person hears it all at once.
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

    /// Lower case, so that two never differ by case alone.
    pub(super) fn username(&mut self, text: &str) -> String {
        let name = text.trim().to_lowercase();
        if !is_username(&name) {
            self.fail(
                "username",
                format!(
                    "A username has {} to {} letters a to z, digits, dots or underscores.",
                    USERNAME.start(),
                    USERNAME.end()
                ),
            );
        }
        name
    }

    pub(super) fn email(&mut self, text: &str) -> String {
        let email = text.trim().to_lowercase();
        let plausible = email.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && domain.split('.').count() > 1
                && domain.split('.').all(|label| !label.is_empty())
                && !domain.contains('@')
        });
        if !plausible || email.len() > MAX_EMAIL || email.chars().any(|c| c.is_whitespace() || c.is_control()) {
            self.fail("email", "This is no e-mail address.");
        }
        email
    }

    pub(super) fn phone(&mut self, text: &str) -> String {
        let phone = phone_digits(text);
        let digits = phone.strip_prefix('+').unwrap_or_default();
        let plausible = PHONE_DIGITS.contains(&digits.len())
            && digits.chars().all(|c| c.is_ascii_digit())
            && !digits.starts_with('0');
        if !plausible {
            self.fail("phone", "A phone number begins with + and its country code, such as +4915112345678.");
        }
        phone
    }

    /// `path` is the field it came in; `known` are words that an attacker tries first.
    pub(super) fn password(&mut self, path: &str, password: &str, known: &[&str]) {
        if !PASSWORD.contains(&password.chars().count()) {
            let (min, max) = PASSWORD.into_inner();
            self.fail(path, format!("A password has {min} to {max} characters."));
        } else if zxcvbn::zxcvbn(password, known).score() < MIN_PASSWORD_SCORE {
            self.fail(path, "This password is too easy to guess. A few uncommon words make a good one.");
        }
    }

    pub(super) fn display_name(&mut self, text: &str) -> String {
        self.line("displayName", "A display name", text, DISPLAY_NAME)
    }

    pub(super) fn device_name(&mut self, text: &str) -> String {
        self.line("deviceName", "A device name", text, DEVICE_NAME)
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

    /// Kept exactly as sent.
    pub(super) fn client_id(&mut self, text: &str) {
        if !CLIENT_ID.contains(&text.chars().count()) || text.contains('\0') {
            self.fail("clientId", format!("A clientId has {} to {} characters.", CLIENT_ID.start(), CLIENT_ID.end()));
        }
    }

    /// Kept exactly as sent: only what cannot be kept, or says nothing, is refused.
    pub(super) fn body(&mut self, text: &str, max: usize) {
        if text.trim().is_empty() {
            self.fail("body", "A message needs a body.");
        } else if text.chars().count() > max {
            self.fail("body", format!("A message has at most {max} characters."));
        } else if text.contains('\0') {
            self.fail("body", "A message cannot hold the character NUL.");
        }
    }

    pub(super) fn expires_in(&mut self, seconds: i32) {
        if !EXPIRES_IN.contains(&seconds) {
            let (min, max) = EXPIRES_IN.into_inner();
            self.fail("expiresIn", format!("A message may expire after {min} to {max} seconds."));
        }
    }

    /// One to `max` of them.
    pub(super) fn count(&mut self, path: &str, what: &str, count: usize, max: usize) {
        if !(1..=max).contains(&count) {
            self.fail(path, format!("Allowed are 1 to {max} {what}."));
        }
    }

    /// One line of text.
    fn line(&mut self, path: &str, what: &str, text: &str, length: std::ops::RangeInclusive<usize>) -> String {
        if text.trim().contains(char::is_control) {
            self.fail(path, format!("{what} cannot hold line breaks or control characters."));
            return text.to_owned();
        }
        self.text(path, what, text, length)
    }

    fn text(&mut self, path: &str, what: &str, text: &str, length: std::ops::RangeInclusive<usize>) -> String {
        let text = text.trim().to_owned();
        if !length.contains(&text.chars().count()) {
            self.fail(path, format!("{what} has {} to {} characters.", length.start(), length.end()));
        } else if text.contains('\0') {
            self.fail(path, format!("{what} cannot hold the character NUL."));
        }
        text
    }
}
