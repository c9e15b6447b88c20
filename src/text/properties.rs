//! Properties of `fold`, `words` and `query` for arbitrary texts.

use std::collections::BTreeSet;

use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
use icu_properties::props::{CanonicalCombiningClass, GeneralCategory, Script, UnifiedIdeograph};
use icu_properties::{CodePointMapData, CodePointSetData};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

use super::languages::{finds, matches};
use super::{MAX_TERMS, MAX_TEXT, MAX_WORD, Term, fold, query, words};

/// Letters and marks of scripts with spaces.
const SPACED: [&str; 10] = [
    "abcxyzABCXYZßẞæØłđéÈñçüşığİIŞſąőăơƯạệǅﬁĳŉ\u{301}\u{323}\u{30b}09",
    "αβγΔεςσΣάΌώΐϋὠᾳῷΩ\u{301}",
    "абвгЁёйЙїґҐўђѓљ\u{306}\u{308}",
    "كتابةىئؤأإآلٱـکیﻻ\u{64e}\u{651}\u{650}\u{670}٠٩۵",
    "אבגדהשׁשּׂםןﬡ\u{5b8}\u{5b9}\u{5c1}",
    "कखगजड़ज़मह\u{93c}\u{93e}\u{93f}\u{940}\u{94d}\u{902}\u{901}५",
    "কখগড়য়\u{9be}\u{9c7}\u{9cb}\u{9cd}\u{9bc}",
    "கசடதநப\u{bbe}\u{bca}\u{bcb}\u{bcd}",
    "აბგთᲐᲑհձևֆՀՁ",
    "ሀለሐመꭰᎠᏸꮳཀཁ\u{f72}\u{f90}",
];
/// Letters and marks of scripts without spaces.
const UNSPACED: [&str; 7] = [
    "北京大学我们明天去龍鿕𠀀〇々",
    "あいがぱカガパーゝヽっッ明日",
    "한국어각갂내일힣가ㅋㅠㅏ",
    "กขคงจนมา\u{e31}\u{e34}\u{e38}\u{e48}\u{e49}ำเแๆ",
    "ກຂຄນມາ\u{eb1}\u{eb4}\u{eb8}\u{ec8}ຳເແ",
    "កខគងយស\u{17d2}\u{17b6}\u{17b7}\u{17be}\u{17c5}",
    "ကခဂငဦ\u{1031}\u{102c}\u{1039}\u{103a}\u{103c}",
];

fn nfc(text: &str) -> String {
    ComposingNormalizer::new_nfc().normalize_iter(text.chars()).collect()
}

fn nfd(text: &str) -> String {
    DecomposingNormalizer::new_nfd().normalize_iter(text.chars()).collect()
}

fn of(alphabet: &'static str, length: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = String> {
    let characters: Vec<char> = alphabet.chars().collect();
    vec(select(characters), length).prop_map(|characters| nfc(&characters.into_iter().collect::<String>()))
}

/// Text of any characters, with a good share of letters of many scripts, marks, symbols, and separators.
fn any_text() -> impl Strategy<Value = String> {
    let known: Vec<char> =
        [&SPACED[..], &UNSPACED, &["🚀👍🏽❤\u{fe0f}🇩🇪™℃½Ⓐ①\u{200b}\u{200c}\u{200d}\u{ad}’ʼ-_.,\"'\\ \u{a0}"; 4]]
            .concat()
            .concat()
            .chars()
            .collect();
    vec(prop_oneof![8 => select(known), 2 => Just(' '), 1 => any::<char>()], 0..80)
        .prop_map(|characters| characters.into_iter().collect())
}

/// All characters that Unicode has assigned, without most of those that are large in number and alike.
fn all() -> impl Iterator<Item = char> {
    use GeneralCategory::{PrivateUse, Unassigned};
    let (categories, scripts) = (CodePointMapData::<GeneralCategory>::new(), CodePointMapData::<Script>::new());
    let ideographs = CodePointSetData::new::<UnifiedIdeograph>();
    ('\0'..=char::MAX).filter(move |&c| {
        let is_alike = ideographs.contains(c) || matches!(scripts.get(c), Script::Hangul | Script::Tangut);
        !is_alike && !matches!(categories.get(c), PrivateUse | Unassigned)
    })
}

#[test]
fn case_is_irrelevant_for_every_letter() {
    for c in all().filter(|c| !nfd(&c.to_string()).contains('\u{345}')) {
        let own = fold(&c.to_string());
        assert_eq!(fold(&c.to_lowercase().collect::<String>()), own, "{c:?}");
        assert_eq!(fold(&c.to_uppercase().collect::<String>()), own, "{c:?}");
    }
}

#[test]
fn folding_a_folded_character_changes_nothing() {
    for c in all() {
        for text in [format!("{c}a{c}"), format!("京{c}가{c}")] {
            let folded = fold(&text);
            assert_eq!(fold(&folded), folded, "{text:?}");
        }
    }
}

#[test]
fn digits_of_all_scripts_have_their_value() {
    let categories = CodePointMapData::<GeneralCategory>::new();
    let digits = all().filter(|&c| categories.get(c) == GeneralCategory::DecimalNumber);
    let folded: String = digits.map(|c| fold(&c.to_string())).collect();
    assert!(folded.len() >= 700, "{}", folded.len());
    assert_eq!(folded, "0123456789".repeat(folded.len() / 10));
}

#[test]
fn long_texts_and_words_are_cut() {
    for c in ["y", "ß", "北", "ก", "\u{fdfa}", "👍", "\u{93f}", "\u{301}"] {
        let text = c.repeat(MAX_TEXT + 10);
        let words = words(&text);
        assert!(words.iter().all(|word| word.chars().count() <= MAX_WORD), "{c:?}");
        assert!(words.len() <= MAX_WORD && query(&text).len() <= MAX_TERMS, "{c:?}");
    }
    let long = "y".repeat(8000);
    assert!(finds(&long, &long) && finds(&long[..65], &long) && !finds(&long, &long[..63]));
    let last = format!("{}last", " ".repeat(MAX_TEXT - 4));
    assert!(finds("last", &last) && !finds("last", &format!(" {last}")));
    let different = (0..10_000).map(|i| i.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(words(&different).len(), different[..MAX_TEXT].split_whitespace().count());
    assert_eq!(query(&different).len(), MAX_TERMS);
}

#[test]
fn only_the_last_word_and_short_parts_are_prefixes() {
    let (word, prefix) = (|text: &str| Term::Word(text.to_owned()), |text: &str| Term::Prefix(text.to_owned()));
    assert_eq!(query("Café nine, caf"), [word("cafe"), word("nine"), prefix("caf")]);
    assert_eq!(query("nine nine ni"), [word("nine"), prefix("ni")]);
    assert_eq!(query("北京大学 café"), [word("北京"), word("京大"), word("大学"), prefix("cafe")]);
    assert_eq!(query("北 café 京"), [prefix("北"), word("cafe"), prefix("京")]);
    assert_eq!(query("ตลาด"), [word("ตลา"), word("ลาด")]);
    assert_eq!(query("ตล"), [prefix("ตล")]);
    assert_eq!(query("launch 🚀"), [word("launch"), word("🚀")]);
    assert_eq!(query("a b c d e f g h i j k l m n o p q").last(), Some(&word("p")), "a query is cut after 16 words");
    assert_eq!(words("b a B, á 北京"), ["a", "b", "京", "北京"]);
    assert_eq!(fold("  Zoë  O’Brien-Łuk™ "), "zoe o brien luk tm");
    assert_eq!(fold("\u{e38}\u{34f}\u{9bc}"), fold("\u{e38}\u{9bc}"), "marks have one order");
}

/// Seed of the random cases. The seed is fixed, so that the same commit always tests the same cases.
const SEED: u64 = 20;

/// Returns the settings of proptest: 256 cases from `SEED`. PROPTEST_CASES changes the number of cases, and
/// PROPTEST_RNG_SEED the seed.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn folding_is_idempotent(text in any_text()) {
        let folded = fold(&text);
        prop_assert_eq!(fold(&folded), folded.clone());
        prop_assert_eq!(words(&folded), words(&text));
        prop_assert!(!folded.starts_with(' ') && !folded.ends_with(' ') && !folded.contains("  "));
    }

    #[test]
    fn composed_and_decomposed_texts_are_equal(text in any_text()) {
        let (composed, decomposed) = (nfc(&text), nfd(&text));
        prop_assert_eq!(fold(&composed), fold(&decomposed));
        prop_assert_eq!(query(&composed), query(&decomposed));
    }

    #[test]
    fn words_are_sorted_short_and_safe_to_quote(text in any::<String>()) {
        let words = words(&text);
        let sorted: BTreeSet<_> = words.iter().cloned().collect();
        prop_assert!(words.iter().eq(&sorted));
        for word in words {
            prop_assert!((1..=MAX_WORD).contains(&word.chars().count()));
            prop_assert!(word.chars().all(|c| c.is_ascii_alphanumeric() || !c.is_ascii()));
        }
    }

    #[test]
    fn a_text_and_each_of_its_words_find_the_text(text in any_text()) {
        for part in text.split_whitespace().chain([text.as_str()]) {
            prop_assert!(query(part).is_empty() || finds(part, &text), "{:?}", part);
        }
    }

    #[test]
    fn the_beginning_of_a_word_finds_it(
        (before, word, after) in select(&SPACED[..])
            .prop_flat_map(|letters| (of(letters, 0..=5), of(letters, 1..=80), any_text()))
    ) {
        let message = words(&format!("{before} {word} {after}"));
        for (end, next) in word.char_indices() {
            // A beginning does not separate a letter from its marks.
            let class = CodePointMapData::<CanonicalCombiningClass>::new().get(next);
            if class == CanonicalCombiningClass::NotReordered {
                for term in query(&word[..end]) {
                    prop_assert!(matches(&term, &message), "{:?} in {:?}", term, message);
                }
            }
        }
    }

    #[test]
    fn any_part_of_a_text_without_spaces_finds_it(
        (text, start, length) in
            (select(&UNSPACED[..]).prop_flat_map(|letters| of(letters, 2..=30)), 0..29_usize, 2..30_usize)
    ) {
        let part: String = text.chars().skip(start).take(length).collect();
        if part.chars().count() >= 2 {
            prop_assert!(finds(&part, &format!("See {text}, please")), "{:?} in {:?}", part, text);
        }
    }
}
