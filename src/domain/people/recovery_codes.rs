//! Recovery codes: ten random texts, each of which replaces the authenticator app once.

use sha2::{Digest as _, Sha256};

use crate::ids::UserId;
use crate::random::Random;

/// Number of codes that an account gets at once.
const CODES: usize = 10;
/// Number of random bytes of a code: 80 bits, too many to find a code from its hash.
const CODE_BYTES: usize = 10;
/// Number of characters of a code, of five bits each.
const CODE_CHARACTERS: usize = 16;
/// Number of characters between two hyphens, so that people can copy a code.
const GROUP: usize = 4;
/// Maximum size of a text in bytes that is read as a code. Codes of this server have 19 bytes with their hyphens.
const MAX_TEXT: usize = 64;
/// The alphabet of Crockford's base32, without letters that look like digits.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Makes new codes, such as 7h3k-x2m9-qa4t-0vdw.
pub(super) fn new_codes(random: &Random) -> Vec<String> {
    (0..CODES).map(|_| grouped(&new_code(random))).collect()
}

/// Returns the hash under which a code of the user is stored. Returns None if the text cannot be a code. Case, spaces
/// and hyphens do not matter, and letters that look like digits count as those digits.
pub(super) fn hash(user: UserId, text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let written = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
    let code: String = written
        .map(|c| match c.to_ascii_lowercase() {
            'i' | 'l' => '1',
            'o' => '0',
            other => other,
        })
        .collect();
    let is_code = code.len() == CODE_CHARACTERS && code.bytes().all(|byte| ALPHABET.contains(&byte));
    is_code.then(|| Sha256::new().chain_update(user.0.as_bytes()).chain_update(code).finalize().to_vec())
}

fn new_code(random: &Random) -> String {
    let mut bits = random.bytes::<CODE_BYTES>().iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    let mut code = String::with_capacity(CODE_CHARACTERS);
    for _ in 0..CODE_CHARACTERS {
        code.push(char::from(ALPHABET[(bits & 31) as usize]));
        bits >>= 5;
    }
    code
}

/// Writes a code in groups.
fn grouped(code: &str) -> String {
    let mut grouped = String::new();
    for (place, c) in code.chars().enumerate() {
        if place > 0 && place.is_multiple_of(GROUP) {
            grouped.push('-');
        }
        grouped.push(c);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(last: u8) -> UserId {
        UserId(uuid::Uuid::from_u128(u128::from(last)))
    }

    #[test]
    fn codes_are_different_and_in_groups() {
        let codes = new_codes(&Random::system());
        assert_eq!(codes.len(), CODES);
        for (place, code) in codes.iter().enumerate() {
            assert!(code.len() == 19 && code.split('-').all(|group| group.len() == GROUP), "{code}");
            assert!(!codes[..place].contains(code), "{code}");
        }
    }

    #[test]
    fn a_code_is_right_in_every_way_of_writing_it() {
        let hashed = hash(user(1), "0123-4567-89ab-cdef").unwrap();
        for text in ["0123456789abcdef", " O123 4567 89AB CDEF\n", "oi23-4567-89ab-cdef", "ol23-4567-89ab-cdef"] {
            assert_eq!(hash(user(1), text).as_ref(), Some(&hashed), "{text}");
        }
        assert_ne!(hash(user(2), "0123-4567-89ab-cdef").unwrap(), hashed);
        assert_ne!(hash(user(1), "0123-4567-89ab-cdeg").unwrap(), hashed);
        for text in ["", "0123-4567-89ab-cde", "0123-4567-89ab-cdeu", "0123-4567-89ab-cdef0", &"0".repeat(65), "é"] {
            assert_eq!(hash(user(1), text), None, "{text}");
        }
    }
}
