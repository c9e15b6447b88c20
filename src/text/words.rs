//! The words of messages and queries.

use super::characters::Class;
use super::fold::fold;
use super::{MAX_TERMS, MAX_WORD, head};

/// A condition of a query, which a message must meet to be found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Term {
    /// A word of the message.
    Word(String),
    /// The beginning of a word of the message.
    Prefix(String),
}

/// Returns the different words of a text, sorted. A word has at most 64 characters, and no spaces, quotes or
/// backslashes.
pub fn words(text: &str) -> Vec<String> {
    let folded = fold(text);
    let mut words = Vec::new();
    for run in runs(&folded) {
        match run.width {
            None => words.push(head(run.text, MAX_WORD)),
            // A query that is shorter than a window is a prefix. At the end of the run it finds the shorter windows.
            Some(width) => words.extend(windows(run.text, width)),
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
    let mut terms = Vec::new();
    while let Some(run) = runs.next().filter(|_| terms.len() < MAX_TERMS) {
        let is_whole = |window: &&str| run.width.is_none_or(|width| window.chars().nth(width - 1).is_some());
        match run.width {
            None if runs.peek().is_none() => add(&mut terms, Term::Prefix(head(run.text, MAX_WORD).to_owned())),
            None => add(&mut terms, Term::Word(head(run.text, MAX_WORD).to_owned())),
            Some(_) if !is_whole(&run.text) => add(&mut terms, Term::Prefix(run.text.to_owned())),
            Some(width) => {
                let whole = windows(run.text, width).take_while(is_whole);
                whole.for_each(|window| add(&mut terms, Term::Word(window.to_owned())));
            }
        }
    }
    terms
}

/// Adds the term if it is new and the query does not have too many.
fn add(terms: &mut Vec<Term>, term: Term) {
    if terms.len() < MAX_TERMS && !terms.contains(&term) {
        terms.push(term);
    }
}

/// Returns the windows that begin at each character of the run. The last ones are shorter than `width`.
fn windows(run: &str, width: usize) -> impl Iterator<Item = &str> {
    run.char_indices().map(move |(at, _)| head(&run[at..], width))
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
