//! The words of messages and queries.

use std::collections::BTreeSet;

use super::characters::Class;
use super::fold::fold;
use super::{MAX_TERMS, MAX_WORD, head};

/// What a message must have to be found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Term {
    /// A word of the message.
    Word(String),
    /// The beginning of a word of the message.
    Prefix(String),
}

impl Term {
    /// Whether a message with these words has the term. `words` must be sorted, as `words` returns them.
    pub fn matches(&self, words: &[String]) -> bool {
        let (Self::Word(text) | Self::Prefix(text)) = self;
        let next = words.get(words.partition_point(|word| word < text));
        next.is_some_and(|word| match self {
            Self::Word(text) => word == text,
            Self::Prefix(text) => word.starts_with(text),
        })
    }
}

/// Returns the different words of a text, sorted. A word has at most 64 characters, and no spaces, quotes or
/// backslashes.
pub fn words(text: &str) -> Vec<String> {
    let folded = fold(text);
    let mut words = Vec::new();
    for run in runs(&folded) {
        match run.width {
            None => words.push(head(run.text, MAX_WORD)),
            // Near the end of the run the windows are shorter. A query for one character is a prefix, and finds them.
            Some(width) => words.extend(run.text.char_indices().map(|(at, _)| head(&run.text[at..], width))),
        }
    }
    words.sort_unstable();
    words.dedup();
    words.into_iter().map(str::to_owned).collect()
}

/// Returns the terms of a query, all of which a message must have. The last word of the query is a prefix. Returns no
/// terms if the query has no words.
pub fn query(text: &str) -> Vec<Term> {
    let folded = fold(text);
    let mut runs = runs(&folded).peekable();
    let (mut terms, mut seen) = (Vec::new(), BTreeSet::new());
    while let Some(run) = runs.next() {
        let mut add = |text: &str, is_prefix: bool| {
            if terms.len() < MAX_TERMS && seen.insert((text.to_owned(), is_prefix)) {
                let text = text.to_owned();
                terms.push(if is_prefix { Term::Prefix(text) } else { Term::Word(text) });
            }
        };
        match run.width {
            None => add(head(run.text, MAX_WORD), runs.peek().is_none()),
            Some(width) if run.text.chars().nth(width - 1).is_none() => add(run.text, true),
            Some(width) => {
                let windows = run.text.char_indices().map(|(at, _)| head(&run.text[at..], width));
                windows.filter(|window| window.chars().nth(width - 1).is_some()).for_each(|window| add(window, false));
            }
        }
    }
    terms
}

/// Characters of a folded text that are indexed in the same way.
struct Run<'a> {
    text: &'a str,
    /// The width of the windows in which the run is indexed. None if the run is a word.
    width: Option<usize>,
}

/// Splits a folded text. A mark belongs to the run before it. Marks with no such run are left out.
fn runs(folded: &str) -> impl Iterator<Item = Run<'_>> {
    folded.split(' ').flat_map(|mut rest| {
        std::iter::from_fn(move || {
            rest = rest.trim_start_matches(|c| Class::of(c) == Class::Mark);
            let class = Class::of(rest.chars().next()?);
            let belongs = |c: char| {
                let other = Class::of(c);
                other == class || other == Class::Mark && class != Class::EMOJI
            };
            let (text, after) = rest.split_at(rest.find(|c| !belongs(c)).unwrap_or(rest.len()));
            rest = after;
            Some(Run { text, width: if let Class::Windows(width) = class { Some(width) } else { None } })
        })
    })
}
