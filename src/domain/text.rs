//! Properties of characters by the Unicode Standard, and the forms of texts that count as equal.

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::props::{
    DefaultIgnorableCodePoint, EastAsianWidth, GeneralCategory, LineBreak, NoncharacterCodePoint,
};
use icu_properties::{CodePointMapData, CodePointMapDataBorrowed, CodePointSetData, CodePointSetDataBorrowed};

const CATEGORY: CodePointMapDataBorrowed<'static, GeneralCategory> = CodePointMapData::<GeneralCategory>::new();
const WIDTH: CodePointMapDataBorrowed<'static, EastAsianWidth> = CodePointMapData::<EastAsianWidth>::new();
const LINE_BREAK: CodePointMapDataBorrowed<'static, LineBreak> = CodePointMapData::<LineBreak>::new();
const IGNORABLE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<DefaultIgnorableCodePoint>();
const NONCHARACTER: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<NoncharacterCodePoint>();

/// Returns whether a reader sees nothing of the text: it has only spaces, fillers, joiners and the like.
pub(super) fn is_invisible(text: &str) -> bool {
    text.chars().all(is_invisible_char)
}

/// Returns whether the character shows nothing when it stands alone. Control characters are among these: browsers draw
/// nothing for most of them.
pub(super) fn is_invisible_char(c: char) -> bool {
    // These characters show nothing, but Unicode classes them as symbols or marks: the braille pattern without dots,
    // the note head without a shape, and the filler of Khitan.
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{2800}' | '\u{1D159}' | '\u{16FE4}')
        || IGNORABLE.contains(c)
        || NONCHARACTER.contains(c)
        || CATEGORY.get(c) == GeneralCategory::Format && !is_visible_format(c)
}

/// Returns whether the character is one of those that Unicode classes as format characters and that have a shape. They
/// stand before or around digits and letters, such as the Arabic number sign.
const fn is_visible_format(c: char) -> bool {
    matches!(
        c,
        '\u{0600}'..='\u{0605}'
            | '\u{06DD}'
            | '\u{070F}'
            | '\u{0890}'..='\u{0891}'
            | '\u{08E2}'
            | '\u{110BD}'
            | '\u{110CD}'
    )
}

/// Returns whether the character changes the direction of the text after it: an embedding, an override, an isolate, or
/// the end of one. In a name such a character can hide the real end, or change the text that stands after the name.
pub(super) const fn changes_direction(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Returns whether the character separates lines or paragraphs and is no control character.
pub(super) const fn is_separator(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Returns whether the character belongs to a script that is written without spaces between words, or beside other
/// scripts without a space: Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese and others.
pub(super) fn is_written_without_spaces(c: char) -> bool {
    // The vowels and final consonants of a decomposed Korean syllable have no width of their own.
    matches!(WIDTH.get(c), EastAsianWidth::Wide | EastAsianWidth::Fullwidth | EastAsianWidth::Halfwidth)
        || matches!(LINE_BREAK.get(c), LineBreak::ComplexContext | LineBreak::JV | LineBreak::JT)
}

/// Returns whether the character is a letter, a digit, or a mark that belongs to the letter before it. The marks that
/// choose the look of an emoji are not among them.
pub(super) fn is_part_of_word(c: char) -> bool {
    let is_mark = matches!(CATEGORY.get(c), GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark);
    c.is_alphanumeric() || is_mark && !IGNORABLE.contains(c)
}

/// Returns whether the character is a hyphen or a dash.
pub(super) fn is_dash(c: char) -> bool {
    CATEGORY.get(c) == GeneralCategory::DashPunctuation
}

/// Returns whether the character is an opening or a closing bracket.
pub(super) fn is_bracket(c: char) -> bool {
    matches!(CATEGORY.get(c), GeneralCategory::OpenPunctuation | GeneralCategory::ClosePunctuation)
}

/// Returns the compatibility form NFKC, in which full-width and other variants are the usual characters.
pub(super) fn compatible(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfkc().normalize(text).into_owned()
}

/// Returns a password in the form of the OpaqueString profile of RFC 8265, section 4.2: each space is U+0020, and the
/// text is in NFC. So two keyboards that send the same characters in different forms send the same password. The
/// profile also refuses characters that are not assigned in some version of Unicode; `Check::password` does not,
/// because it would refuse emoji.
pub(super) fn opaque(password: &str) -> String {
    let spaced: String =
        password.chars().map(|c| if CATEGORY.get(c) == GeneralCategory::SpaceSeparator { ' ' } else { c }).collect();
    ComposingNormalizerBorrowed::new_nfc().normalize(&spaced).into_owned()
}

/// Returns the forms in which a password may have been hashed: the form of `opaque` first, then the forms from before
/// the server used `opaque`.
pub(super) fn hashed_forms(password: String) -> Vec<String> {
    let mut forms = vec![opaque(&password)];
    let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(&password).into_owned();
    for form in [password, decomposed] {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_show_nothing_are_invisible() {
        for text in [
            "",
            " \t\n",
            "\u{200B}",
            "\u{200C}\u{200D}",
            "\u{2800}",
            "\u{3164}",
            "\u{FFA0}",
            "\u{115F}\u{1160}",
            "\u{FEFF}",
            "\u{00AD}",
            "\u{034F}",
            "\u{061C}",
            "\u{180E}",
            "\u{2060}",
            "\u{2063}",
            "\u{FE0F}",
            "\u{E0001}\u{E0020}",
            "\u{E0100}",
            "\u{200E}\u{200F}",
            "\u{202E}",
            "\u{2028}",
            "\u{FFF9}",
            "\u{1D159}",
            "\u{1D173}",
            "\u{FFFF}",
            "\u{A0}\u{3000}\u{1680}",
            "\u{206A}",
            "\u{1}",
            "\u{7F}\u{9F}\u{200B}",
        ] {
            assert!(is_invisible(text), "{}", text.escape_unicode());
        }
        for text in
            ["a", ".", "\u{200B}a", "👩\u{200D}🚀", "می\u{200C}خواهم", "\u{0600}", "\u{2801}", "️1️⃣", "ㅤ가", "\u{1FAEA}"]
        {
            assert!(!is_invisible(text), "{}", text.escape_unicode());
        }
    }

    #[test]
    fn equal_passwords_have_one_opaque_form() {
        for (one, other) in [
            ("Zürich café", "Zu\u{308}rich cafe\u{301}"),
            ("\u{212B}ngström", "\u{C5}ngström"),
            ("한글", "\u{1112}\u{1161}\u{11AB}\u{1100}\u{1173}\u{11AF}"),
            ("correct horse", "correct\u{A0}horse"),
            ("全角 空白", "全角\u{3000}空白"),
            ("Việt", "Vie\u{323}\u{302}t"),
            ("Việt", "Vie\u{302}\u{323}t"),
        ] {
            assert_eq!(opaque(one), opaque(other));
        }
        for (one, other) in [("Password", "password"), ("ａｂｃ", "abc"), ("a b", "a  b"), (" a", "a"), ("ﬁ", "fi")]
        {
            assert_ne!(opaque(one), opaque(other));
        }
        assert_eq!(hashed_forms("correct horse".into()).len(), 1);
        assert_eq!(hashed_forms("Zürich".into()), ["Zürich", "Zu\u{308}rich"]);
    }
}
