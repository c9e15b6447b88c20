//! The text analysis of every search: in messages, in names and in titles.
//!
//! `fold` writes a text in a form in which texts that a reader takes for equal are equal: without case, accents, vowel
//! marks and width, with ASCII digits, and with one space for each run of separators. The classes of Unicode decide
//! what a character is. `words` returns the index entries of a message, and `query` returns the terms that a message
//! must have to be found.
//!
//! Most scripts separate words by spaces, and a word is one index entry. Chinese, Japanese, Thai and others do not, and
//! Korean appends particles to its words. A dictionary splits a query, which has no context, in other places than a
//! message. So texts in these scripts are indexed in overlapping windows of two or three characters, and a search
//! finds any part of them. An emoji is a word of its own.
//!
//! docs/decisions/0021 has the reasons.

mod characters;
mod fold;
#[cfg(test)]
mod languages;
#[cfg(test)]
mod properties;
mod words;

pub use characters::ascii_digit;
pub use fold::fold;
pub use words::{Term, query, words};

/// Version of the analysis. Increase it with each change of what `fold` or `words` return, so that the search index is
/// rebuilt.
pub const ANALYSIS: i32 = 1;

/// Maximum number of characters of a text that are read, and of the folded text. The rest is not indexed.
const MAX_TEXT: usize = 20_000;
/// Maximum length of a word in characters. Longer words are cut, in messages and queries alike. With four bytes for
/// each character and a prefix, a word is far below the 2046 bytes that Postgres allows.
const MAX_WORD: usize = 64;
/// Maximum number of terms of a query. Further words are ignored.
const MAX_TERMS: usize = 16;

/// Returns the first `count` characters of the text.
fn head(text: &str, count: usize) -> &str {
    // A text has at most as many characters as bytes, and most texts are short.
    if text.len() <= count {
        return text;
    }
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}
