//! The languages of notices, and which of them a client prefers.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

/// Maximum number of bytes of `Accept-Language` that are read. Browsers send less than 100.
const MAX_BYTES: usize = 256;
/// Maximum number of languages of a client that are compared with the available ones.
const MAX_RANGES: usize = 16;
/// Language of a notice if no template has a language that the client prefers. It has all templates.
pub(super) const DEFAULT: &str = "en";
/// Language range of a client that accepts any language.
const ANY: &str = "*";

/// The languages that a client prefers. The default is no preference, and notices are then in English. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Language(Option<Arc<str>>);

impl Language {
    /// Reads the value of `Accept-Language` (RFC 9110, section 12.5.4). The best language with templates is chosen when
    /// a notice is written, because operators can add languages. Reads a limited part of a long value.
    pub fn negotiate(accept_language: Option<&str>) -> Self {
        let header = accept_language.unwrap_or_default();
        let header = if header.len() > MAX_BYTES {
            // The last language may be cut off.
            let beginning = &header[..header.floor_char_boundary(MAX_BYTES)];
            beginning.rsplit_once(',').map_or("", |(complete, _)| complete)
        } else {
            header
        };
        Self((!header.is_empty()).then(|| header.into()))
    }

    /// Returns the language with this tag.
    pub fn tagged(tag: &str) -> Self {
        Self(Some(tag.into()))
    }

    /// Returns the best of the available languages, or else the default one.
    pub(super) fn choose<'a>(&self, available: &'a BTreeMap<String, String>) -> &'a str {
        self.matched(available).unwrap_or(DEFAULT)
    }

    /// Returns the best of the available languages, whose keys are tags in lower case, by the lookup of RFC 4647,
    /// section 3.4: `de-AT` is satisfied by `de`. None if the client prefers none of them. Languages that it prefers
    /// less than `*`, any language, are not compared.
    pub fn matched<'a>(&self, available: &'a BTreeMap<String, String>) -> Option<&'a str> {
        let header = self.0.as_deref().unwrap_or_default();
        let mut ranges: Vec<_> = header.split(',').take(MAX_RANGES).filter_map(range).collect();
        // The sort is stable: languages of equal weight keep their order.
        ranges.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        let mut preferred = ranges.iter().map(|(_, tag)| tag.as_str()).take_while(|tag| *tag != ANY);
        preferred.find_map(|tag| with_parents(tag).find_map(|tag| available.get(tag))).map(String::as_str)
    }
}

/// Parses a language range with its weight, such as `de-AT;q=0.8`. None if the client refuses the language, or if the
/// weight is invalid. The tag is in lower case.
fn range(item: &str) -> Option<(f32, String)> {
    let (tag, weight) = match item.split_once(';') {
        Some((tag, parameter)) => (tag, parameter.trim().strip_prefix("q=")?.parse::<f32>().ok()?),
        None => (item, 1.0),
    };
    (weight > 0.0 && weight <= 1.0).then(|| (weight, tag.trim().to_ascii_lowercase()))
}

/// Returns the tag, and then the more general ones: `de-at-1996`, `de-at` and `de`.
pub(super) fn with_parents(tag: &str) -> impl Iterator<Item = &str> {
    iter::successors(Some(tag), |tag| tag.rsplit_once('-').map(|(parent, _)| parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(header: &str) -> String {
        let available = ["en", "de", "de-AT", "pt", "zh-Hant"];
        let available = BTreeMap::from(available.map(|tag| (tag.to_ascii_lowercase(), tag.to_owned())));
        Language::negotiate(Some(header)).choose(&available).to_owned()
    }

    #[test]
    fn the_language_with_the_highest_weight_is_chosen() {
        assert_eq!(chosen("de"), "de");
        assert_eq!(chosen("fr, pt;q=0.5, de;q=0.8"), "de");
        assert_eq!(chosen("pt;q=0.5,de;q=0.5"), "pt");
        assert_eq!(chosen("nl, *;q=0.1"), "en");
        assert_eq!(chosen("*, de;q=0.9"), "en");
    }

    #[test]
    fn a_region_is_satisfied_by_its_language() {
        assert_eq!(chosen("pt-BR"), "pt");
        assert_eq!(chosen("DE-at"), "de-AT");
        assert_eq!(chosen("de-CH-1996, pt"), "de");
        assert_eq!(chosen("zh-Hant-TW"), "zh-Hant");
        assert_eq!(chosen("zh"), "en", "a more special language does not satisfy a general one");
    }

    #[test]
    fn refused_unknown_and_malformed_languages_are_skipped() {
        for header in ["", ",", "nl", "de;q=0", "de;q=2", "de;q=-1", "de;q=NaN", "de;q=", "de;level=1", "-", "ä"] {
            assert_eq!(chosen(header), "en", "{header}");
        }
        assert_eq!(chosen("de;q=x, pt"), "pt");
        assert_eq!(Language::negotiate(None), Language::default());
    }

    #[test]
    fn a_client_that_prefers_no_available_language_has_no_match() {
        let available = BTreeMap::from(["en", "de"].map(|tag| (tag.to_owned(), tag.to_owned())));
        let matched = |header| Language::negotiate(Some(header)).matched(&available);
        assert_eq!(matched("nl, en;q=0.5"), Some("en"));
        assert_eq!(matched("de-CH"), Some("de"));
        for header in ["", "*", "nl", "nl, *;q=0.5, de;q=0.1", "de;q=0"] {
            assert_eq!(matched(header), None, "{header}");
        }
        assert_eq!(Language::default().matched(&available), None);
        assert_eq!(Language::tagged("de").matched(&available), Some("de"));
    }

    #[test]
    fn a_long_header_is_read_in_part() {
        let long = format!("{}, de", "nl, ".repeat(100_000));
        assert_eq!(chosen(&long), "en");
        assert!(Language::negotiate(Some(&long)).0.unwrap().len() <= MAX_BYTES);
        assert_eq!(chosen(&format!("de, {}", "ä".repeat(1000))), "de");
        assert_eq!(chosen(&"a".repeat(1000)), "en");
        assert_eq!(chosen(&format!("{}pt, de", "nl,".repeat(MAX_RANGES - 1))), "pt");
    }
}
