//! The form of a text in which it is compared.

use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use icu_normalizer::properties::CanonicalCompositionBorrowed;
use icu_normalizer::{DecomposingNormalizer, DecomposingNormalizerBorrowed};

use super::characters::{Class, Kind, composes, is_lone_jamo, is_mark, is_symbol, plain};
use super::{MAX_TEXT, head};

const DECOMPOSITION: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizer::new_nfkd();
const COMPOSITION: CanonicalCompositionBorrowed<'static> = CanonicalCompositionBorrowed::new();
const CASES: CaseMapperBorrowed<'static> = CaseMapper::new();

/// Returns the text without case, accents, vowel marks, width and formatting, with ASCII digits, and with one space for
/// each run of separators. Has no space at the start and the end, and is empty if the text has only separators.
/// Folding a folded text changes nothing. Reads at most 20,000 characters and returns at most as many.
pub fn fold(text: &str) -> String {
    let mut folded = Folded::default();
    let text = head(text, MAX_TEXT);
    folded.text.reserve(text.len());
    for part in text.split_ascii_whitespace() {
        folded.separate();
        if part.is_ascii() { folded.add_ascii(part) } else { folded.add_unicode(part) }
    }
    if folded.unordered { fold(&folded.text) } else { folded.text }
}

#[derive(Default)]
struct Folded {
    text: String,
    /// Number of characters of the text.
    length: usize,
    /// Whether a separator stands before the next character.
    separated: bool,
    /// Whether characters after the last one were left out.
    skipped: bool,
    /// Whether a mark follows a character that was left out. Then the marks on both sides may not be in the canonical
    /// order. Folding again puts them in order.
    unordered: bool,
}

impl Folded {
    fn separate(&mut self) {
        self.separated = true;
    }

    fn push(&mut self, c: char) {
        // Leaves room for a space before the character.
        if self.length + 1 >= MAX_TEXT {
            return;
        }
        if self.separated && self.length > 0 {
            self.text.push(' ');
            self.length += 1;
        }
        self.unordered |= self.skipped && is_mark(c);
        (self.separated, self.skipped) = (false, false);
        self.text.push(c);
        self.length += 1;
    }

    fn add_ascii(&mut self, part: &str) {
        for c in part.chars() {
            if c.is_ascii_alphanumeric() { self.push(c.to_ascii_lowercase()) } else { self.separate() }
        }
    }

    /// Adds a part of the text. Decomposes it in pieces between those characters that must not join their neighbours.
    fn add_unicode(&mut self, part: &str) {
        let mut start = 0;
        for (place, c) in part.char_indices().filter(|(_, c)| !c.is_ascii()) {
            let (is_jamo, is_symbol) = (is_lone_jamo(c), is_symbol(c));
            if is_jamo || is_symbol {
                self.add_decomposed(&part[start..place]);
                start = place + c.len_utf8();
                if is_jamo { self.push(c) } else { self.add_symbol(c) }
            }
        }
        self.add_decomposed(&part[start..]);
    }

    fn add_decomposed(&mut self, piece: &str) {
        DECOMPOSITION.normalize_iter(piece.chars()).for_each(|c| self.add(c));
    }

    /// Adds a symbol. Letters in its decomposition, as those of ™, are a word of their own.
    fn add_symbol(&mut self, symbol: char) {
        if DECOMPOSITION.normalize_iter(std::iter::once(symbol)).eq([symbol]) {
            return self.add(symbol);
        }
        self.separate();
        DECOMPOSITION.normalize_iter(std::iter::once(symbol)).for_each(|c| self.add(c));
        self.separate();
    }

    /// Adds a character of the decomposition.
    fn add(&mut self, c: char) {
        if composes(c) && self.compose(c) {
            return;
        }
        match Kind::of(c) {
            Kind::Word => {
                let c = CASES.simple_fold(c);
                match plain(c) {
                    Some(letters) => letters.chars().for_each(|c| self.push(c)),
                    None => self.push(c),
                }
            }
            Kind::Digit(digit) => self.push(digit),
            Kind::Emoji => self.push(c),
            Kind::Ignored => self.skipped = true,
            Kind::Break if self.ends_without_spaces() => self.skipped = true,
            Kind::Break | Kind::Separator => self.separate(),
        }
    }

    /// Joins the character to the last one. Returns false if the two do not compose.
    fn compose(&mut self, c: char) -> bool {
        if self.separated {
            return false;
        }
        let composed = self.text.chars().next_back().and_then(|last| COMPOSITION.compose(last, c));
        if let Some(composed) = composed {
            self.text.pop();
            self.text.push(composed);
        }
        composed.is_some()
    }

    /// Whether the last character belongs to a script without spaces.
    fn ends_without_spaces(&self) -> bool {
        let last = self.text.chars().rev().map(Class::of).find(|class| *class != Class::Mark);
        !self.separated && last.is_some_and(|class| class != Class::Spaced)
    }
}
