//! The most common passwords of leaked accounts, which attackers try first.
//!
//! zxcvbn, which estimates the strength of new passwords, knows other lists. It takes about 200 of these passwords for
//! strong ones. `common_passwords.LICENSE` names the source of the list and its licence.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::text::fold;

/// The passwords with at least 8 characters among the 10,000 most common ones, in lower case.
static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// Returns whether the password is one of the most common ones. Ignores case, accents, width, and punctuation at both
/// ends.
pub(super) fn is_common(password: &str) -> bool {
    COMMON.contains(password.to_lowercase().as_str()) || COMMON.contains(fold(password).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_in_lower_case() {
        let lines: Vec<&str> = include_str!("common_passwords.txt").lines().collect();
        assert_eq!(lines.len(), 3896);
        assert!(lines.is_sorted());
        assert!(lines.iter().all(|line| line.len() >= 8 && line.to_lowercase() == *line && line.trim() == *line));
    }

    #[test]
    fn a_common_password_is_found_in_every_case_and_with_punctuation() {
        for password in
            ["telechargement", "Telechargement", "T\u{E9}l\u{E9}chargement!", "ＴＥＬＥＣＨＡＲＧＥＭＥＮＴ"]
        {
            assert!(is_common(password), "{password}");
        }
        for password in ["telechargement 29", "tele chargement", "correct horse battery staple", ""] {
            assert!(!is_common(password), "{password}");
        }
    }
}
