//! Usernames that the server chooses: random ones, and ones from the names that issuers give.

use crate::domain::validate::is_username;
use crate::random::Random;
use crate::text;

/// Prefix of the generated username of an account that a code or a token has made.
pub(super) const USER: &str = "user_";
/// Prefix of the generated username of a guest.
pub(super) const GUEST: &str = "guest_";

/// Number of random characters in a generated username: 50 random bits.
const RANDOM_CHARACTERS: usize = 10;
/// Number of random characters that distinguish a username from one that is taken: 25 random bits.
const SUFFIX_CHARACTERS: usize = 5;
/// Maximum length of a username from an issuer, so that a suffix and its separator fit.
const MAX_CONVERTED: usize = 32 - SUFFIX_CHARACTERS - 1;
/// Maximum number of characters of an issuer's username that are read.
const MAX_READ: usize = 64;
/// The alphabet of Base32 (RFC 4648) in lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Returns a random username. It reveals nothing about its owner.
pub(super) fn generated(prefix: &str, random: &Random) -> String {
    format!("{prefix}{}", characters::<RANDOM_CHARACTERS>(random))
}

/// Converts an issuer's username, which can be an e-mail address, to the rules of usernames. Returns None if too little
/// is left.
pub(super) fn converted(name: &str) -> Option<String> {
    let name = name.split('@').next().unwrap_or_default().to_lowercase();
    let mut username = String::new();
    for c in name.chars().take(MAX_READ) {
        match c {
            'a'..='z' | '0'..='9' | '_' | '.' => username.push(c),
            '-' | ' ' => username.push('_'),
            // Letters with accents become letters without.
            _ => username.extend(text::fold(c.encode_utf8(&mut [0; 4])).chars().filter(char::is_ascii_alphanumeric)),
        }
    }
    username.truncate(MAX_CONVERTED);
    is_username(&username).then_some(username)
}

/// Appends random characters to a username that is taken.
pub(super) fn with_suffix(username: &str, random: &Random) -> String {
    format!("{username}_{}", characters::<SUFFIX_CHARACTERS>(random))
}

fn characters<const N: usize>(random: &Random) -> String {
    random.bytes::<N>().map(|byte| char::from(BASE32[usize::from(byte % 32)])).iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_username_is_valid() {
        let random = Random::system();
        for prefix in [USER, GUEST] {
            let (one, other) = (generated(prefix, &random), generated(prefix, &random));
            assert!(is_username(&one) && one.starts_with(prefix), "{one}");
            assert_ne!(one, other);
        }
    }

    #[test]
    fn the_username_of_an_issuer_is_converted() {
        for (name, expected) in [
            ("ada", "ada"),
            ("Ada.Lovelace", "ada.lovelace"),
            ("ada-lovelace@example.org", "ada_lovelace"),
            ("Zoë Müller", "zoe_muller"),
            ("a!d?a", "ada"),
        ] {
            assert_eq!(converted(name).as_deref(), Some(expected), "{name}");
        }
        for name in ["", "ab", "@example.org", "愛", "!!!"] {
            assert_eq!(converted(name), None, "{name}");
        }
        let long = converted(&"a".repeat(1000)).unwrap();
        let suffixed = with_suffix(&long, &Random::system());
        assert!(suffixed.starts_with(&long) && is_username(&suffixed), "{suffixed}");
    }
}
