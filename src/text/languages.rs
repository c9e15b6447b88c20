//! Messages in many languages, with queries that find each message and one that does not.

use super::{Term, fold, query, words};

/// Language, message, queries that find the message, and a query that does not.
type Case = (&'static str, &'static str, &'static [&'static str], &'static str);

/// Whether a search for `text` finds `message`.
pub(super) fn finds(text: &str, message: &str) -> bool {
    let (terms, words) = (query(text), words(message));
    !terms.is_empty() && terms.iter().all(|term| matches(term, &words))
}

/// Whether a message with these words has the term.
pub(super) fn matches(term: &Term, words: &[String]) -> bool {
    words.iter().any(|word| match term {
        Term::Word(text) => word == text,
        Term::Prefix(text) => word.starts_with(text),
    })
}

fn check(cases: &[Case]) {
    for (language, message, queries, other) in cases {
        for query in *queries {
            assert!(finds(query, message), "{language}: {query:?} in {message:?}");
        }
        assert!(!finds(other, message), "{language}: {other:?} in {message:?}");
        assert!(finds(message, message), "{language}: {message:?}");
    }
}

#[test]
fn latin_letters_match_without_case_and_accents() {
    check(&[
        ("English", "I’ll arrive at seven – don't wait", &["arrive", "i'll", "don’t wait", "WAIT AT sev"], "wit"),
        ("German", "Die Straße nach Köln ist gesperrt", &["strasse", "STRASSE", "straß", "köln", "koln"], "kiel"),
        ("French", "L’œuvre d’un élève à Noël", &["oeuvre", "ŒUVRE", "l'oeuvre", "eleve noel", "ÉLÈVE"], "livre"),
        ("Spanish", "¿Mañana en el café?", &["manana", "¿MAÑANA?", "cafe", "mañ"], "manzana"),
        ("Portuguese", "Reunião às 9h em São João", &["reuniao", "sao joao", "9h"], "9 horas"),
        ("Catalan", "La col·lecció és aquí", &["col·lecció", "COL·LECCIO", "aqui"], "colonia"),
        ("Italian", "L’università è chiusa perché piove", &["università", "universita", "e perche"], "piovono"),
        ("Dutch", "Het ĳs kost één euro", &["ijs", "IJS", "een euro"], "as"),
        ("Danish", "Rødgrød med fløde på Ærø", &["rodgrod", "FLØDE", "aero", "pa"], "rad"),
        ("Swedish", "Vi ses på ångbåten i Malmö", &["angbaten", "ÅNGBÅTEN", "malmö"], "lund"),
        ("Icelandic", "Það er gott veður á Þingvöllum", &["vedur", "ÞINGVÖLLUM", "thingvollum"], "vetur"),
        ("Polish", "Zażółć gęślą jaźń w Łodzi", &["lodzi", "ŁODZI", "zazolc gesla jazn", "łodzi"], "opole"),
        ("Czech", "Příliš žluťoučký kůň", &["prilis zlutoucky kun", "PŘÍLIŠ", "kůň"], "kos"),
        ("Hungarian", "Árvíztűrő tükörfúrógép", &["arvizturo", "TÜKÖRFÚRÓGÉP"], "arc"),
        ("Romanian", "Ședința e mâine la București", &["sedinta", "Şedinţa", "bucuresti"], "iasi"),
        ("Turkish", "IĞDIR'da ışık var, İstanbul’da yok", &["ığdır", "igdir", "IŞIK", "istanbul", "ISTANBUL"], "izmir"),
        ("Azerbaijani", "Sabah görüşərik", &["goruserik", "GÖRÜŞƏRİK"], "gece"),
        ("Vietnamese", "Hẹn gặp ở Đà Nẵng lúc mười giờ", &["da nang", "ĐÀ NẴNG", "hen gap", "muoi gio"], "hanoi"),
        ("Hausa", "Ƙofar ɗaki a buɗe", &["kofar daki", "ƘOFAR", "bude"], "gida"),
        ("Yoruba", "Ọjọ́ àìkú ni", &["ojo aiku", "ỌJỌ́"], "oja"),
        ("Uzbek", "Oʻzbekiston", &["o'zbekiston", "o‘zbek", "o-zbek"], "qozoq"),
        ("Indonesian", "Besok jam 7 pagi", &["besok pagi", "JAM 7"], "malam"),
    ]);
}

#[test]
fn other_scripts_with_spaces_match_without_optional_marks() {
    check(&[
        ("Greek", "Ο δρόμος είναι ΚΛΕΙΣΤΌΣ", &["ΔΡΟΜΟΣ", "δρομος", "δρόμοσ", "κλειστος", "ειν"], "δρυς"),
        ("Russian", "Ещё один ёж пришёл домой", &["еще", "ЁЖ", "пришел домой", "дом"], "ушел"),
        ("Ukrainian", "П’ять хвилин до ґанку", &["п'ять", "пʼять", "П’ЯТЬ", "ганку", "ҐАНКУ"], "шість"),
        ("Serbian", "Ђорђе чека у Београду", &["ђорђе", "ЂОРЂЕ", "београд"], "нови сад"),
        ("Armenian", "Վաղը Երևանում", &["երեւանում", "ԵՐԵՒԱՆՈՒՄ", "վաղը"], "գյումրի"),
        ("Georgian", "ხვალ ᲗᲑᲘᲚᲘᲡᲨᲘ", &["თბილისში", "ხვალ თბ"], "ბათუმი"),
        ("Arabic", "هذا كِتَابٌ جديد إلى المَدْرَسَة", &["كتاب", "كِتَابٌ", "كتـــاب", "الي", "المدرسه"], "كاتب"),
        ("Persian", "می‌خواهم ۱۲ کتاب بخرم", &["میخواهم", "مي\u{200c}خواهم", "12", "١٢", "كتاب"], "قلم"),
        ("Urdu", "کل شام ۵ بجے ملتے ہیں", &["5 بجے", "شام", "ملتے ہیں"], "صبح"),
        ("Hebrew", "שָׁלוֹם לְכֻלָּם מצה״ל", &["שלום", "שָׁלוֹם", "לכלם", "מצה\"ל", "שלו"], "להתראות"),
        ("Yiddish", "אַ גוטן טאָג", &["א גוטן טאג", "טאָג"], "נאכט"),
        ("Hindi", "कल ज़रूर मिलेंगे, हँसी के साथ", &["ज़रूर", "जरूर", "ज\u{93c}रूर", "हंसी", "मिले"], "मल"),
        ("Bengali", "আগামীকাল দেখা হবে", &["দেখা", "আগামী", "দেখা হ"], "দখা"),
        ("Punjabi", "ਕੱਲ੍ਹ ਮਿਲਦੇ ਹਾਂ", &["ਮਿਲਦੇ", "ਕੱਲ੍ਹ"], "ਮਲਦ"),
        ("Gujarati", "કાલે મળીશું", &["મળીશું", "કાલ"], "મળશ"),
        ("Tamil", "நாளை சந்திப்போம்", &["நாளை", "சந்திப்போம்", "சந்தி"], "நளை"),
        ("Telugu", "రేపు కలుద్దాం", &["రేపు", "కలుద్దాం"], "రపు"),
        ("Kannada", "ನಾಳೆ ಸಿಗೋಣ", &["ಸಿಗೋಣ", "ನಾಳೆ ಸಿ"], "ನಳೆ"),
        ("Malayalam", "നാളെ കാണാം", &["കാണാം", "നാളെ"], "നള"),
        ("Sinhala", "හෙට හමුවෙමු", &["හමුවෙමු", "හෙට"], "හට"),
        ("Amharic", "ነገ በ3፡00 እንገናኝ", &["እንገናኝ", "ነገ", "በ3፡00"], "ዛሬ"),
        ("Tibetan", "སང་ཉིན་ཁྲོམ་ལ་འགྲོ", &["ཁྲོམ", "སང་ཉིན"], "དེ་རིང"),
        ("Maldivian", "މާދަމާ ބައްދަލު", &["މާދަމާ", "ބައްދަ"], "މދ"),
        ("Cherokee", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", &["ꮳꮃꭹ", "ᎦᏬᏂ"], "ᎠᏂ"),
    ]);
}

#[test]
fn scripts_without_spaces_match_any_part() {
    check(&[
        ("Chinese", "我们明天去北京大学吧", &["北京", "北京大学", "京大", "北", "吧", "明天 北京"], "大京"),
        ("traditional Chinese", "明天８點在臺北車站見", &["臺北車站", "8點", "站見"], "台中"),
        ("Japanese", "明日はﾃｽﾄが２つあります。", &["テスト", "ﾃｽﾄ", "スト", "が", "2つ", "明日"], "てすと"),
        ("Japanese names", "佐々木さんはスーパーへ", &["佐々木", "々木", "スーパー", "ーパ", "ー"], "佐木"),
        (
            "Korean",
            "내일 한국어 시험이 있어요 ㅋㅋㅠㅠ",
            &["국어", "시험", "요", "한국어 시험", "ㅋㅋ", "ㅠㅠ"],
            "중국어",
        ),
        ("Thai", "พรุ่งนี้เราจะไปกินข้าวที่ตลาด น้ำ ๓ ขวด", &["กินข้าว", "ตลาด", "3 ขวด", "น้ำ"], "ลาตด"),
        ("Lao", "ມື້ອື່ນພວກເຮົາຈະໄປຕະຫຼາດ", &["ຕະຫຼາດ", "ພວກເຮົາ", "ໄປ"], "ໂຮງຮຽນ"),
        ("Khmer", "ថ្ងៃស្អែក\u{200b}យើង\u{200b}ទៅ\u{200b}ផ្សារ", &["យើងទៅ", "ផ្សារ", "យើង\u{200b}ទៅ", "ទៅ"], "សាលា"),
        ("Burmese", "မနက်ဖြန် ဈေးသွားမယ်", &["ဈေး", "သွား", "မနက်ဖြန် ဈေး"], "ကျောင်း"),
        ("Javanese", "ꦱꦸꦒꦼꦁꦌꦚ꧀ꦗꦁ", &["ꦌꦚ꧀ꦗꦁ", "ꦒꦼꦁꦌ", "ꦱꦸ"], "ꦮꦼꦔꦶ"),
        ("Chinese and Latin", "我的iPhone手机坏了", &["iphone", "iPhone手机", "手机", "的iPhone", "坏了"], "phone"),
    ]);
}

#[test]
fn the_inputs_of_the_reports_are_found() {
    for (message, queries) in [
        ("Invoice 7 – overdue", ["invoice", "overdue", "7 overdue"]),
        ("I’ll arrive at seven", ["arrive", "seven", "i’ll"]),
        ("café ouvert", ["ouvert", "café", "cafe ouvert"]),
        ("พรุ่งนี้เราจะไปกินข้าวที่ตลาด", ["กินข้าว", "ตลาด", "พรุ่งนี้"]),
        ("Launch🚀 tomorrow at noon", ["launch tomorrow", "launch", "🚀"]),
        ("It is €50", ["50", "€50", "it is 50"]),
        ("ο δρόμος", ["ΔΡΟΜΟΣ", "δρόμος", "δρομοσ"]),
        ("Łódź", ["lodz", "łódź", "ŁÓDŹ"]),
        ("Straße", ["strasse", "STRASSE", "STRAẞE"]),
        ("كِتَابٌ", ["كتاب", "كِتَاب", "كتابٌ"]),
        ("שָׁלוֹם", ["שלום", "שָׁלוֹם", "שָׁלום"]),
        ("Rene\u{301}e", ["Renée", "renee", "RENÉE"]),
        ("jose.x", ["@jose.x", "jose", "x jose"]),
    ] {
        for query in queries {
            assert!(finds(query, message), "{query:?} in {message:?}");
        }
    }
    for nothing in ["", " ", "!", "'", "\\", "\0", "\u{200b}", "\u{2800}", "\u{3164}", "\u{202e}", "\u{301}", "…", "€"]
    {
        assert_eq!((fold(nothing).as_str(), query(nothing)), ("", Vec::new()), "{nothing:?}");
    }
}

#[test]
fn symbols_separate_and_emojis_are_words() {
    check(&[
        ("signs", "iPhone™ №5: 20℃, 5㎏ (½ off)", &["iphone 5", "no 5", "5 kg", "tm", "20 c"], "iphonetm"),
        ("emojis", "ship it 👍🏽👩‍💻❤️", &["👍", "👍🏿", "👩‍💻", "💻", "❤", "it 👍"], "🎉"),
        ("flags", "🇩🇪🇫🇷 final", &["🇩🇪", "🇫🇷", "final 🇫🇷"], "🇮🇹"),
        ("styled letters", "𝐇𝐞𝐥𝐥𝐨 Ⓦⓞⓡⓛⓓ Ｗｉｄｅ ﬁne H₂O", &["hello", "world", "wide fine", "h2o"], "ello"),
        (
            "addresses",
            "ada.l@example.org, https://example.org/a_b?c=1#top",
            &["ada.l@example.org", "a_b", "#top"],
            "exam top",
        ),
        (
            "tags",
            "@ada #launch-day snake_case e-mail",
            &["ada", "@ada", "launch", "#launch-day", "case", "mail"],
            "aday",
        ),
        ("numbers", "1,000.50 at +49 (151) 2345", &["1,000", "1.000,50", "+49 151", "2345"], "151 234 9"),
        (
            "invisible",
            "soft\u{ad}ware w\u{200d}ord\u{2060}s \u{202b}left\u{202c}",
            &["software", "words", "left"],
            "soft ware",
        ),
    ]);
}
