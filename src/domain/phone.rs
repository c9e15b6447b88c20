//! Phone numbers: from the text that a user enters to the form of ITU-T E.164, in which they are stored.

use phonenumber::Metadata;
use phonenumber::metadata::{DATABASE, Descriptor};

use super::text;
use crate::text::ascii_digit;

/// Allowed number of digits of a phone number. ITU-T E.164 allows at most 15, including the country code.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Maximum number of digits of a country code.
const COUNTRY_CODE_DIGITS: usize = 3;
/// Maximum size of the text of a phone number in bytes. Each of 15 digits can have four bytes and a separator after it.
const MAX_TEXT: usize = 128;

/// Loads the rules of all countries. This takes tens of milliseconds, so the caller should use a thread on which
/// blocking is allowed. Without this call, the first phone number loads them.
pub(super) fn load_rules() {
    let _ = DATABASE.by_code(&1);
}

/// Returns the phone number in the form of E.164, such as +4915112345678. Returns None if the text has no country code
/// or is no phone number.
///
/// The text may have the separators that people and their devices write: spaces, hyphens, brackets, dots, slashes, and
/// characters that show nothing. Removes the national prefix after the country code, as in +49 (0)151. A number that
/// follows no rule of its country stays as it is, because rules change and test numbers follow none.
pub(super) fn e164(text: &str) -> Option<String> {
    let phone = without_separators(text)?;
    let digits = phone.strip_prefix('+')?;
    if digits.len() < *DIGITS.start() || digits.starts_with('0') || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let (countries, code_length) = countries(digits)?;
    let is_valid = |national: &str| countries.iter().any(|country| country.descriptors().general().is_match(national));
    let national = &digits[code_length..];
    let without_prefix = countries.iter().find_map(|country| national.strip_prefix(country.national_prefix()?));
    let national = without_prefix.filter(|shorter| !is_valid(national) && is_valid(shorter)).unwrap_or(national);
    let number = format!("+{}{national}", &digits[..code_length]);
    DIGITS.contains(&(number.len() - 1)).then_some(number)
}

/// Returns the country code of a phone number in the form of E.164, such as 49.
pub(super) fn country_code(number: &str) -> Option<&str> {
    let digits = number.strip_prefix('+')?;
    let (_, length) = countries(digits)?;
    digits.get(..length)
}

/// Whether a message to this phone number, in the form of E.164, may cost more than one to a mobile number: premium
/// rate, shared cost, personal numbers, pagers, voicemail and company numbers. The owner of such a number may get a
/// share of the price.
pub(super) fn is_costly(number: &str) -> bool {
    let Some((countries, length)) = number.strip_prefix('+').and_then(countries) else { return false };
    let Some(national) = number.get(length + 1..) else { return false };
    let matches = |kind: Option<&Descriptor>| kind.is_some_and(|kind| kind.is_match(national));
    let is_costly = countries.iter().any(|country| {
        let kinds = country.descriptors();
        let costly = [kinds.premium_rate(), kinds.shared_cost(), kinds.personal_number(), kinds.pager()];
        costly.into_iter().chain([kinds.voicemail(), kinds.uan()]).any(matches)
    });
    // Countries with the same code have some rules that overlap.
    is_costly && !countries.iter().any(|country| matches(country.descriptors().mobile()))
}

/// Returns the countries of a phone number without its plus, and the number of digits of their code.
fn countries(digits: &str) -> Option<(Vec<&'static Metadata>, usize)> {
    (1..=COUNTRY_CODE_DIGITS).find_map(|length| {
        let code: u16 = digits.get(..length)?.parse().ok()?;
        Some((DATABASE.by_code(&code)?, length))
    })
}

/// Returns the phone number in the form in which servers stored it before they knew the rules of its country, such as
/// +4901512345678. Returns None if these servers refused the text.
pub(super) fn without_rules(text: &str) -> Option<String> {
    let is_separator = |c: char| matches!(c, ' ' | '-' | '(' | ')');
    // Keeps one digit more than a number can have, so that a longer text is refused.
    let phone: String = text.chars().filter(|&c| !is_separator(c)).take(DIGITS.end() + 2).collect();
    let digits = phone.strip_prefix('+')?;
    let is_number = DIGITS.contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then_some(phone)
}

/// Removes the separators, and writes all digits in ASCII. Returns None if the text is too long for a phone number.
fn without_separators(text: &str) -> Option<String> {
    if text.len() > MAX_TEXT {
        return None;
    }
    Some(text::compatible(text).chars().filter(|&c| !is_separator(c)).map(ascii_digit).collect())
}

/// Returns whether the character separates the groups of a phone number, or shows nothing.
fn is_separator(c: char) -> bool {
    // The minus sign and the katakana-hiragana prolonged sound mark are typed as hyphens.
    matches!(
        c,
        '.' | '/' | '·' | '•' | '~' | '\u{2044}' | '\u{2053}' | '\u{2212}' | '\u{2215}' | '\u{223C}' | '\u{30FC}'
    ) || text::is_dash(c)
        || text::is_bracket(c)
        || text::is_invisible_char(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_of_every_kind_are_removed() {
        for text in [
            "+4915123451234",
            "+49 151 2345 1234",
            "+49\u{A0}151\u{A0}2345\u{A0}1234",
            "+49\u{202F}151\u{2009}2345\u{3000}1234",
            "+49 (0)151 / 23451234",
            "+49.151.2345.1234",
            "+49-151-2345-1234",
            "+49\u{2011}151\u{2013}2345\u{2212}1234",
            "(+49) 151 [2345] 1234",
            "\u{202A}+49 151 23451234\u{202C}",
            "\u{2066}+49 151 23451234\u{2069}",
            "\u{200E}+49\u{200F}151\u{2060}2345\u{FEFF}1234\u{200B}",
            "＋４９（１５１）２３４５．１２３４",
            "+٤٩ ١٥١ ٢٣٤٥ ١٢٣٤",
            "+४९ १५१ २३४५ १२३४",
            "+49 151/2345\t1234\n",
        ] {
            assert_eq!(e164(text).as_deref(), Some("+4915123451234"), "{}", text.escape_unicode());
        }
    }

    #[test]
    fn national_prefixes_are_removed_where_the_country_has_them() {
        for (text, expected) in [
            ("+44 (0)20 7946 0958", "+442079460958"),
            ("+33 (0)6 12 34 56 78", "+33612345678"),
            ("+39 06 698 12345", "+390669812345"),
            ("+1 (212) 555-0123", "+12125550123"),
            ("+7 800 555-35-35", "+78005553535"),
            ("+36 (06) 20 123 4567", "+36201234567"),
            ("+375 801 123 4567", "+3758011234567"),
            ("+800 1234 5678", "+80012345678"),
        ] {
            assert_eq!(e164(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_international_phone_numbers_are_refused() {
        for text in [
            "",
            "+",
            "15123451234",
            "0049 151 23451234",
            "+0151 23451234",
            "+49 151 ABCDEFG",
            "+123456",
            "+1234567890123456",
            "+999 1234567",
            "+49+15123451234",
            "+49 151 23451234 ext. 5",
            "ada@example.org",
            "+49 151 2345 1234, 1235",
        ] {
            assert_eq!(e164(text), None, "{text}");
        }
        assert_eq!(e164(&"+".repeat(MAX_TEXT + 1)), None);
    }

    #[test]
    fn numbers_of_older_servers_keep_their_national_prefix() {
        for (text, expected) in [
            ("+49 (0)151 2345-1234", Some("+49015123451234")),
            ("+999 1234567", Some("+9991234567")),
            ("+123456789012345", Some("+123456789012345")),
            ("+1234567890123456", None),
            ("+49 151/23451234", None),
            ("49 151 23451234", None),
            ("ada", None),
        ] {
            assert_eq!(without_rules(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn costly_numbers_are_recognised() {
        for costly in ["+499001234567", "+19002345678", "+448712345678", "+447012345678", "+491805012345"] {
            assert!(is_costly(costly), "{costly}");
        }
        for usual in
            ["+4915123451234", "+12125550123", "+447400123456", "+33612345678", "+390669812345", "+5511961234567"]
        {
            assert!(!is_costly(usual), "{usual}");
        }
        // No mobile number of any country is refused.
        for country in DATABASE.iter() {
            let Some(example) = country.descriptors().mobile().and_then(Descriptor::example) else { continue };
            assert!(!is_costly(&format!("+{}{example}", country.country_code())), "{}", country.id());
        }
    }

    #[test]
    fn a_number_begins_with_its_country_code() {
        for (number, code) in
            [("+4915123451234", Some("49")), ("+12125550123", Some("1")), ("+358401234567", Some("358"))]
        {
            assert_eq!(country_code(number), code, "{number}");
        }
        assert_eq!(country_code("+9991234567"), None);
        assert_eq!(country_code("ada@example.org"), None);
    }

    /// A wrong removal of a prefix would store a number that belongs to somebody else.
    #[test]
    fn the_example_numbers_of_all_countries_stay_as_they_are() {
        for country in DATABASE.iter() {
            let kinds = country.descriptors();
            let examples = [kinds.fixed_line(), kinds.mobile(), kinds.toll_free(), kinds.premium_rate(), kinds.voip()];
            for example in examples.into_iter().flatten().filter_map(|kind| kind.example()) {
                let number = format!("+{}{example}", country.country_code());
                if DIGITS.contains(&(number.len() - 1)) {
                    assert_eq!(e164(&number).as_deref(), Some(number.as_str()), "{}", country.id());
                }
            }
        }
    }
}
