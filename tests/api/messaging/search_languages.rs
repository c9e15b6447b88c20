//! Messages in many languages are found, on every version of Postgres. `src/text` has the tests of its rules.

use serde_json::json;

use crate::support::Node;

/// Language, message, and queries that find this message and no other message of the table.
const MESSAGES: [(&str, &str, &[&str]); 26] = [
    ("English", "Invoice 7 – overdue, don’t wait", &["invoice", "overdue", "don't wait"]),
    ("German", "Die Straße nach Köln ist gesperrt", &["strasse", "STRAẞE", "koln"]),
    ("French", "L’œuvre d’un élève à Noël", &["oeuvre", "eleve noel", "Noe\u{308}l"]),
    ("Spanish", "¿Mañana hay 50€ en el café?", &["manana", "€50 café"]),
    ("Portuguese", "Reunião às 9h em São João", &["reuniao", "sao joao"]),
    ("Polish", "Zażółć gęślą jaźń w Łodzi", &["lodzi", "zazolc gesla"]),
    ("Czech", "Příliš žluťoučký kůň", &["prilis zlutoucky kun"]),
    ("Turkish", "IĞDIR'da ışık var, İstanbul’da yok", &["igdir", "istanbul"]),
    ("Vietnamese", "Hẹn gặp ở Đà Nẵng lúc mười giờ", &["da nang", "muoi gio"]),
    ("Danish", "Rødgrød med fløde på Ærø", &["rodgrod", "aero"]),
    ("Greek", "Ο δρόμος είναι ΚΛΕΙΣΤΌΣ", &["ΔΡΟΜΟΣ", "κλειστος"]),
    ("Russian", "Ещё один ёж пришёл домой", &["еще", "пришел домой"]),
    ("Ukrainian", "П’ять хвилин до ґанку", &["п'ять", "ганку"]),
    ("Armenian", "Վաղը Երևանում", &["երեւանում"]),
    ("Georgian", "ხვალ ᲗᲑᲘᲚᲘᲡᲨᲘ", &["თბილისში"]),
    ("Arabic", "هذا كِتَابٌ جديد إلى المَدْرَسَة", &["كِتَاب", "المدرسه"]),
    ("Persian", "می‌خواهم ۱۲ قلم بخرم", &["میخواهم", "12 قلم"]),
    ("Hebrew", "שָׁלוֹם לְכֻלָּם", &["שלום", "לכלם"]),
    ("Hindi", "कल ज़रूर मिलेंगे, हँसी के साथ", &["ज\u{93c}रूर", "हंसी"]),
    ("Bengali", "আগামীকাল দেখা হবে", &["দেখা"]),
    ("Tamil", "நாளை சந்திப்போம்", &["சந்திப்போம்"]),
    ("Chinese", "我们明天去北京大学吧", &["北京大学", "京大", "吧"]),
    ("Japanese", "次の会はﾃｽﾄが２つあります。", &["テスト", "2つ"]),
    ("Korean", "내일 한국어 시험이 있어요", &["국어", "시험"]),
    ("Thai", "พรุ่งนี้เราจะไปกินข้าวที่ตลาด", &["กินข้าว", "ตลาด"]),
    ("emojis", "Launch🚀 tomorrow at noon", &["launch", "🚀", "launch tomorrow"]),
];

#[tokio::test]
async fn messages_in_many_languages_are_found() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    for (_, message, _) in MESSAGES {
        ada.send(&conversation, message).await;
    }
    ada.indexed().await;
    let search = "query ($query: String!) { searchMessages(query: $query) { nodes { body } } }";
    for (language, message, queries) in MESSAGES {
        for query in queries {
            let data = bob.query(search, json!({"query": query})).await;
            assert_eq!(data["searchMessages"]["nodes"], json!([{"body": message}]), "{language}: {query}");
        }
    }
}

#[tokio::test]
async fn titles_and_names_are_found_without_case_and_accents() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let rename = "mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { viewer { id } } }";
    let titles = "query ($text: String!) { viewer { conversations(filter: {titleContains: $text}) { nodes { id } } } }";
    let people = "query ($query: String!) { searchUsers(query: $query) { nodes { id } } }";
    for (name, queries) in [
        ("Renée Łukasz", &["renee", "Rene\u{301}e", "LUKASZ", "e luk"][..]),
        ("Straßenfest", &["strasse", "STRASSEN"]),
        ("Ὀδυσσεύς", &["οδυσσευσ", "ΟΔΥΣ"]),
        ("明日の会議", &["明日の", "会議", "の会議"]),
        ("كِتَابٌ جديد", &["كتاب", "جديد"]),
    ] {
        ada.query(rename, json!({"input": {"displayName": name}})).await;
        let group = bob.create_group(name, &[&ada]).await;
        for query in queries {
            let data = bob.query(titles, json!({"text": query})).await;
            assert_eq!(data["viewer"]["conversations"]["nodes"], json!([{"id": group}]), "{name}: {query}");
            // Shorter queries must be the beginning of a name.
            if query.chars().count() >= 3 {
                let data = bob.query(people, json!({"query": query})).await;
                assert_eq!(data["searchUsers"]["nodes"], json!([{"id": ada.id}]), "{name}: {query}");
            }
        }
    }
    for query in [format!("@{}", ada.username), format!("＠{}", ada.username.to_uppercase())] {
        let data = bob.query(people, json!({"query": query})).await;
        assert_eq!(data["searchUsers"]["nodes"], json!([{"id": ada.id}]), "{query}");
    }
}
