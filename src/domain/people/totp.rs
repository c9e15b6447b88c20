//! Time-based one-time codes (TOTP, RFC 6238): the codes of authenticator apps.

use chrono::{DateTime, Utc};
use percent_encoding::{NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use totp_rs::{Algorithm, Builder, Secret, Totp};

/// Size of a secret in bytes: that of a SHA-1, as RFC 4226, section 4, recommends.
pub(super) const SECRET_BYTES: usize = 20;
/// Number of digits of a code. Many apps know only six.
const DIGITS: u8 = 6;
/// Seconds for which a code is shown.
const STEP_SECONDS: u64 = 30;
/// Number of earlier and later codes that are accepted, for phones with a wrong clock and for slow users.
const SKEW: u16 = 1;

/// Returns the time step of the code if the code is right at this time and is newer than the last code that was used.
/// The comparison takes the same time for all codes.
pub(super) fn matching_step(secret: &[u8], code: &str, now: DateTime<Utc>, last_step: Option<i64>) -> Option<i64> {
    let seconds = u64::try_from(now.timestamp()).ok()?;
    let step = generator(secret).check(code, seconds)?;
    i64::try_from(step).ok().filter(|step| last_step.is_none_or(|last| *step > last))
}

/// Returns the secret as authenticator apps take it from the keyboard: in Base32 (RFC 4648) without padding.
pub(super) fn text(secret: &[u8]) -> String {
    Secret::from(secret).to_base32()
}

/// Returns the address from which authenticator apps read the secret, usually as a QR code: the key URI format of
/// Google Authenticator.
pub(super) fn uri(secret: &[u8], app_name: &str, username: &str) -> String {
    // A colon separates the issuer from the account.
    let app_name = app_name.replace(':', " ");
    let (issuer, account, secret) = (encode(&app_name), encode(username), text(secret));
    format!(
        "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}\
         &period={STEP_SECONDS}"
    )
}

fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

fn generator(secret: &[u8]) -> Totp {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(DIGITS)
        .with_step_duration(STEP_SECONDS)
        .with_skew(SKEW)
        .with_secret(secret)
        .build_noncompliant()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of the test vectors of RFC 6238.
    const RFC_SECRET: &[u8] = b"12345678901234567890";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// RFC 6238, appendix B, with SHA-1. The RFC shows eight digits, and a code of six digits is their end.
    #[test]
    fn codes_match_the_vectors_of_the_rfc() {
        for (seconds, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(matching_step(RFC_SECRET, &code[2..], at(seconds), None), Some(seconds / 30), "{code}");
        }
    }

    #[test]
    fn a_code_is_accepted_one_step_early_or_late() {
        // The code of the seconds 30 to 59.
        let code = "287082";
        for (seconds, accepted) in [(-1, false), (0, true), (29, true), (59, true), (89, true), (90, false)] {
            let step = matching_step(RFC_SECRET, code, at(seconds), None);
            assert_eq!(step, accepted.then_some(1), "{seconds}");
        }
    }

    #[test]
    fn a_code_is_not_accepted_after_it_or_a_newer_one_was_used() {
        let code = "287082";
        assert_eq!(matching_step(RFC_SECRET, code, at(59), Some(0)), Some(1));
        for last in [1, 2] {
            assert_eq!(matching_step(RFC_SECRET, code, at(59), Some(last)), None);
        }
        for wrong in ["287083", "87082", "0287082", "", "28708a"] {
            assert_eq!(matching_step(RFC_SECRET, wrong, at(59), None), None, "{wrong}");
        }
    }

    #[test]
    fn the_uri_has_the_issuer_the_account_and_the_secret() {
        let uri = uri(RFC_SECRET, "Our: Chat", "ada_l");
        assert_eq!(
            uri,
            "otpauth://totp/Our%20%20Chat:ada%5Fl?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Our%20%20Chat\
             &algorithm=SHA1&digits=6&period=30"
        );
        assert!(uri.contains(&text(RFC_SECRET)));
    }
}
