//! What the characters of Unicode are to a search.

use icu_properties::props::{
    Alphabetic, DefaultIgnorableCodePoint, EmojiModifier, ExtendedPictographic, GeneralCategory, LineBreak, Script,
};
use icu_properties::{CodePointMapData, CodePointMapDataBorrowed, CodePointSetData, CodePointSetDataBorrowed};

const CATEGORY: CodePointMapDataBorrowed<'static, GeneralCategory> = CodePointMapData::<GeneralCategory>::new();
const LINE_BREAK: CodePointMapDataBorrowed<'static, LineBreak> = CodePointMapData::<LineBreak>::new();
const SCRIPT: CodePointMapDataBorrowed<'static, Script> = CodePointMapData::<Script>::new();
const ALPHABETIC: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<Alphabetic>();
const IGNORABLE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<DefaultIgnorableCodePoint>();
const PICTOGRAPHIC: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<ExtendedPictographic>();
const SKIN_TONE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<EmojiModifier>();

/// Scripts whose readers can do without marks. In other scripts, such as Devanagari and Thai, marks are vowels.
const OPTIONAL_MARKS: [Script; 9] = [
    Script::Arabic,
    Script::Common,
    Script::Coptic,
    Script::Cyrillic,
    Script::Greek,
    Script::Hebrew,
    // Marks of several scripts, such as the accents of Latin letters and the vowels of Arabic ones.
    Script::Inherited,
    Script::Latin,
    Script::Syriac,
];

/// The kind of a character, which determines what `fold` does with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Part of a word: a letter, a number or a mark.
    Word,
    /// A decimal digit of any script, as an ASCII digit.
    Digit(char),
    /// An emoji or half of a flag. It is a word even if letters are beside it.
    Emoji,
    /// Left out: optional marks, formatting characters, and letters that only decorate.
    Ignored,
    /// The zero width space. It separates words of scripts with spaces. In other scripts it only allows a line break.
    Break,
    Separator,
}

impl Kind {
    /// Returns the kind of a character in the compatibility decomposition of a text.
    pub(super) fn of(c: char) -> Self {
        use GeneralCategory as Gc;
        match CATEGORY.get(c) {
            Gc::UppercaseLetter | Gc::LowercaseLetter | Gc::TitlecaseLetter | Gc::LetterNumber | Gc::OtherNumber => {
                Self::Word
            }
            Gc::OtherLetter | Gc::ModifierLetter => Self::of_caseless_letter(c),
            Gc::NonspacingMark | Gc::SpacingMark | Gc::EnclosingMark => Self::of_mark(c),
            Gc::DecimalNumber => Self::Digit(ascii_digit(c)),
            // Unicode reserves unassigned characters for emojis that it may add.
            Gc::OtherSymbol | Gc::Unassigned if is_regional_indicator(c) || PICTOGRAPHIC.contains(c) => Self::Emoji,
            Gc::ModifierSymbol if SKIN_TONE.contains(c) => Self::Ignored,
            Gc::Format if c == '\u{200B}' => Self::Break,
            Gc::Format => Self::Ignored,
            _ => Self::Separator,
        }
    }

    fn of_caseless_letter(c: char) -> Self {
        match c {
            // Letters that are written as an apostrophe: ʻ ʼ ʽ. People also type the apostrophe.
            '\u{2BB}'..='\u{2BD}' => Self::Separator,
            // Primes and half rings of transliterations, the Arabic tatweel, and the invisible fillers of Hangul.
            '\u{2B9}' | '\u{2BA}' | '\u{2BE}' | '\u{2BF}' | '\u{640}' | '\u{115F}' | '\u{1160}' => Self::Ignored,
            _ => Self::Word,
        }
    }

    fn of_mark(c: char) -> Self {
        // The nukta of Devanagari is often not typed.
        let is_optional = c == '\u{93C}' || OPTIONAL_MARKS.contains(&SCRIPT.get(c)) || IGNORABLE.contains(c);
        if is_optional { Self::Ignored } else { Self::Word }
    }
}

pub(super) fn is_mark(c: char) -> bool {
    use GeneralCategory as Gc;
    matches!(CATEGORY.get(c), Gc::NonspacingMark | Gc::SpacingMark | Gc::EnclosingMark)
}

fn is_regional_indicator(c: char) -> bool {
    matches!(c, '\u{1F1E6}'..='\u{1F1FF}')
}

/// Converts a decimal digit of any script to the ASCII digit. Returns other characters as they are.
pub fn ascii_digit(c: char) -> char {
    decimal_digit(c).and_then(|value| char::from_digit(value, 10)).unwrap_or(c)
}

/// Returns the value of a decimal digit of any script.
fn decimal_digit(c: char) -> Option<u32> {
    let is_decimal = |code: u32| CATEGORY.get32(code) == GeneralCategory::DecimalNumber;
    // The decimal digits of a script are ten characters in a row, from zero to nine. Rows can follow each other.
    let before = (0..u32::from(c)).rev().take_while(|&code| is_decimal(code)).count();
    is_decimal(u32::from(c)).then_some(u32::try_from(before).unwrap_or_default() % 10)
}

/// Whether the character has its place among letters without being one, such as ™, € and 🚀. Circled letters are
/// letters.
pub(super) fn is_symbol(c: char) -> bool {
    use GeneralCategory as Gc;
    matches!(CATEGORY.get(c), Gc::OtherSymbol | Gc::MathSymbol | Gc::CurrencySymbol | Gc::ModifierSymbol)
        && !ALPHABETIC.contains(c)
}

/// Whether the character is a letter of the Korean keyboard, alone. Decomposed, such letters would join to syllables:
/// ㅋㅠ is laughter and tears, and not 큐.
pub(super) fn is_lone_jamo(c: char) -> bool {
    matches!(c, '\u{3131}'..='\u{3163}' | '\u{3165}'..='\u{318E}')
}

/// Whether the character can join the character before it, in Hangul and kana.
pub(super) fn composes(c: char) -> bool {
    matches!(c, '\u{1161}'..='\u{11FF}' | '\u{3099}' | '\u{309A}')
}

/// How a character of a folded text is indexed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    /// Letters and digits of scripts with spaces. A run of them is a word.
    Spaced,
    /// A run of such characters is indexed in overlapping windows of this width.
    Windows(usize),
    /// A mark belongs to the character before it.
    Mark,
}

impl Class {
    /// Windows of one character: emojis.
    pub(super) const EMOJI: Self = Self::Windows(1);
    /// Windows of two characters: ideographs and syllables, and the two halves of a flag.
    const SYLLABLES: Self = Self::Windows(2);
    /// Windows of three characters: Thai and other scripts whose characters are single sounds, so that two characters
    /// are in too many messages.
    const SOUNDS: Self = Self::Windows(3);

    /// Returns the class of a character other than the space. Unicode says by its rules for line breaks which scripts
    /// have no spaces between words.
    pub(super) fn of(c: char) -> Self {
        if c.is_ascii() {
            return Self::Spaced;
        }
        match LINE_BREAK.get(c) {
            LineBreak::CombiningMark => Self::Mark,
            LineBreak::ComplexContext
            | LineBreak::Aksara
            | LineBreak::AksaraPrebase
            | LineBreak::AksaraStart
            | LineBreak::Virama
            | LineBreak::ViramaFinal => Self::SOUNDS,
            LineBreak::RegionalIndicator => Self::SYLLABLES,
            _ if Kind::of(c) == Kind::Emoji => Self::EMOJI,
            LineBreak::Ideographic
            | LineBreak::ConditionalJapaneseStarter
            | LineBreak::Nonstarter
            | LineBreak::H2
            | LineBreak::H3
            | LineBreak::JL
            | LineBreak::JV
            | LineBreak::JT => Self::SYLLABLES,
            _ => Self::Spaced,
        }
    }
}

/// Returns what readers type for a letter that they may not have on their keyboard, if Unicode does not decompose the
/// letter. `c` is folded.
pub(super) fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        'ⱥ' => "a",
        'ƀ' | 'ɓ' => "b",
        'ƈ' | 'ȼ' => "c",
        'đ' | 'ð' | 'ɖ' | 'ɗ' => "d",
        'ə' | 'ǝ' | 'ɛ' | 'ɇ' => "e",
        'ǥ' | 'ɠ' => "g",
        'ħ' => "h",
        'ı' | 'ɨ' => "i",
        'ɉ' => "j",
        'ƙ' => "k",
        'ł' | 'ƚ' | 'ɫ' => "l",
        'ŋ' | 'ɲ' => "n",
        'ø' | 'ɔ' | 'ɵ' => "o",
        'ɍ' => "r",
        'ŧ' => "t",
        'ʉ' => "u",
        'ƴ' | 'ɏ' => "y",
        'ƶ' => "z",
        // Cyrillic: the Ukrainian ghe with upturn.
        'ґ' => "г",
        // Arabic: alef wasla, the forms of kaf, heh and yeh of Persian and Urdu, alef maksura and teh marbuta.
        'ٱ' => "ا",
        'ک' => "ك",
        'ة' | 'ہ' | 'ۃ' | 'ە' => "ه",
        'ى' | 'ی' => "ي",
        // Devanagari: candrabindu is often typed as anusvara.
        'ँ' => "ं",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_digits_of_all_scripts_have_their_value() {
        for (digits, expected) in
            [("0189", "0189"), ("٠١٨٩", "0189"), ("۰۱۸۹", "0189"), ("०१८९", "0189"), ("๐๑๘๙", "0189")]
        {
            let values: String = digits.chars().filter_map(decimal_digit).map(|value| value.to_string()).collect();
            assert_eq!(values, expected, "{digits}");
        }
        for c in ['a', '²', '一', '/', ':'] {
            assert_eq!(decimal_digit(c), None, "{c}");
        }
    }
}
