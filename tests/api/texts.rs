//! Texts that people enter: what shows nothing or changes the text around it is refused, and all languages are taken.

use serde_json::{Value, json};

use crate::support::{Answer, Node, PASSWORD, User};

/// Texts that show nothing.
const INVISIBLE: [&str; 21] = [
    "\u{200B}",
    "\u{2800}",
    "\u{3164}",
    "\u{FFA0}",
    "\u{115F}\u{1160}",
    "\u{200D}\u{200C}",
    "\u{2060}",
    "\u{FEFF}",
    "\u{00AD}",
    "\u{034F}",
    "\u{180E}",
    "\u{061C}\u{200E}\u{200F}",
    "\u{2062}\u{2064}",
    "\u{FE0F}",
    "\u{E0001}\u{E0041}",
    "\u{E0100}",
    "\u{A0}\u{3000}\u{2003}\u{1680}",
    " \u{200B}\n\u{2800}\t",
    "\u{202E}\u{202C}",
    "\u{2028}\u{2029}",
    "\u{1}\u{7F}",
];

/// Names and titles that change the direction of the text around them, or have several lines.
const DISRUPTIVE: [&str; 15] = [
    "a\u{202A}b",
    "a\u{202B}b",
    "a\u{202C}b",
    "a\u{202D}b",
    "\u{202E}ab",
    "a\u{2066}b",
    "a\u{2067}b",
    "a\u{2068}b",
    "ab\u{2069}",
    "a\u{2028}b",
    "a\u{2029}b",
    "ab\u{2028}",
    "a\u{85}b",
    "a\nb",
    "a\u{7F}b",
];

/// Names and titles as people write them.
const NAMES: [&str; 12] = [
    "Renée",
    "Rene\u{301}e",
    "می\u{200C}خواهم",
    "क\u{94D}\u{200D}ष",
    "👩\u{200D}👩\u{200D}👧",
    "\u{200F}שלום\u{200F}",
    "\u{200E}C++\u{200E}",
    "علي \u{061C}(2)",
    "❤\u{FE0F}",
    "🏴\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}",
    "ㅤ이름",
    "\u{2801}",
];

async fn profile(user: &User, field: &str, text: &str) -> Answer {
    let query = "mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) {
        viewer { user { displayName about } }
    } }";
    user.call(query, json!({"input": {field: text}})).await
}

async fn device(node: &Node, user: &User, name: &str) -> Answer {
    let query = "mutation ($input: LoginInput!) { login(input: $input) { session { deviceName } } }";
    let input = json!({"identifier": user.username, "password": PASSWORD, "deviceName": name});
    node.call(None, query, json!({"input": input})).await
}

async fn group(user: &User, title: &str) -> Answer {
    let query = "mutation ($title: String!) { createGroup(input: {title: $title, participantIds: []}) {
        conversation { title }
    } }";
    user.call(query, json!({"title": title})).await
}

#[track_caller]
fn assert_bad(answer: &Answer, path: &str, text: &str) {
    let text = text.escape_unicode();
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec![path]), "{text}");
}

#[tokio::test]
async fn bodies_names_and_titles_that_show_nothing_are_refused() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let conversation = ada.create_group("Texts", &[]).await;
    let message = ada.send(&conversation, "visible").await;
    let attachment = ada.upload_note("attached").await;
    for text in INVISIBLE {
        assert_bad(&ada.try_send(&conversation, text, None).await, "body", text);
        assert_bad(&ada.edit(&message, text).await, "body", text);
        assert_bad(&profile(&ada, "displayName", text).await, "displayName", text);
        assert_bad(&group(&ada, text).await, "title", text);
        assert_bad(&ada.update_group(&conversation, json!({"title": text})).await, "title", text);
        assert_bad(&device(&node, &ada, text).await, "deviceName", text);
        let file = json!({"fileName": text, "contentType": "text/plain", "byteSize": 1});
        assert_bad(&ada.create_upload(file).await, "fileName", text);
        // A text that may be empty is empty.
        assert_eq!(profile(&ada, "about", text).await.data()["updateProfile"]["viewer"]["user"]["about"], Value::Null);
    }
    let sent = ada.send_with(&conversation, Some("\u{200B}"), &[&attachment]).await;
    assert_eq!(sent["body"], Value::Null);
}

#[tokio::test]
async fn names_and_titles_that_change_the_text_around_them_are_refused() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let conversation = ada.create_group("Texts", &[]).await;
    for text in DISRUPTIVE {
        assert_bad(&profile(&ada, "displayName", text).await, "displayName", text);
        assert_bad(&group(&ada, text).await, "title", text);
        assert_bad(&ada.update_group(&conversation, json!({"title": text})).await, "title", text);
        assert_bad(&device(&node, &ada, text).await, "deviceName", text);
        let file = json!({"fileName": text, "contentType": "text/plain", "byteSize": 1});
        assert_bad(&ada.create_upload(file).await, "fileName", text);
        // A message is a text of its own. Clients show it apart from other texts.
        assert_eq!(ada.send(&conversation, text).await["body"], text);
    }
}

#[tokio::test]
async fn names_and_titles_keep_joiners_and_direction_marks() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let conversation = ada.create_group("Texts", &[]).await;
    for text in NAMES {
        let viewer = &profile(&ada, "displayName", text).await.data()["updateProfile"]["viewer"];
        assert_eq!(viewer["user"]["displayName"], text);
        assert_eq!(group(&ada, text).await.data()["createGroup"]["conversation"]["title"], text);
        assert_eq!(device(&node, &ada, text).await.data()["login"]["session"]["deviceName"], text);
        assert_eq!(ada.send(&conversation, text).await["body"], text);
        let file = json!({"fileName": text, "contentType": "text/plain", "byteSize": 1});
        assert_eq!(ada.create_upload(file).await.data()["createUpload"]["attachment"]["fileName"], text);
    }
}
